"""The program of the reader."""

import asyncio

from sample import work


async def job():
    await asyncio.sleep(0.001)
    return work()


async def main():
    await asyncio.gather(*(job() for _ in range(3)))


asyncio.run(main())
