"""Asynchronous generators: asend, athrow, aclose, left to the event loop's hooks, comprehensions."""
import asyncio
import contextlib
import gc

gc.disable()


async def ticks(n):
    for k in range(n):
        await asyncio.sleep(0)
        yield k


async def echo(log):
    value = None
    while True:
        try:
            value = yield value
        except ValueError:
            log.append("thrown")
            await asyncio.sleep(0)
        except GeneratorExit:
            await asyncio.sleep(0)
            log.append("closed")
            raise


async def squares(source):
    async for value in source:
        yield value * value


async def refuses():
    try:
        yield 1
    except GeneratorExit:
        yield 2


@contextlib.asynccontextmanager
async def opened(log):
    log.append("open")
    try:
        yield log
    except LookupError:
        await asyncio.sleep(0)
        log.append("failed")
    finally:
        log.append("shut")


async def sent(log):
    one = echo(log)
    await anext(one)
    for k in range(100):
        log.append(await one.asend(k))
        if k % 10 == 0:
            await one.athrow(ValueError)
    await one.aclose()


async def dropped():
    async for value in ticks(10):
        if value == 3:
            break
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def main():
    log = []
    await sent(log)
    for _ in range(20):
        await dropped()
        async with opened(log):
            raise LookupError
    print(sum([value async for value in squares(ticks(200)) if value % 2]))
    never = ticks(3)
    await never.aclose()
    one = refuses()
    await anext(one)
    try:
        await one.aclose()
    except RuntimeError as error:
        log.append(str(error))
    step = ticks(2).__anext__()
    step.close()
    halves = await asyncio.gather(*(collect(k) for k in range(20)))
    print(len(log), halves)


async def collect(n):
    return [value async for value in squares(squares(ticks(n)))]


def start():
    asyncio.run(main())


def warm_up():
    start()


warm_up()
start()
