"""The server that tests/soak/run records: an asyncio HTTP server with worker threads, in a parent and
forked children that share its socket.
A child serves for a while and is replaced by another one.

    python3 server.py CHILDREN SECONDS FOLDER

CHILDREN at a time, each for SECONDS. Prints its port. Ends in order at SIGTERM. When a process ends, it leaves in FOLDER a
file named by its pid: how often begun() was called in the second before its last call.
"""

import asyncio
import collections
import functools
import hashlib
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import small_http

BEGINS = collections.deque([0] * 20_000, maxlen=20_000)        # when the last requests arrived, by time.monotonic_ns()


def begun():
    BEGINS.append(time.monotonic_ns())


def digest(text, rounds):
    for _ in range(rounds):
        text = hashlib.sha256(text.encode()).hexdigest()
    return text


def split(text):
    for i in range(0, len(text), 8):
        yield text[i:i + 8]


async def chunks(text):
    for part in split(text):
        await asyncio.sleep(0)
        yield part


async def answer(executor, path):
    begun()
    loop = asyncio.get_running_loop()
    text = await loop.run_in_executor(executor, digest, path[1:], 20)
    return "-".join([part async for part in chunks(text)])


async def serve(executor, listener, seconds):
    """Serves until SIGTERM, or for this many seconds and until its connections are closed."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    if seconds:
        loop.call_later(seconds, over.set)
    open_ones = set()

    def connect(reader, writer):
        task = asyncio.ensure_future(small_http.serve(functools.partial(answer, executor), reader, writer))
        open_ones.add(task)
        task.add_done_callback(open_ones.discard)

    server = await asyncio.start_server(connect, sock=listener)
    await over.wait()
    server.close()
    if open_ones:
        await asyncio.wait(open_ones, timeout=5)


def run(listener, seconds):
    """Keeps the worker threads until asyncio.run() has cancelled what is left: a connection that was accepted at the
    last moment still asks for them."""
    with ThreadPoolExecutor(4) as executor:
        asyncio.run(serve(executor, listener, seconds))


def leave_counts(folder):
    last = BEGINS[-1]
    with open(os.path.join(folder, str(os.getpid())), "w", encoding="ascii") as file:
        print(sum(last - begin < 10**9 for begin in BEGINS if begin), file=file)


def child(listener, seconds, folder):
    BEGINS.extend([0] * len(BEGINS))
    run(listener, seconds)
    leave_counts(folder)
    os._exit(0)


def main(n_children, seconds, folder):
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    listener.setblocking(False)         # of the file that all processes share
    print(listener.getsockname()[1], flush=True)
    over = threading.Event()
    children = {}

    def supervise():
        while not over.is_set():
            for pid in [pid for pid in children if os.waitpid(pid, os.WNOHANG)[0]]:
                del children[pid]
            while len(children) < n_children and not over.is_set():
                pid = os.fork()
                if not pid:
                    child(listener.dup(), seconds, folder)
                children[pid] = True
            over.wait(0.1)

    signal.signal(signal.SIGTERM, lambda *_: over.set())
    supervise()
    for pid in children:
        os.kill(pid, signal.SIGTERM)
    for pid in children:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
