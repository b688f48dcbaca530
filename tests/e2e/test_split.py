"""--split and --logical, of programs that were not written for them. The oracle: the trace as it is without them."""

import collections
import glob
import os
import queue
import re
import subprocess
import time
import unittest

import e2e

# Threads, coroutines and a process, mostly in the standard library.
PROGRAM = """
    import asyncio, concurrent.futures, json, multiprocessing, tokenize

    def parse(path):
        with open(path, "rb") as file:
            tokens = [token.string for token in tokenize.tokenize(file.readline)]
        return len(json.dumps(tokens[:500], indent=1))

    async def serve(pool):
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(pool, parse, asyncio.__file__) for _ in range(6)))

    child = multiprocessing.get_context("fork").Process(target=parse, args=(json.__file__,))
    child.start()
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        asyncio.run(serve(pool))
    parse(json.__file__)
    child.join()
"""

PLACE = 1000


def begins_and_ends(slices):
    """(time, slice, is its end), sorted, by process."""
    found = collections.defaultdict(list)
    for one in slices:
        found[one.thread[0]] += [(one.begin, False, one), (one.end, True, one)]
    return {pid: sorted(times, key=lambda time: time[0]) for pid, times in found.items()}


@e2e.once
class Logical(e2e.EndToEnd):
    def both(self):
        return e2e.Trace(e2e.convert(self.path("run.pnr"))), e2e.Trace(e2e.convert(self.path("run.pnr"), "--logical"))

    def test_one_thread(self):
        """A module of the standard library, run as a program."""
        finished = e2e.recorded(self.path("run.pnr"), ["-m", "tokenize", queue.__file__], cwd=self.directory,
                                options=["-q", "--c-calls"])
        self.assertEqual((finished.status, finished.err), (0, ""))
        clock, logical = self.both()
        has_inner = {id(one.parent) for one in logical.slices}
        leaves = [one.end - one.begin for one in logical.slices if id(one) not in has_inner]
        self.assertGreater(len(leaves), 5000)
        self.assertEqual(set(leaves), {PLACE})
        self.assertEqual([time for time, *_ in begins_and_ends(logical.slices).popitem()[1]],
                         [PLACE * (i + 1) for i in range(2 * len(logical.slices))])
        self.same_order(clock, logical)

    def test_threads_and_processes(self):
        self.record(PROGRAM)
        clock, logical = self.both()
        self.assertGreater(len(clock.threads), 4)
        self.assertGreater(len(clock.processes), 1)
        self.same_order(clock, logical)
        parent = next(one.thread[0] for one in logical.named("__main__.serve"))
        child, = set(logical.processes) - {parent}
        forked = min(one.begin for one in logical.slices if one.thread[0] == child)
        start, = (one for one in logical.named("multiprocessing.process.BaseProcess.start") if one.thread[0] == parent)
        self.assertGreater(forked, start.begin)                # while it is in it, or just after it

    def same_order(self, clock, logical):
        """Begin for begin and end for end. Those of the clock that are as good as at one time may be the other way
        round."""
        self.assertEqual(clock.count(), logical.count())
        self.assertEqual([len(flow) for flow in clock.flows if len(flow) > 1],
                         [len(flow) for flow in logical.flows if len(flow) > 1])
        a, b = begins_and_ends(clock.slices), begins_and_ends(logical.slices)
        twins = {}
        for thread in clock.threads:
            rows = [[one for one in trace.slices if one.thread == thread] for trace in (clock, logical)]
            twins.update((id(y), x) for x, y in zip(*rows))
        self.assertEqual(a.keys(), b.keys())
        for pid, row in b.items():
            times = [(twins[id(one)].end if is_end else twins[id(one)].begin, one) for _, is_end, one in row
                     if not (is_end and "unfinished" in one.flags)]
            latest = 0
            for time, one in times:
                self.assertGreater(time, latest - 200, one)
                latest = max(latest, time)


@e2e.once
class Split(e2e.EndToEnd):
    SIZE = 200 * 1024

    def test_files(self):
        """All slices are there, each file has whole flows, no file is too large."""
        self.record(PROGRAM, options=["-q", "--c-calls"])
        whole = self.trace()
        files = self.split()
        self.assertGreater(len(files), 4)
        ends, n_cut = collections.Counter(), 0
        for path in files:
            self.assertLessEqual(os.path.getsize(path), self.SIZE)
            part = e2e.Trace(path)                          # slices nest, flows are whole
            n_cut += sum("cut" in one.flags for one in part.slices)
            ends.update(one.function.name for one in part.slices if "cut" not in one.flags)
        self.assertGreater(n_cut, len(files))
        missing = whole.count() - ends
        self.assertEqual(ends - whole.count(), collections.Counter())
        self.assertLessEqual(missing.total(), n_cut)

    def split(self, *options):
        finished = e2e.run([e2e.CONVERT, self.path("run.pnr"), "--split", str(self.SIZE), "-o", self.path("x.trace"),
                            *options])
        self.assertEqual(finished.status, 0)
        names = re.findall(r"^panopticon-convert: (\S+): from ", finished.err, re.M)
        self.assertEqual(sorted(names), sorted(glob.glob(self.path("x-*.trace"))))
        return names

    def test_a_killed_program(self):
        """What is in the live mapping is read again for each file."""
        finished = e2e.recorded(self.path("run.pnr"), [self.write("app.py", PROGRAM + "    import os; os._exit(0)\n")],
                                cwd=self.directory)
        self.assertEqual(finished.status, 0)
        whole = self.trace()
        found = collections.Counter()
        for path in self.split():
            found.update(one.function.name for one in e2e.Trace(path).slices if "cut" not in one.flags)
        self.assertGreater(found.total(), 0.95 * whole.count().total())
        status = e2e.run([e2e.CONVERT, self.path("run.pnr"), "--verify"]).status
        self.assertEqual(status, 0)

    def test_a_running_program(self):
        """Chunks become blocks, and others are begun, from one file to the next."""
        script = self.write("app.py", """
            import sys, threading, time
            def leaf(n): return n
            def step(n): return [leaf(i) for i in range(n)]
            def work():
                while not ended.wait(0.02):
                    step(60)
                    begun.set()
            begun, ended = threading.Event(), threading.Event()
            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads: thread.start()
            begun.wait()
            print("begun", flush=True)
            sys.stdin.read()
            ended.set()
        """)
        capture = self.path("run.pnr")
        with subprocess.Popen(e2e.recorder(capture, [script]), cwd=self.directory, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, env=e2e.environment()) as program:
            self.assertEqual(program.stdout.readline(), b"begun\n")
            before = 0
            for _ in range(4):
                names = self.split("--flows=none")
                n = sum(e2e.Trace(path).count()["__main__.step"] for path in names)
                self.assertGreater(n, before)
                before = n - 10 * len(names)                # those that are cut are in two files
                for path in names:
                    os.unlink(path)
                finished = e2e.run([e2e.CONVERT, capture, "--verify"])
                self.assertEqual(finished.status, 0, finished.err)
                self.assertRegex(finished.out, r"all whole\n$")
                self.assertIn("the process still runs", finished.err)
                time.sleep(0.1)
            program.stdin.close()
            self.assertEqual(program.wait(), 0)


if __name__ == "__main__":
    unittest.main()
