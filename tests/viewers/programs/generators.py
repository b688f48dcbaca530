"""Continuable functions of every kind and every end: exhausted, left alone, closed, thrown into, cancelled."""

import asyncio
import types


def plain(n):
    for i in range(n):
        yield i


def delegating(n):
    yield from plain(n)
    yield from plain(n)


def stubborn():
    while True:
        try:
            yield
        except ValueError:
            pass


def recursive(depth):
    yield depth
    if depth:
        yield from recursive(depth - 1)


@types.coroutine
def step():
    yield


async def ticks(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i


async def stepping():
    for _ in range(3):
        await asyncio.sleep(0)


async def forever():
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)


async def coroutines():
    await asyncio.gather(stepping(), stepping(), stepping())
    async for _ in ticks(5):
        pass
    left = ticks(5)
    await anext(left)
    await left.aclose()
    task = asyncio.create_task(forever())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def drive(coroutine):
    """A loop of one's own: each step() comes back here."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration:
            return


async def two_steps():
    await step()
    await step()


def main():
    for n in range(4):
        list(plain(n))
    list(delegating(3))
    list(recursive(5))
    for _ in range(50):                 # one after another at the same address
        next(plain(2))
    thrown = stubborn()
    next(thrown)
    for _ in range(3):
        thrown.throw(ValueError)
    thrown.close()
    plain(3).close()
    kept = plain(3)
    next(kept)
    drive(two_steps())
    asyncio.run(coroutines())
    next(kept)


main()
