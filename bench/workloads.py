"""Prints the ns per Python event (entry or exit of a frame) of each micro workload, the least of several runs.

    workloads.py plain | profile | hook | store          with bench/floor.c's module on sys.path
    workloads.py record                                  when it is run under the recorder
"""

import json
import sys
import time

RUNS = 7


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def fib_calls(n):
    return 1 if n < 2 else 1 + fib_calls(n - 1) + fib_calls(n - 2)


def numbers(n):
    for i in range(n):
        yield i


def generator_loop(n):
    for _ in numbers(n):
        pass


def least(function, n):
    best = None
    for _ in range(RUNS):
        start = time.perf_counter_ns()
        function(n)
        took = time.perf_counter_ns() - start
        best = took if best is None else min(best, took)
    return best


def measure():
    fib_n, loop_n = 24, 200_000
    return {"fib": least(fib, fib_n) / (2 * fib_calls(fib_n)),
            "generator loop": least(generator_loop, loop_n) / (2 * (loop_n + 1))}


if __name__ == "__main__":
    how = sys.argv[1]
    result = {}
    if how in ("profile", "hook", "store"):
        import floor
        if how == "profile":
            floor.profile(True)
        else:
            floor.hook({"hook": 1, "store": 2}[how])
    result = measure()
    if how == "hook":
        result["clock"] = floor.clock()
    print(json.dumps(result))
