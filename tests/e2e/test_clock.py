"""Recordings with a sparse clock: the same records in the same order, read by an independent reader
(tests/format/capture_reader.py), and times that the program's own readings of the clock bound."""

import bisect
import itertools
import json
import os
import shutil
import statistics
import sys
import textwrap
import unittest

import e2e
import hot_programs
import test_budget
import test_greenlets
import test_oracle

sys.path.append(os.path.join(os.path.dirname(e2e.HERE), "format"))

import capture_reader       # noqa: E402
import kinds                # noqa: E402

SPARSE = ["--clock", "sparse"]
OPEN, CALL, RETURN = kinds.NUMBERS["OPEN"], kinds.NUMBERS["CALL"], kinds.NUMBERS["RETURN"]
SLACK_NS = 5000             # of the line between two clock samples

# Without this, all is over on a busy machine before the recorder's thread has had a processor, and each event reads.
WAIT = """
import os, time

def wait_for_recorder():
    # Until the recorder's thread sleeps: it has read what was recorded, and the guard is awake.
    for _ in range(5000):
        time.sleep(0.002)
        for task in os.listdir("/proc/self/task"):
            try:
                with open(f"/proc/self/task/{task}/stat", "rb") as file:
                    name, _, rest = file.read().partition(b"(")[2].rpartition(b") ")
            except OSError:                         # it has ended
                continue
            if name == b"panopticon" and rest.startswith(b"S"):
                return
    raise SystemExit("the recorder's thread does not sleep")
"""

# Notes the clock before a call, in it at its begin and its end, and after it.
SCHEDULE = WAIT + """
import json, sys, threading
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

for _ in range(20):
    burst(20_000)
    wait_for_recorder()
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
    def record(self, program, *options, args=(), is_ledger_only=False):
        shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
        finished = e2e.recorded(self.path("run.pnr"), [program, *args], options=["-q", *options])
        self.assertEqual((finished.status, finished.err), (0, ""))
        [process] = capture_reader.read(self.path("run.pnr"), is_ledger_only).processes
        return process


def threads_of(process):
    return [process.threads[number] for number in sorted(process.threads)]


class SameRecords(ClockCase):
    def test_of_one_thread(self):
        """Record for record, of programs whose course does not depend on time. Blocks begin elsewhere."""
        for name, engine in itertools.product(("methods", "generators", "destructors"), e2e.ENGINES):
            with self.subTest(name, engine=engine):
                program = self.write("app.py", hot_programs.text_of(name, 1))
                found = []
                for options in [], SPARSE:
                    process = self.record(program, "--engine", engine, *options)
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


# Many short calls first: so the recorder's thread knows them, and the guard is awake.
BURSTS = WAIT + textwrap.dedent("""
    import mmap, random, signal, sys
    clock = time.monotonic_ns
    def tiny():
        pass
    def step():
        tiny()
    def burst(n):
        for _ in range(n):
            step()
    def warm_up():
        for _ in range(8):
            burst(20_000)
            wait_for_recorder()
    """)
N_WARM = 160_000            # calls of step


class BurstCase(ClockCase):
    def run_bursts(self, text, *options):
        path = self.write("app.py", BURSTS + textwrap.dedent(text))
        shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
        finished = e2e.recorded(self.path("run.pnr"), [path], cwd=self.directory, options=["-q", *SPARSE, *options],
                                timeout=300)
        self.assertEqual((finished.status, finished.err), (0, ""))
        return finished.out

    def calls(self, name="run.pnr", *options, is_sparse=True):
        """How often each function of the program was called, by the converter, in a capture without damage."""
        capture = self.path(name)
        verified = e2e.run([e2e.CONVERT, "--verify", capture], timeout=300)
        self.assertEqual(verified.status, 0, verified.err)
        self.assertNotIn("not recorded", verified.err)
        top = e2e.run([e2e.CONVERT, "--top", "--json", capture, *options], timeout=300)
        self.assertEqual(top.status, 0, top.err)
        self.assertEqual("clock read at" in top.err, is_sparse, top.err)
        return {one["name"].removeprefix("__main__."): one["calls"] for one in json.loads(top.out)["functions"]}

    def assertNests(self, capture):
        """The last of it, in the trace: which checks that all nests."""
        trace = e2e.Trace(e2e.convert(self.path(capture), "--from=-5ms"))
        steps = trace.named("__main__.step")
        for one in trace.named("__main__.tiny"):
            self.assertTrue(one.flags or one.parent in steps, one)


class Bursts(BurstCase):
    """What is recorded of programs of short calls is whole, however the recording ends."""

    def test_killed_at_any_moment(self):
        """What the child had counted is there, once. The last call may have come to no more than its begin."""
        out = self.run_bursts("""
            random.seed(11)
            for i in range(12):
                count = memoryview(mmap.mmap(-1, 8)).cast("q")      # which is stored at once
                pid = os.fork()
                if not pid:
                    warm_up()
                    n = 0
                    while True:
                        step()
                        n += 1
                        count[0] = n
                while not count[0]:
                    time.sleep(0.001)
                time.sleep(random.random() * 0.1)
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                print(pid, count[0])
            """)
        for pid, count in (map(int, line.split()) for line in out.splitlines()):
            calls = self.calls("run.pnr", "--process", str(pid))
            self.assertIn(calls["step"] - N_WARM - count, (0, 1))
            self.assertIn(calls["step"] - calls["tiny"], (0, 1))

    def test_snapshots(self):
        self.run_bursts("""
            import panopticon_rec
            for k in range(4):
                warm_up()
                panopticon_rec.snapshot(f"shot{k}.pnr")
                step()
            """)
        for k in range(4):
            calls = self.calls(f"shot{k}.pnr")
            self.assertEqual(calls["step"], (k + 1) * N_WARM + k)
            self.assertEqual(calls["tiny"], calls["step"])
            self.assertNests(f"shot{k}.pnr")
        self.assertEqual(self.calls()["step"], 4 * N_WARM + 4)

    def test_forks(self):
        """A child begins as its parent did: it knows no function as short."""
        out = self.run_bursts("""
            warm_up()
            pid = os.fork()
            if not pid:
                warm_up()
                burst(1000)
                os._exit(0)
            burst(10)
            os.waitpid(pid, 0)
            print(os.getpid(), pid)
            """)
        parent, child = out.split()
        for pid, n in (parent, N_WARM + 10), (child, N_WARM + 1000):
            calls = self.calls("run.pnr", "--process", pid)
            self.assertEqual((calls["step"], calls["tiny"]), (n, n))

    def test_threads(self):
        """They take turns in the midst of their bursts."""
        self.run_bursts("""
            import threading
            sys.setswitchinterval(1e-4)
            def work():
                warm_up()
                for _ in range(20):
                    burst(100)
                    time.sleep(0.001)
            threads = [threading.Thread(target=work) for _ in range(3)]
            for one in threads: one.start()
            for one in threads: one.join()
            """)
        calls = self.calls()
        self.assertEqual((calls["step"], calls["tiny"]), (3 * (N_WARM + 2000),) * 2)
        self.assertNests("run.pnr")

    def test_the_last_of_it(self):
        """Segments are evicted; those that are left can be understood."""
        self.run_bursts("""
            end = time.monotonic() + 3
            while time.monotonic() < end:
                burst(1000)
            """, "--last", "100ms")
        self.assertGreater(min(e2e.segments(self.path("run.pnr"))), 1)
        calls = self.calls()
        self.assertLessEqual(abs(calls["step"] - calls["tiny"]), 1)
        self.assertNests("run.pnr")

    @unittest.skipUnless(test_greenlets.HAS_GREENLET, "greenlet is not there for this Python")
    @unittest.skipUnless(e2e.IS_KNOWN, "greenlets are told apart by internals, which are not known")
    @unittest.skipIf(e2e.IS_SANITIZED, "AddressSanitizer does not know stacks that are exchanged")
    def test_greenlets(self):
        self.run_bursts("""
            import greenlet
            def other():
                while True:
                    burst(3)
                    main.switch()
            def turn(n):
                others[n % 4].switch()
            main = greenlet.getcurrent()
            others = [greenlet.greenlet(other) for _ in range(4)]
            warm_up()
            for n in range(20_000):
                turn(n)
                step()
            """, "--include", "__main__")
        calls = self.calls()
        self.assertEqual((calls["turn"], calls["step"], calls["tiny"]), (20_000, *[N_WARM + 80_000] * 2))
        self.assertNests("run.pnr")


    def test_pauses(self):
        """Nothing of a pause is there, and what comes after it is whole."""
        self.run_bursts("""
            import panopticon_rec
            warm_up()
            for n in range(5):
                burst(1000)
                panopticon_rec.pause()
                burst(500)
                time.sleep(0.01)
                panopticon_rec.resume()
                burst(7)
            """)
        calls = self.calls()
        self.assertEqual((calls["step"], calls["tiny"]), (N_WARM + 5 * 1007,) * 2)
        self.assertNests("run.pnr")


class Conversions(BurstCase):
    """What the converter makes of a capture in which most events have no reading of the clock."""
    N_NESTED = 20               # more slices than enclose each other: those that are cut off begin a nanosecond apart

    def setUp(self):
        super().setUp()
        out = self.run_bursts("""
            import threading
            def work():
                warm_up()
                begin = clock()
                burst(1000)
                print(begin, clock(), flush=True)
            threads = [threading.Thread(target=work) for _ in range(2)]
            for one in threads: one.start()
            for one in threads: one.join()
            """)
        [process] = capture_reader.read(self.path("run.pnr"), is_ledger_only=True).processes
        begin, end = (int(text) - int(process.properties["start_monotonic_ns"]) for text in out.split()[:2])
        self.last_burst = f"--from={begin}ns", f"--to={end}ns"      # of one of the threads

    def converted(self, name, *options):
        """Makes a file of the capture. Returns its path and what was reported."""
        path = self.path(name)
        finished = e2e.run([e2e.CONVERT, self.path("run.pnr"), "-o", path, *options], timeout=300)
        self.assertEqual(finished.status, 0, finished.err)
        return path, finished.err

    def test_slices_of_time(self):
        """They begin and end between two events without a reading. Each function has the times that it has in the
        whole, where those lie in the slice of time, and what encloses it is cut off at its ends."""
        random = self.random()
        whole = e2e.Trace(e2e.convert(self.path("run.pnr"), *self.last_burst))
        tiny = sorted(whole.named("__main__.tiny"), key=lambda one: one.begin)
        for _ in range(12):
            first = random.choice(tiny[:-50])
            begin = random.randrange(first.begin + 1, first.end + 1)
            end = random.randrange(begin + 1, min(begin + 20_000, tiny[-1].begin))
            part = e2e.Trace(e2e.convert(self.path("run.pnr"), f"--from={begin}ns", f"--to={end}ns"))
            expected, found = ({(one.thread, one.function.name, one.begin, one.end) for one in trace.slices
                                if begin + self.N_NESTED < one.begin and one.end < end} for trace in (whole, part))
            self.assertEqual(found, expected, (begin, end))
            inside = {(one.thread, one.function.name) for one in whole.slices if one.begin < begin < one.end}
            self.assertLessEqual(inside, {(one.thread, one.function.name) for one in part.slices if "cut" in one.flags})

    def test_several_threads_make_the_same_bytes(self):
        for name in "run.trace", "run.pftrace", "run.folded", "run.pstats", "run.parquet":
            for options in [], self.last_burst:
                with self.subTest(name, options=options):
                    found = []
                    for jobs in "1", "4":
                        path, _ = self.converted(name, "-j", jobs, *options)
                        with open(path, "rb") as file:
                            found.append(file.read())
                    self.assertTrue(found[0])
                    self.assertEqual(*found)

    def test_each_output_comes_with_its_resolution(self):
        for name in "run.trace", "run.pftrace", "run.folded", "run.pstats", "run.parquet":
            self.assertRegex(self.converted(name)[1], r"clock read at [0-9.]+ % of the events; the readings around the "
                                                      r"others are .* apart \(median\)", name)
        finished = e2e.run([e2e.PYTHON, "-W", "ignore", "-c", textwrap.dedent("""
            import sys
            import panopticon_rec
            sys.path.append(sys.argv[2])
            import arrow_reader
            capture = panopticon_rec.open(sys.argv[1])
            rows = arrow_reader.rows_of(capture.slices(columns=["function", "inexact"], from_="-1ms"))
            assert {row["inexact"] for row in rows} <= {False, True}, rows[:5]
            print(capture.messages, capture.is_whole)
            """), self.path("run.pnr"), e2e.HERE])
        self.assertEqual(finished.status, 0, finished.err)
        self.assertIn("clock read at", finished.out)
        self.assertTrue(finished.out.endswith("True\n"), finished.out)


class WithMinDuration(ClockCase):
    def test_all_events_read(self):
        """What is left out at record time is decided by times that are right: so there is no sparse clock then."""
        program = self.write("app.py", BURSTS + textwrap.dedent("""
            def longer():
                end = clock() + 300_000
                while clock() < end:
                    tiny()
            warm_up()
            for _ in range(50):
                longer()
                burst(100)
            """))
        process = self.record(program, *SPARSE, "--min-duration", "200us")
        self.assertNotIn("clock_mode", process.properties)
        self.assertFalse([block for thread in threads_of(process) for block in thread.blocks
                          if block.header.flags & capture_reader.SPARSE])
        calls = e2e.Trace(e2e.convert(self.path("run.pnr"))).count()
        self.assertEqual(calls["__main__.longer"], 50)
        self.assertLess(calls["__main__.tiny"], N_WARM // 100)      # but those that a busy machine made long


class LongForOnce(BurstCase):
    """A call of a function whose calls are short, which takes long once in some thousands."""
    VARIED = """
        notes = []              # the clock before a long call, in it at its begin and its end, and after it
        def varied(work, argument):
            if work:
                inside.append(clock())
                work(argument)
                inside.append(clock())
        def episode(work, argument):
            for _ in range(1000):
                varied(None, 0)
            before = clock()
            varied(work, argument)
            notes.append((before, *inside, clock()))
            inside.clear()
            for _ in range(100):
                varied(None, 0)
        inside = []
        warm_up()
        for _ in range(100):
            for _ in range(1000): varied(None, 0)
        for _ in range(N):
            episode(WORK)
        for note in notes: print(*note)
        """

    def shown(self, work, n):
        """For each long call: whether it has its times, and the slices that began before and after its work did."""
        out = self.run_bursts(self.VARIED.replace("WORK", work).replace("N)", f"{n})"))
        capture = self.path("run.pnr")
        trace = e2e.Trace(e2e.convert(capture, "--include=*varied", "--include=*episode"))
        [process] = capture_reader.read(capture).processes
        start = int(process.properties["start_monotonic_ns"])
        calls = sorted(trace.named("__main__.varied"), key=lambda one: one.begin)
        for line in out.splitlines():
            before, first, last, after = (int(number) - start for number in line.split())
            at = bisect.bisect_right(calls, first, key=lambda one: one.begin)
            slices = calls[at - 1:at + 1]
            yield any(before - SLACK_NS < one.begin < first + SLACK_NS and last - SLACK_NS < one.end < after + SLACK_NS
                      for one in calls[max(at - 300, 0):at + 300]), slices

    @e2e.alone
    def test_by_the_processor(self):
        """It has its times, or what is shown in its place says that it is not exact."""
        for work, n in ("sum, range(2000)", 60), ("sum, range(20_000)", 30):
            for is_right, slices in self.shown(work, n):
                self.assertTrue(is_right or any("inexact" in one.flags for one in slices), slices)

    @e2e.alone
    def test_by_waiting(self):
        """The guard sees it: the wait is in the call that waited, if the recorder's thread got a processor in time."""
        found = [is_right for is_right, _ in self.shown("time.sleep, 0.03", 20)]
        self.assertGreaterEqual(sum(found), 18, found)


@test_budget.needs_budgets
class WithBudget(test_budget.BudgetCase):
    tolerated = ("clock read at",)

    def test_hot_programs(self):
        """What is muted and recorded nests as with a full clock, and a reader knows when it was muted."""
        for name in "methods", "generators", "recursion":
            with self.subTest(name):
                text = hot_programs.text_of(name, hot_programs.ROUNDS)
                _, ledgers = self.record_budget(text, *SPARSE, budget="1%", is_read=False)
                self.assertTrue([name for one in ledgers for name in one.muted() if name.startswith("__main__.")])
                self.assertEqual({one.properties["clock_mode"] for one in ledgers}, {"sparse"})


class SelfTimes(BurstCase):
    TEXT = textwrap.dedent("""
        def longer():
            return sum((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12))
        def both(n):
            for _ in range(n):
                tiny()
                longer()
                tiny()
        for _ in range(30):
            both(20_000)
        with open(sys.argv[1], "w") as file:
            print(clock(), file=file)
        """)

    def measure(self, *options):
        """The durations of tiny() and longer() in the last 20 ms, in ns, on average."""
        process = self.record(self.write("app.py", BURSTS + self.TEXT), *options, args=[self.path("end")],
                              is_ledger_only=True)
        with open(self.path("end")) as file:
            end = int(file.read()) - int(process.properties["start_monotonic_ns"])
        trace = e2e.Trace(e2e.convert(self.path("run.pnr"), f"--from={end - 20_000_000}ns", f"--to={end}ns"))
        times = []
        for name in "tiny", "longer":
            all_ns = sorted(one.end - one.begin for one in trace.named(f"__main__.{name}"))
            times.append(statistics.fmean(all_ns[:len(all_ns) * 9 // 10]))             # without the machine's noise
        return times

    def test_of_neighbours(self):
        """Where short calls and longer ones alternate, each has its own time: it is not that of all on average. Compared
        with a recording that reads the clock at each event. A machine may be twice as fast during one of the two: then
        they are made again."""
        found = []
        for _ in range(5):
            tiny, longer = self.measure("--clock", "full")
            sparse_tiny, sparse_longer = self.measure(*SPARSE)
            found.append((tiny, longer, sparse_tiny, sparse_longer))
            if sparse_tiny < 1.3 * tiny + 5 and 0.7 * longer - 10 < sparse_longer < 1.3 * longer + 10:
                return
        self.fail(found)


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
