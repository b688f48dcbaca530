"""The workload `schedule`: a program that knows its own times. It reads the clock around what it does, and between that
makes bursts of short calls, so that a sparse clock has something to leave out.

NOTES has [name, number, before, first, last, after] of each long call. `number` says which call of the function it is,
from 0. The others are the clock in ns of CLOCK_MONOTONIC: before the call, at its begin and end inside, and after it.
So the call begins between `before` and `first`, and ends between `last` and `after`.
"""

import random
import threading
import time

from workloads import timed

clock = time.monotonic_ns
NOTES = []
FUNCTIONS = {
    "compute": "a function that takes 5 to 100 us each time",
    "nap": "one that sleeps 0.1 to 3 ms each time",
    "take": "one that waits for a lock, up to 1 ms each time",
    "rarely": "one that computes 20 us to 5 ms in one of 500 calls, and else returns at once",
}
n_calls = dict.fromkeys(FUNCTIONS, 0)
chance = random.Random(1)


def tiny():
    pass


def step():
    tiny()


def burst(n):
    for _ in range(n):
        step()


def compute(ns, inside):
    inside.append(clock())
    end = inside[0] + ns
    while clock() < end:
        pass
    inside.append(clock())


def nap(ns, inside):
    inside.append(clock())
    time.sleep(ns / 1e9)
    inside.append(clock())


def take(lock, inside):
    inside.append(clock())
    with lock:
        inside.append(clock())


def rarely(ns, inside):
    if ns:
        inside.append(clock())
        end = inside[0] + ns
        while clock() < end:
            pass
        inside.append(clock())


def measured(function, argument):
    inside, before = [], clock()
    function(argument, inside)
    after = clock()
    NOTES.append([function.__name__, n_calls[function.__name__], before, *inside, after])
    n_calls[function.__name__] += 1


def hold(lock, is_held, ns):
    with lock:
        is_held.set()
        time.sleep(ns / 1e9)


def contend():
    lock, is_held = threading.Lock(), threading.Event()
    thread = threading.Thread(target=hold, args=(lock, is_held, chance.randrange(1_000_000)))
    thread.start()
    is_held.wait()
    measured(take, lock)
    thread.join()


def turn():
    """In a random order, with bursts of random length before each."""
    work = [(measured, compute, chance.randrange(5_000, 100_000)) for _ in range(10)]
    work += [(measured, nap, chance.randrange(100_000, 3_000_000)) for _ in range(2)] + [(contend,)]
    chance.shuffle(work)
    for what, *arguments in work:
        burst(chance.randrange(20, 2_000))
        what(*arguments)
    for _ in range(2):
        n = chance.randrange(490, 510)
        for _ in range(n):
            rarely(0, None)
        n_calls["rarely"] += n
        measured(rarely, int(20_000 * 250 ** chance.random()))


def turns(n):
    for _ in range(n):
        turn()


LOOPS, once = 15, timed(turns, 20)
