"""A small bakery, to look at in a trace: a coroutine per baker, an async generator of orders, a generator for each
recipe, and a second thread, the oven, that runs what the kitchen's generators left for it."""

import asyncio
import queue
import threading

RECIPES = {
    "bread": ["flour", "water", "yeast", "salt"],
    "cake": ["flour", "eggs", "sugar", "butter", "cocoa"],
    "cookies": ["oats", "honey", "butter"],
}


def stir(strokes):
    """Takes time, so that the slice can be seen."""
    bowl = 0
    for stroke in range(strokes):
        bowl = (bowl * 31 + stroke) % 65521
    return bowl


def weigh(ingredient):
    return stir(200 * len(ingredient))


def recipe(product):
    """One step at a time; who asks for the next one does it. The last step is asked for by the oven."""
    for ingredient in RECIPES[product]:
        weigh(ingredient)
        yield f"add {ingredient}"
    yield "bake"
    stir(6000)


async def orders():
    """Guests come in, one after another."""
    for number, product in enumerate(["bread", "cake", "cookies", "cake", "bread", "cookies"], 1):
        await asyncio.sleep(0.002)
        yield number, product


async def baker(name, table, oven):
    while (order := await table.get()) is not None:
        number, product = order
        steps = recipe(product)
        for step in steps:
            if step == "bake":
                break
            stir(1500)
            await asyncio.sleep(0)          # the other baker's turn
        baked = asyncio.Event()
        oven.put((steps, asyncio.get_running_loop(), baked))
        await baked.wait()
        print(f"order {number}: {product}, by {name}")


def run_oven(oven):
    while (work := oven.get()) is not None:
        steps, loop, baked = work
        for _ in steps:                     # the generator that a baker began goes on in this thread
            pass
        loop.call_soon_threadsafe(baked.set)


async def bakery(oven):
    table = asyncio.Queue()
    async with asyncio.TaskGroup() as staff:
        for name in "Ada", "Grace":
            staff.create_task(baker(name, table, oven))
        async for order in orders():
            await table.put(order)
        for _ in range(2):
            await table.put(None)


def main():
    oven = queue.SimpleQueue()
    thread = threading.Thread(target=run_oven, args=[oven], name="oven")
    thread.start()
    asyncio.run(bakery(oven))
    oven.put(None)
    thread.join()


if __name__ == "__main__":
    main()
