"""Recordings with a sparse clock: the same records in the same order, read by an independent reader
(tests/format/capture_reader.py), and times that the program's own readings of the clock bound."""

import bisect
import json
import os
import shutil
import sys
import unittest

import e2e
import hot_programs
import test_oracle

sys.path.insert(0, os.path.join(os.path.dirname(e2e.HERE), "format"))

import capture_reader       # noqa: E402
import kinds                # noqa: E402

SPARSE = ["--clock", "sparse"]
OPEN, CALL, RETURN = kinds.NUMBERS["OPEN"], kinds.NUMBERS["CALL"], kinds.NUMBERS["RETURN"]
SLACK_NS = 5000             # of the line between two clock samples

# Notes the clock before a call, in it at its begin and its end, and after it.
SCHEDULE = """
import json, sys, threading, time
clock, notes = time.monotonic_ns, {}

def tiny():
    pass

def burst(n):
    for _ in range(n):
        tiny()

def spin(inside):
    inside.append(clock())
    end = clock() + 20_000
    while clock() < end:
        pass
    inside.append(clock())

def nap(inside):
    inside.append(clock())
    time.sleep(0.002)
    inside.append(clock())

def take(lock, inside):
    inside.append(clock())
    with lock:
        inside.append(clock())

def measured(function, *args):
    inside, before = [], clock()
    function(*args, inside)
    after = clock()
    notes.setdefault(function.__name__, []).append([before, *inside, after])

def hold(lock, held, release):
    with lock:
        held.set()
        release.wait(0.003)

for _ in range(40):         # more than there are chunks for: the recorder has read some of it by then
    burst(50_000)
for _ in range(200):
    burst(200)
    measured(spin)
    burst(20)
for _ in range(100):
    burst(200)
    measured(nap)
for _ in range(20):
    lock, held, release = threading.Lock(), threading.Event(), threading.Event()
    thread = threading.Thread(target=hold, args=(lock, held, release))
    thread.start()
    held.wait()
    measured(take, lock)
    thread.join()
json.dump(notes, open(sys.argv[1], "w"))
"""


class Oracle(test_oracle.Comparison):
    options = ["-q", *SPARSE]


for name in Oracle.programs:
    test_oracle.add(Oracle, name)


class ClockCase(e2e.EndToEnd):
    def record(self, program, *options, args=()):
        shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
        finished = e2e.recorded(self.path("run.pnr"), [program, *args], options=["-q", *options])
        self.assertEqual((finished.status, finished.err), (0, ""))
        [process] = capture_reader.read(self.path("run.pnr")).processes
        return process


def threads_of(process):
    return [process.threads[number] for number in sorted(process.threads)]


class SameRecords(ClockCase):
    def test_of_one_thread(self):
        """Record for record, of programs whose course does not depend on time. Blocks begin elsewhere."""
        for name in "methods", "generators", "destructors":
            with self.subTest(name):
                program = self.write("app.py", hot_programs.text_of(name, 1))
                found = []
                for options in [], SPARSE:
                    process = self.record(program, *options)
                    [thread] = threads_of(process)
                    functions = process.functions
                    found.append([(kind, functions[function].module, functions[function].name)
                                  for block in thread.blocks for _, kind, _, function in block.records if kind != OPEN])
                begins = [one.index((CALL, "__main__", "<module>")) for one in found]
                self.assertEqual(*(one[begin:] for one, begin in zip(found, begins)))


class Schedule(ClockCase):
    def test_times(self):
        process = self.record(self.write("app.py", SCHEDULE), *SPARSE, args=[self.path("notes")])
        with open(self.path("notes")) as file:
            notes = json.load(file)
        main = threads_of(process)[0]
        to_ns = line(process)
        events, n_unread = [], 0
        for block in main.blocks:
            before = block.header.begin[0]
            for ticks, kind, _, function in block.records:
                if kind != OPEN:
                    events.append((ticks, ticks != before, kind, function))
                    n_unread += ticks == before
                before = ticks
        self.assertGreater(n_unread, len(events) // 4)
        for name, calls in notes.items():
            [number] = [n for n, f in process.functions.items() if (f.module, f.name) == ("__main__", name)]
            begins = [i for i, e in enumerate(events) if e[2] == CALL and e[3] == number]
            ends = [i for i, e in enumerate(events) if e[2] == RETURN and e[3] == number]
            self.assertEqual((len(begins), len(ends)), (len(calls), len(calls)))
            for begin, end, (before, first, last, after) in zip(begins, ends, calls):
                for at, low, high in (begin, before, first), (end, last, after):
                    ticks, is_read, *_ = events[at]
                    self.assertTrue(is_read, (name, at))
                    self.assertLessEqual(low - SLACK_NS, to_ns(ticks))
                    self.assertLessEqual(to_ns(ticks), high + SLACK_NS)


def line(process):
    """Return a function from ticks to CLOCK_MONOTONIC, by lines between the clock samples of the blocks."""
    samples = sorted({(clock[0], clock[1]) for thread in process.threads.values() for block in thread.blocks
                      for clock in (block.header.begin, block.header.end) if any(clock)})

    def to_ns(ticks):
        at = min(max(bisect.bisect(samples, (ticks, 0)), 1), len(samples) - 1)
        (t0, n0), (t1, n1) = samples[at - 1], samples[at]
        return n0 + (ticks - t0) * (n1 - n0) / (t1 - t0)
    return to_ns


if __name__ == "__main__":
    unittest.main()
