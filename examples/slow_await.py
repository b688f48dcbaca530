"""A small shop whose orders wait for each other. Where? docs/tutorial.md finds out."""

import asyncio
import time

PRICES = {"tea": 4.50, "coffee": 7.20, "cocoa": 5.10}
ORDERS = [("tea", "EUR"), ("coffee", "USD"), ("cocoa", "EUR"),
          ("tea", "GBP"), ("coffee", "EUR"), ("cocoa", "USD")]


async def stock(item):
    """Asks the warehouse, which takes 20 ms."""
    await asyncio.sleep(0.020)
    return item in PRICES


def exchange_rate(currency):
    """Asks a bank, which takes 30 ms, through a library that knows nothing of asyncio."""
    time.sleep(0.030)
    return {"EUR": 1.0, "USD": 1.1, "GBP": 0.9}[currency]


async def price(item, currency):
    rate = exchange_rate(currency)
    return PRICES[item] * rate


async def save(number):
    """Writes to the database, which takes 10 ms."""
    await asyncio.sleep(0.010)


async def order(number, item, currency):
    begin = time.perf_counter()
    if await stock(item):
        total = await price(item, currency)
        await save(number)
        print(f"order {number}: {total:5.2f} {currency} after {(time.perf_counter() - begin) * 1000:3.0f} ms")


async def shop():
    async with asyncio.TaskGroup() as tasks:
        for number, (item, currency) in enumerate(ORDERS, 1):
            tasks.create_task(order(number, item, currency), name=f"order {number}")


asyncio.run(shop())
