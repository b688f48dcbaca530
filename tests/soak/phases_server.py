"""The server that tests/soak/phases records: an asyncio HTTP server of one process, and a thread that works off jobs.

    python3 phases_server.py

Prints its port. GET /N answers with a digest of N; GET /batch/N has the thread compute N rounds. Ends in order at SIGTERM
and prints as JSON the calls of report() that took long: [begin, end] in ns of CLOCK_MONOTONIC.
"""

import asyncio
import functools
import json
import queue
import signal
import socket
import threading
import time

import small_http

SLOW_NS = 40_000_000
SLOW_EACH = 2000            # how many calls of report() come with a slow one
slow_calls, n_reports = [], 0


def mix(a, b):
    return (a * 31 + b) % 1_000_003


def digest(text):
    value = 7
    for character in text:
        value = mix(value, ord(character))
    return value


def report(n):
    """Takes some 100 ns, and 40 ms once in 2,000 calls."""
    global n_reports
    n_reports += 1
    if n_reports % SLOW_EACH == 0:
        begin = now = time.monotonic_ns()
        while now < begin + SLOW_NS:
            now = time.monotonic_ns()
        slow_calls.append([begin, time.monotonic_ns()])


class Counter:
    def __init__(self):
        self.n = 0

    def add(self, k):
        self.n = mix(self.n, k)
        return self


def numbers(n):
    for i in range(n):
        yield mix(i, n)


def compute(rounds):
    counter = Counter()
    for i in range(rounds):
        counter.add(i)
        sum(numbers(i % 20))
    return counter.n


def work_off(jobs):
    while (rounds := jobs.get()) is not None:
        compute(rounds)


async def parts(text):
    for i in range(0, len(text), 8):
        await asyncio.sleep(0)
        yield text[i:i + 8]


async def answer(jobs, path):
    report(len(path))
    if path.startswith("/batch/"):
        jobs.put(int(path[7:]))
        return "taken"
    return "-".join([str(digest(part)) async for part in parts(path * 4)])


async def serve(listener, jobs):
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    serve_one = functools.partial(small_http.serve, functools.partial(answer, jobs))
    server = await asyncio.start_server(serve_one, sock=listener)
    await over.wait()
    server.close()


def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listener.getsockname()[1], flush=True)
    jobs = queue.Queue()
    worker = threading.Thread(target=work_off, args=(jobs,), name="worker")
    worker.start()
    asyncio.run(serve(listener, jobs))
    jobs.put(None)
    worker.join()
    print(json.dumps(slow_calls))


if __name__ == "__main__":
    main()
