"""The micro workloads: each does one thing that a tracer pays for, and little else.

MICRO and BUDGETS map a name to (loops, once); once(loops) does that many loops and returns the seconds that they took. A loop is
some 100,000 events; the loops take 0.2 to 0.4 s untraced.
"""

import asyncio
import threading
import time

LONGEST = {}        # longest stall in ns of the workload `stall`


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def numbers(n):
    for i in range(n):
        yield i


def generators(n):
    for _ in numbers(n):
        pass


async def yielding(n):
    for _ in range(n):
        await asyncio.sleep(0)


async def tasks(n):
    await asyncio.gather(*(yielding(n) for _ in range(10)))


def sleeps(n):
    asyncio.run(tasks(n))


class Account:
    def __init__(self):
        self.balance = 0
        self.moves = 0

    def add(self, amount):
        self.balance += amount * 3 % 7
        self.count(1)

    def count(self, n):
        self.moves += n


def methods(n):
    account = Account()
    for i in range(n):
        account.add(i)


def c_calls(n):
    text = "text"
    for i in range(n):
        len(text)
        abs(i)


def now():
    return time.perf_counter_ns()


def stall(n):
    """Calls a function that reads the clock, and stores the longest time between two readings."""
    longest = 0
    before = now()
    for _ in range(n):
        after = now()
        if after - before > longest:
            longest = after - before
        before = after
    LONGEST["stall_ns"] = max(longest, LONGEST.get("stall_ns", 0))


SLOW_CALLS = []     # [name, begin, end] in ns of CLOCK_MONOTONIC of each long call of the workload `slow_calls`
SLOW_NS = 30_000_000


def busy(is_slow):
    if is_slow:
        begin = now = time.monotonic_ns()
        while now < begin + SLOW_NS:
            now = time.monotonic_ns()
        SLOW_CALLS.append(["busy", begin, time.monotonic_ns()])


def asleep(is_slow):
    if is_slow:
        begin = time.monotonic_ns()
        time.sleep(SLOW_NS / 1e9)
        SLOW_CALLS.append(["asleep", begin, time.monotonic_ns()])


def often(function, n):
    for _ in range(n):
        function(False)
    function(True)


def slow_calls(n):
    """Calls two functions very often, each returns at once, except for one call of either that takes 30 ms: one computes,
    the other sleeps in a thread while this one is busy, and then while it waits."""
    often(busy, n)
    thread = threading.Thread(target=often, args=(asleep, n))
    thread.start()
    often(busy, n)
    thread.join()
    often(asleep, n)


def timed(function, *args):
    def once(loops):
        start = time.perf_counter()
        for _ in range(loops):
            function(*args)
        return time.perf_counter() - start
    return once


MICRO = {
    "fib": (40, timed(fib, 22)),
    "generators": (100, timed(generators, 50_000)),
    "sleeps": (20, timed(sleeps, 1000)),
    "methods": (70, timed(methods, 25_000)),
    "c_calls": (100, timed(c_calls, 25_000)),
    "stall": (40, timed(stall, 50_000)),
}

BUDGETS = {"slow_calls": (3, timed(slow_calls, 100_000))}       # for bench/run --budgets only
