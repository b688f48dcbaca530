"""A capture is converted while its program runs: all that had happened by then is in the trace, and nothing is damaged.

The programs report how far they are: each thread counts its calls of `step`, once they have returned, in a
file of 64-bit numbers. They go on until the last one is set."""

import collections
import contextlib
import json
import mmap
import os
import re
import subprocess
import time
import unittest

from e2e import CONVERT, EndToEnd, environment, once, recorder, run

COUNTING = """
    import itertools, mmap, os, sys, threading, time
    with open(sys.argv[1], "r+b") as file:
        counts = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
    def goes_on(): return not counts[-1]
    def step(i): return i
    def count(row, n):
        for i in range(n):
            step(i)
            counts[row] += 1
"""
ROWS = 1 << 16


def missing(counts, found):
    """The threads of which less is found than they had counted."""
    return {row: (n, found[str(row)]) for row, n in enumerate(counts) if n > found[str(row)]}


@once
class Running(EndToEnd):
    def setUp(self):
        super().setUp()
        self.chance = self.random()

    @contextlib.contextmanager
    def running(self, text, *options):
        """Yields the capture of a program that runs, and a function that gives its counts."""
        capture, counts = self.path("run.pnr"), self.path("counts")
        script = self.write("app.py", COUNTING + text)
        with open(counts, "wb") as file:
            file.truncate(8 * ROWS)
        process = subprocess.Popen(recorder(capture, [script, counts], options=["-q", *options]),
                                   env=environment(), stderr=subprocess.PIPE, text=True)
        with open(counts, "r+b") as file, mmap.mmap(file.fileno(), 0) as counted:
            try:
                while not any(counted[:8]):
                    self.assertIsNone(process.poll())
                    time.sleep(0.01)
                yield capture, lambda: memoryview(counted[:]).cast("Q")
            finally:
                counted[-1] = 1
                err = process.communicate(timeout=60)[1]
        self.assertEqual((process.returncode, err), (0, ""))

    def convert_now(self, capture):
        """Converts at some instant. Returns how often the threads called step, by name, and the converter's
        messages."""
        time.sleep(self.chance.uniform(0, 0.05))
        trace = self.path("run.trace")
        finished = run([CONVERT, capture, "-o", trace])
        self.assertEqual(finished.status, 0, finished.err)
        with open(trace, encoding="utf-8") as file:
            events = json.load(file)["traceEvents"]
        names = {(event["pid"], event["tid"]): event["args"]["name"]
                 for event in events if event["name"] == "thread_name"}
        found = collections.Counter(names[event["pid"], event["tid"]] for event in events
                                    if event["ph"] == "X" and event["name"] == "__main__.step")
        return found, finished.err

    def convert_often(self, capture, n, check):
        """Converts n times, each time with --info, too."""
        for _ in range(n):
            messages = check()
            self.assertRegex(messages, r"still runs: this is what it had recorded up to \d+\.\d+ s|more messages")
            finished = run([CONVERT, capture, "--info"])
            self.assertEqual((finished.status, finished.err), (0, ""))
            self.assertEqual(set(re.findall(r"damage +(\d+) blocks", finished.out)), {"0"})
            self.assertIn("not yet: the process still runs", finished.out)

    def test_threads(self):
        """Some go on for all the time, with new functions at times; others come and go."""
        with self.running("""
    def long(row):
        for i in itertools.count():
            if not goes_on(): break
            count(row, 20)
            exec(compile(f"def new_{i}(): pass\\nnew_{i}()", "new", "exec"))
            time.sleep(0.005)
    for row in range(3): threading.Thread(target=long, args=(row,), name=str(row)).start()
    for row in range(3, 60000):
        if not goes_on(): break
        thread = threading.Thread(target=count, args=(row, 5), name=str(row))
        thread.start()
        thread.join()
        time.sleep(0.003)
        """) as (capture, counts):
            def check():
                before = counts()
                found, messages = self.convert_now(capture)
                self.assertEqual(missing(before, found), {})
                return messages
            self.convert_often(capture, 20, check)

    def test_limits(self):
        """What is younger than --last is there, whatever is evicted meanwhile."""
        with self.running("""
    def go_on(row):
        while goes_on():
            count(row, 15)
            time.sleep(0.005)
    for row in range(3): threading.Thread(target=go_on, args=(row,), name=str(row)).start()
        """, "--last", "1s", "--max-size", "16M") as (capture, counts):
            time.sleep(2.5)
            def check():
                is_younger = False
                while not is_younger:           # on a busy machine the converter may come too late
                    begin, old = time.monotonic(), counts()
                    time.sleep(0.1)
                    before = counts()
                    found, messages = self.convert_now(capture)
                    is_younger = time.monotonic() - begin < 1
                self.assertEqual(missing([b - a for a, b in zip(old, before)], found), {})
                return messages
            self.convert_often(capture, 10, check)

    def test_children(self):
        """Forked, with threads, some of which end in order, some by a signal, while they are read."""
        with self.running("""
    children = []
    for row in range(60000):
        if not goes_on(): break
        pid = os.fork()
        if not pid:
            threading.Thread(target=count, args=(row, 500), name=str(row)).start()
            time.sleep(0.05)
            os._exit(0) if row % 2 else os.kill(os.getpid(), 9)
        time.sleep(0.05)
        children.append(pid)
        if len(children) > 3: os.waitpid(children.pop(0), 0)
    for pid in children: os.waitpid(pid, 0)
        """) as (capture, counts):
            def check():
                before = counts()
                found, messages = self.convert_now(capture)
                self.assertEqual(missing(before, found), {})
                return messages
            self.convert_often(capture, 20, check)


if __name__ == "__main__":
    unittest.main()
