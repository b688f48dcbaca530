"""A small bakery, as an example of a trace. There is a coroutine for each baker, an async generator of orders, and a
generator for each recipe. A second thread, the oven, runs the last step of each recipe's generator."""

import asyncio
import queue
import threading

RECIPES = {
    "bread": ["flour", "water", "yeast", "salt"],
    "cake": ["flour", "eggs", "sugar", "butter", "cocoa"],
    "cookies": ["oats", "honey", "butter"],
}


def stir(strokes):
    """Takes time, so that its slice is wide enough to be visible."""
    bowl = 0
    for stroke in range(strokes):
        bowl = (bowl * 31 + stroke) % 65521
    return bowl


def weigh(ingredient):
    return stir(200 * len(ingredient))


def recipe(product):
    """Yields one step at a time. The caller that asks for the next step runs it; the oven asks for the last one."""
    for ingredient in RECIPES[product]:
        weigh(ingredient)
        yield f"add {ingredient}"
    yield "bake"
    stir(6000)


async def orders():
    """Guests arrive, one after another."""
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
            await asyncio.sleep(0)          # lets the other baker work
        baked = asyncio.Event()
        oven.put((steps, asyncio.get_running_loop(), baked))
        await baked.wait()
        print(f"order {number}: {product}, by {name}")


def run_oven(oven):
    while (work := oven.get()) is not None:
        steps, loop, baked = work
        for _ in steps:                     # the generator that a baker started continues in this thread
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
