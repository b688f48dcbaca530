"""asyncio without waiting for anything outside: queues, locks, events, task groups."""
import asyncio
import gc

gc.disable()


async def nap(n):
    for _ in range(n):
        await asyncio.sleep(0)
    return n


async def produce(queue, n):
    for k in range(n):
        await queue.put(k)
    await queue.put(None)


async def consume(queue, lock, seen):
    while (item := await queue.get()) is not None:
        async with lock:
            seen.append(item)
            await asyncio.sleep(0)


async def signalled(event, others):
    await event.wait()
    others.append(len(others))


async def main():
    print(await asyncio.gather(*(nap(n) for n in range(60))))
    queue, lock, seen = asyncio.Queue(3), asyncio.Lock(), []
    async with asyncio.TaskGroup() as group:
        group.create_task(produce(queue, 500))
        group.create_task(consume(queue, lock, seen))
        group.create_task(nap(10))
    print(sum(seen))
    event, others = asyncio.Event(), []
    tasks = [asyncio.create_task(signalled(event, others)) for _ in range(50)]
    await asyncio.sleep(0)
    event.set()
    await asyncio.wait(tasks)
    print(others)


def start():
    asyncio.run(main())


def warm_up():
    start()


warm_up()
start()
