"""Cancelled tasks: at once, while they wait, shielded, deaf, by a group, by a timeout that has passed."""
import asyncio
import gc

gc.disable()


async def forever(log):
    try:
        while True:
            await asyncio.sleep(0)
    finally:
        log.append("left")
        await asyncio.sleep(0)


async def deaf(log, n):
    for _ in range(n):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("heard")
    return n


async def deep(log, depth):
    if depth:
        return await deep(log, depth - 1)
    return await forever(log)


async def fails():
    await asyncio.sleep(0)
    raise LookupError("in a group")


async def late(log):
    try:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    except TimeoutError:
        log.append("late")


async def cancelled(make, log, waits):
    task = asyncio.create_task(make)
    for _ in range(waits):
        await asyncio.sleep(0)
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        log.append("cancelled")


async def main():
    log = []
    for waits in range(20):
        await cancelled(forever(log), log, waits)
        await cancelled(deep(log, waits), log, waits)
    task = asyncio.create_task(deaf(log, 5))
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    inner = asyncio.create_task(forever(log))
    outer = asyncio.ensure_future(asyncio.shield(inner))
    await cancelled(asyncio.wait_for(outer, None), log, 3)
    inner.cancel()
    await asyncio.wait([inner])
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(forever(log))
            group.create_task(fails())
    except* LookupError:
        log.append("group")
    await asyncio.create_task(late(log))
    print(log)


# Not in a function: when the timeout is noticed depends on time.
asyncio.run(main())
