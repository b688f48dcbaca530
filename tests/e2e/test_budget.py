"""Recording with a budget (--max-overhead): what is muted is reported, and what is recorded is right.

The truth comes from the programs, which count their own calls and take their own times, or from a second run whose budget
is endless. No test has a limit in time: where a recording may be late, a witness process measures how late this machine
is at that moment (class Witness).
"""

import bisect
import collections
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import unittest

import e2e
import hot_programs
import ledger
import ledger_checker
import test_greenlets
import test_oracle
import trace_checker

HAS_BUDGETS = e2e.IS_KNOWN and "monitoring" in e2e.ENGINES
needs_budgets = unittest.skipUnless(HAS_BUDGETS, "there are no budgets on this Python")
ENDLESS = ("--max-overhead", "1000%")       # mutes nothing
TOLERANCE_NS = 20_000                       # from the ticks of two clock samples to the clock's nanoseconds
TOO_BUSY = "this machine is too busy: a look at the stacks may wait longer than a slow call takes"
KILLED_LINE = "did not end in order"        # of a process that a signal ended
MISSING_ENTRY, MISSING_EXIT = "without a matching entry", "whose exit was not recorded"


class BudgetCase(e2e.EndToEnd):
    # What --verify may report. docs/limits.md has the reason: changes that another tool's callback makes room for, at the
    # entry or exit of the very frame.
    tolerated = ()

    def is_tolerated(self, line):
        return any(text in line for text in self.tolerated)

    def examine(self, capture, status=0, is_read=True):
        """A capture is whole, converts, and no stack is wrong in it. Returns its Trace, if it is to be read and not too
        large (on a busy machine functions are muted late), and its Ledgers."""
        verified = e2e.run([e2e.CONVERT, "--verify", capture], timeout=600)
        lines = [line for line in verified.err.splitlines() if KILLED_LINE not in line and not self.is_tolerated(line)]
        self.assertEqual((verified.status, lines), (status, []))
        trace = self.path("examined.trace")
        converted = e2e.run([e2e.CONVERT, capture, "-o", trace], timeout=600)
        self.assertEqual(converted.status, status, converted.err)
        for text in {MISSING_ENTRY, MISSING_EXIT}.difference(self.tolerated):
            self.assertNotIn(text, converted.err)
        ledgers = ledger.read(capture)
        self.assertEqual([one.problems for one in ledgers if one.problems], [])
        self.assertFalse([one for one in ledgers if not one.is_whole])
        is_read = is_read and os.path.getsize(trace) <= e2e.Trace.LARGEST
        return e2e.Trace(trace) if is_read else None, ledgers

    def check_again(self, capture):
        """The reader that shares no code with the converter makes the same slices and flows of a capture."""
        with open(self.path("examined.trace"), encoding="utf-8") as file:
            problems = trace_checker.check(capture, file.read(), trace_checker.REAL_CLOCK_NS)
        self.assertEqual(problems[:10] + ledger_checker.check(capture)[:10], [])

    def record_budget(self, text, *options, budget="1%", is_read=True):
        """Runs a program alone, and recorded with a budget, which must come to the same. Returns Trace and Ledgers."""
        self.record_as_plain(text, "--max-overhead", budget, *options)
        return self.examine(self.path("run.pnr"), is_read=is_read)


# ---- what is recorded with an endless budget

@needs_budgets
class Endless(test_oracle.Comparison):
    options = ["-q", *ENDLESS]
    reported = ["monitored"]


@needs_budgets
class EndlessCCalls(test_oracle.Comparison):
    programs = test_oracle.CCalls.programs
    options = ["-q", *ENDLESS, "--c-calls"]
    reported = ["c_calls", "monitored"]


for case in (Endless, EndlessCCalls):
    for name in case.programs:
        test_oracle.add(case, name)


@needs_budgets
class SameRecords(BudgetCase):
    def test_of_one_thread(self):
        """Record for record, of programs whose course does not depend on time."""
        for name in "methods", "generators", "destructors":
            with self.subTest(name):
                found = []
                for options in ["--engine", "monitoring"], ENDLESS:
                    shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
                    program = self.write("app.py", hot_programs.text_of(name, 1))
                    finished = e2e.recorded(self.path("run.pnr"), [program], options=["-q", *options])
                    self.assertEqual((finished.status, finished.err), (0, ""))
                    trace = self.trace()
                    found.append([(one.function.name, one.parent and one.parent.function.name, sorted(one.flags))
                                  for one in trace.of(program)])
                    found.append(sorted(len(flow) for flow in trace.flows))
                self.assertGreater(len(found[0]), 5000)
                self.assertTrue(found[:2] == found[2:], "the records differ")

    def test_nothing_is_muted(self):
        finished = self.record_as_plain(hot_programs.text_of("signals"), *ENDLESS)
        _, (one,) = self.examine(self.path("run.pnr"))
        self.assertEqual(one.of("MUTE", "MUTED", "WINDOW"), [])
        self.assertEqual(one.properties["max_overhead"], "1000")
        self.assertTrue(finished.out)


# ---- programs whose hot functions are muted

@needs_budgets
class HotPrograms(BudgetCase):
    """Their output is as without the recorder, and what is recorded nests. Each must have muted something, for else the
    test would find nothing."""

    def check_program(self, name, budget):
        is_small = budget == "0.1%"         # and so is the capture, which two readers of Python take slowly
        text = hot_programs.text_of(name, ROUNDS.get(name, hot_programs.ROUNDS))
        trace, ledgers = self.record_budget(text, *OPTIONS.get(name, ()), budget=budget, is_read=is_small)
        for one in ledgers:
            self.assertEqual(one.properties["max_overhead"], budget.rstrip("%"))
            self.assertGreater(float(one.properties["event_cost_ns"]), 1)
        muted = set().union(*(one.muted() | one.muted_c_calls() for one in ledgers))
        self.assertTrue([name for name in muted if name.startswith("__main__.")] or
                        (name == "the standard library" and muted), f"nothing was muted: {muted}")
        self.assertFalse([name for one in ledgers for name in one.muted() if name.endswith("<module>")])
        if trace:
            self.assertEqual(len(trace.windows), sum(len(one.of("WINDOW")) for one in ledgers))
            self.check_again(self.path("run.pnr"))


ROUNDS = {"forks": 1}                       # each process has the credit of a second
OPTIONS = {"excluded and C functions": ("--c-calls", "--exclude", "__main__.excluded")}


def add_program(name, budget):
    def test(self):
        self.check_program(name, budget)

    if name == "greenlets":
        test = unittest.skipUnless(test_greenlets.HAS_GREENLET, "greenlet is not there for this Python")(test)
    words = re.sub(r"\W+", "_", f"{name} {budget.rstrip('%').replace('.', ' ')} percent")
    setattr(HotPrograms, f"test_{words}", test)


for name in hot_programs.PROGRAMS:
    for budget in "1%", "0.1%":
        add_program(name, budget)


# Runs of generators, each of which lies where the one before has lain.
PASSED_OVER = """
    def leaf(n):
        return n & 3
    def inner(n):                   # is recorded while windows come and go: `numbers` is passed over in them
        return sum(leaf(i) for i in range(n))
    def numbers(n):
        yield inner(n) if n else leaf(n)
    for k in range(20):
        next(numbers(800_000))
        for i in range(100_000):
            next(numbers(0))
    """
RAISING = """
    import time
    def leaf(n):
        return n & 3
    def numbers(n):
        yield leaf(n) if n < 0 else [][leaf(n)]
    longest = 0
    for i in range(500_000):
        begin = time.monotonic_ns()
        try:
            next(numbers(0))
        except IndexError:
            longest = max(longest, time.monotonic_ns() - begin)
    print(longest)
    """


@needs_budgets
class OneAddress(BudgetCase):
    """What is known of a generator's frame ends with its run: a later frame has the same address."""

    def record_numbers(self, text, budget):
        finished = self.record_alone(text, "--max-overhead", budget)
        trace, (one,) = self.examine(self.path("run.pnr"))
        self.assertIn("__main__.numbers", one.muted())
        return finished, trace

    def record_alone(self, text, *options):
        finished = e2e.recorded(self.path("run.pnr"), [self.write("app.py", text)], options=["-q", *options])
        self.assertEqual((finished.status, finished.err), (0, ""))
        return finished

    def test_passed_over(self):
        """Muted again while they are open, they have an exit that is seen."""
        self.record_numbers(PASSED_OVER, "1%")

    def test_raising(self):
        """No slice is longer than the longest call, and each ends with its exception."""
        finished, trace = self.record_numbers(RAISING, "0.3%")
        if trace:
            slices = trace.named("__main__.numbers")
            self.assertLessEqual(max(one.end - one.begin for one in slices), int(finished.out) + TOLERANCE_NS)
            self.assertEqual({flag for one in slices for flag in one.flags if flag == "exit_missing"}, set())


@needs_budgets
class Greenlets(BudgetCase):
    @unittest.skipUnless(test_greenlets.HAS_GREENLET, "greenlet is not there for this Python")
    def test_muted_while_they_wait(self):
        """Each call of a function that switches lies in the life of one greenlet, and ends with it, though functions are
        muted while greenlets wait in them. The greenlets that come next are rows of those that have ended."""
        text = """
            import json, time
            from greenlet import greenlet, getcurrent
            now, main, lives = time.monotonic_ns, getcurrent(), []
            def step(i):
                return i & 3
            def job(n):
                for i in range(n):
                    step(i)
                main.switch()
                for i in range(n):
                    step(i)
            for _ in range(15_000):
                pairs = []
                for k in range(8):
                    one, begin = greenlet(job), now()
                    one.switch(20)
                    pairs.append((one, begin))
                for one, begin in pairs:
                    one.switch()
                    lives.append((begin, now()))
            print(json.dumps(lives))
            """
        finished = e2e.recorded(self.path("run.pnr"), [self.write("app.py", text)],
                                options=["-q", "--max-overhead", "0.1%"])
        self.assertEqual((finished.status, finished.err), (0, ""))
        trace, (one,) = self.examine(self.path("run.pnr"))
        self.assertIn("__main__.job", one.muted())
        self.check_again(self.path("run.pnr"))
        if not trace:
            return
        zero, lives = int(one.properties["start_monotonic_ns"]), sorted(map(tuple, json.loads(finished.out)))
        begins, outside = [begin for begin, _ in lives], []
        for job in trace.named("__main__.job"):
            at = bisect.bisect(begins, job.begin + zero + TOLERANCE_NS)
            if not any(job.end + zero <= end + TOLERANCE_NS for _, end in lives[max(at - 8, 0):at]):
                outside.append((job.begin, job.end, job.flags))
        self.assertGreater(len(trace.named("__main__.job")), 100)
        self.assertEqual(outside[:5], [])
        self.assertEqual([job for job in trace.named("__main__.job") if "exit_missing" in job.flags], [])


@needs_budgets
class KeptFrames(BudgetCase):
    """Frames that the program keeps beyond their exit, from the moment at which it takes them."""

    def test_long_calls(self):
        """A traceback and a frame object are taken just before a long call returns, with nothing else left of it."""
        text = """
            import sys, time
            kept = []
            def leaf(n):
                return n & 3
            def fails(n):
                raise ValueError(n)
            def catching(n):
                if n:
                    end = time.monotonic_ns() + 25_000_000
                    while time.monotonic_ns() < end:
                        leaf(n)
                    try:
                        fails(n)
                    except ValueError as error:
                        kept.append(error)
                return n
            def held(n):
                if n:
                    end = time.monotonic_ns() + 25_000_000
                    while time.monotonic_ns() < end:
                        leaf(n)
                    kept.append(sys._getframe())
                return n
            for k in range(12):
                for i in range(60_000):
                    catching(0)
                    held(0)
                catching(1)
                held(1)
            print(len(kept))
            """
        finished = e2e.recorded(self.path("run.pnr"), [self.write("app.py", text)],
                                options=["-q", "--max-overhead", "0.3%"])
        self.assertEqual(finished, (0, "24\n", ""))
        trace, _ = self.examine(self.path("run.pnr"))
        if trace:
            slices = trace.named("__main__.catching") + trace.named("__main__.held")
            self.assertTrue([one for one in slices if "begin_unknown" in one.flags], "no long call was noticed")
            self.assertEqual([one for one in slices if "exit_missing" in one.flags], [])


@needs_budgets
class DeepRecursion(BudgetCase):
    """A list of open frames has the 1,024 innermost at most."""

    def test_admitted_while_deep(self):
        """Windows begin and end while thousands of frames of a muted function are open. What is recorded from then on
        has an exit, and nothing else has."""
        text = """
            import sys, time
            sys.setrecursionlimit(20_000)
            def dive(n, cpu_ns):
                if n:
                    return dive(n - 1, cpu_ns) + 1
                end = time.process_time_ns() + cpu_ns
                while time.process_time_ns() < end:
                    for k in range(20):
                        dive(k, 0)
                return 0
            total = 0
            for depth in 3000, 900, 1500, 5000, 3000:
                for k in range(4000):
                    total += dive(20, 0)
                total += dive(depth, 250_000_000)
            print(total)
            """
        finished = e2e.recorded(self.path("run.pnr"), [self.write("app.py", text)],
                                options=["-q", "--max-overhead", "0.3%"])
        self.assertEqual(finished, (0, f"{5 * 4000 * 20 + 3000 + 900 + 1500 + 5000 + 3000}\n", ""))
        _, (one,) = self.examine(self.path("run.pnr"), is_read=False)
        self.assertIn("__main__.dive", one.muted())
        self.check_again(self.path("run.pnr"))
        records = [record for process in ledger.reader.read(self.path("run.pnr")).processes
                   for thread in process.threads.values() for block in thread.blocks for record in block.records]
        self.assertTrue([record for record in records if record[1] == ledger.reader.SWITCH
                         and record[2] == ledger.reader.SWITCH_ADDED], "nothing was admitted while many were open")


HOT = """
    import os, sys, time
    import panopticon_rec
    def leaf(n):
        return n & 3
    def numbers(n):
        for i in range(n):
            yield leaf(i)
    def rec(n):
        return rec(n - 1) + 1 if n else leaf(n)
    def work(n):
        total = 0
        for i in range(n):
            total += leaf(i) + rec(i % 7)
        return total + sum(numbers(n))
    """


@needs_budgets
@e2e.alone
class Modes(BudgetCase):
    """Pauses, snapshots, regions, limits: with a budget as without."""

    def program(self, text):
        return textwrap.dedent(HOT) + textwrap.dedent(text)

    def assertMuted(self, ledgers, name="__main__.leaf"):
        """On a busy machine a program may have ended before anything is muted."""
        if os.getloadavg()[0] > os.cpu_count():
            return
        self.assertIn(name, set().union(*(one.muted() for one in ledgers)))

    def test_pauses(self):
        """They come at any depth, and in generators that go on after them."""
        text = """
            def paused(n, calls):
                if n:
                    return paused(n - 1, calls)
                calls[0]()
                leaf(1)
                calls[1]()
            def steps(calls):
                for _ in range(3):
                    calls[0]()
                    yield leaf(2)
                    calls[1]()
            is_recorded = os.environ.get("PANOPTICON_TEST") == "recorded"
            nothing = (lambda: None)
            calls = (panopticon_rec.pause, panopticon_rec.resume) if is_recorded else (nothing, nothing)
            for k in range(60):
                work(5000)
                paused(k % 20, calls)
                list(steps(calls))
            calls[0]()
            print(work(2000))
            calls[1]()
            print(work(2000))
            """
        path = self.write("app.py", self.program(text))
        alone = e2e.plain([path])
        for budget in "0.3%", "0.1%":
            shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
            found = e2e.recorded(self.path("run.pnr"), [path], options=["-q", "--max-overhead", budget],
                                 env={"PANOPTICON_TEST": "recorded"})
            self.assertEqual(found, alone)
            trace, ledgers = self.examine(self.path("run.pnr"))
            self.assertMuted(ledgers)
            if trace and "__main__.paused" not in ledgers[0].muted():
                self.assertEqual(len(trace.named("__main__.paused")), sum(k % 20 + 1 for k in range(60)))

    def test_toggled(self):
        """By a signal, at any moment."""
        text = """
            import signal
            pid = os.getpid()
            for k in range(120):
                work(5000)
                if os.environ.get("PANOPTICON_TEST"):
                    os.kill(pid, signal.SIGUSR2)
            print(work(1000))
            """
        path = self.write("app.py", self.program(text))
        alone = e2e.plain([path])
        found = e2e.recorded(self.path("run.pnr"), [path], env={"PANOPTICON_TEST": "1"},
                             options=["-q", "--max-overhead", "0.3%", "--toggle-on", "SIGUSR2"])
        self.assertEqual(found, alone)
        _, ledgers = self.examine(self.path("run.pnr"))
        self.assertMuted(ledgers)

    def test_snapshots(self):
        """A snapshot knows what was muted when it begins, and what is open in it."""
        text = """
            def shot(k, n):
                if n:
                    return shot(k, n - 1)
                panopticon_rec.snapshot(f"shot{k}.pnr")
            for k in range(8):
                work(20_000)
                shot(k, 5)
            print(work(2000))
            """
        self.script_recorded(text, "--max-overhead", "0.3%")
        for k in range(8):
            trace, ledgers = self.examine(self.path(f"shot{k}.pnr"))
            self.assertMuted(ledgers)
            if "__main__.shot" not in ledgers[0].muted():
                self.assertTrue(trace is None or len(trace.named("__main__.shot")) == 6 * (k + 1))
        _, ledgers = self.examine(self.path("run.pnr"), is_read=False)
        self.assertMuted(ledgers)

    def script_recorded(self, text, *options):
        shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
        path = self.write("app.py", self.program(text))
        finished = e2e.recorded(self.path("run.pnr"), [path], cwd=self.directory, options=["-q", *options])
        self.assertEqual((finished.status, finished.err), (0, ""))
        return finished

    def test_the_last_seconds(self):
        """Segments are evicted. Those that are left report at once what was muted when they began."""
        text = """
            end = time.monotonic() + 3
            while time.monotonic() < end:
                work(2000)
            """
        self.script_recorded(text, "--max-overhead", "1%", "--last", "500ms")
        capture = self.path("run.pnr")
        self.assertGreater(min(e2e.segments(capture)), 1)
        verified = e2e.run([e2e.CONVERT, "--verify", capture])
        self.assertEqual(verified.status, 0, verified.err)
        converted = e2e.run([e2e.CONVERT, capture, "-o", self.path("examined.trace")])
        self.assertEqual(converted.status, 0, converted.err)
        self.assertNotIn(MISSING_ENTRY, converted.err)
        one, = ledger.read(capture)
        self.assertEqual(one.problems, [])
        self.assertMuted([one])
        self.check_again(capture)

    def test_regions(self):
        """A program records parts of itself, inside of a recording, too; each capture has its own part of the ledger."""
        text = """
            for k in range(4):
                with panopticon_rec.Recorder(f"region{k}.pnr", max_overhead="0.3%"):
                    print(work(25_000))
                work(1000)
            """
        path = self.write("app.py", self.program(text))
        alone = e2e.plain([path], cwd=self.directory)
        self.assertEqual((alone.status, alone.err), (0, ""))
        for inside in False, True:
            with self.subTest(inside=inside):
                if inside:
                    for k in range(4):
                        shutil.rmtree(self.path(f"region{k}.pnr"))
                    found = e2e.recorded(self.path("run.pnr"), [path], cwd=self.directory,
                                         options=["-q", "--max-overhead", "0.3%"])
                    self.assertEqual(found, alone)
                    self.assertMuted(self.examine(self.path("run.pnr"), is_read=False)[1])
                for k in range(4):
                    trace, ledgers = self.examine(self.path(f"region{k}.pnr"))
                    self.assertMuted(ledgers)
                    self.assertTrue(trace is None or len(trace.named("__main__.work")) == 1)

    def test_stops_in_the_middle(self):
        """It ends deep inside of muted functions, which go on; afterwards nothing of the recorder is left."""
        text = """
            def deep(n, recorder):
                leaf(n)
                if n:
                    return deep(n - 1, recorder) + leaf(n)
                if recorder:
                    recorder.stop()
                return work(300)
            def steps(n, recorder):
                for i in range(n):
                    yield leaf(i)
                    if i == n // 2 and recorder:
                        recorder.stop()
            for k in range(6):
                recorder = panopticon_rec.Recorder(f"part{k}.pnr", max_overhead="0.5%").start()
                total = work(100_000)
                total += deep(30, recorder) if k % 2 else sum(steps(5000, recorder))
                print(total, deep(20, None))
            monitoring = sys.monitoring
            assert not any(monitoring.get_tool(number) for number in range(6))
            for function in leaf, rec, numbers, work, deep, steps:
                for number in 3, 4, 5:
                    monitoring.use_tool_id(number, "test")
                    assert not monitoring.get_local_events(number, function.__code__), function
                    monitoring.free_tool_id(number)
            """
        finished = self.script(self.program(text))
        self.assertEqual(len(finished.out.splitlines()), 6)
        ledgers = []                    # on a busy machine a part may have ended before anything is muted
        for k in range(6):
            ledgers += self.examine(self.path(f"part{k}.pnr"), is_read=False)[1]
        self.assertMuted(ledgers)

    def test_ends(self):
        """However the program ends: an exception, exit in a thread's time, os._exit, a signal."""
        for text, status in (("1 / 0", 1), ("sys.exit(3)", 3), ("os._exit(4)", 4), ("os.kill(os.getpid(), 15)", -15),
                             ("sys.setrecursionlimit(200); (f := lambda n: f(n + 1))(0)", 1)):
            with self.subTest(text):
                path = self.write("app.py", self.program(f"""
                    import threading
                    threading.Thread(target=work, args=(10**9,), daemon=True).start()
                    def below(n):
                        if n:
                            return below(n - 1)
                        {text}
                    work(60_000)
                    below(9)
                    """))
                alone = e2e.plain([path])
                shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
                found = e2e.recorded(self.path("run.pnr"), [path], options=["-q", "--max-overhead", "0.5%"])
                self.assertEqual((found.status, found.out, re.findall(r"^\w+Error.*", found.err, re.MULTILINE)),
                                 (alone.status, alone.out, re.findall(r"^\w+Error.*", alone.err, re.MULTILINE)))
                self.assertEqual(found.status, status)
                self.assertMuted(self.examine(self.path("run.pnr"), is_read=False)[1])


# ---- slow calls

class Witness:
    """A process that sleeps for a millisecond again and again, and notes when it woke up late: how long a thread that
    wants to run had to wait on this machine at that time. A recorder cannot look sooner."""

    TEXT = """if 1:
        import select, sys, time
        now, late = time.monotonic_ns, []
        last = now()
        print(flush=True)
        while not select.select([0], [], [], 0.001)[0]:
            this = now()
            if this - last > 2_000_000:
                late.append((last, this))
            last = this
        print(late)
        """

    def __enter__(self):
        self.process = subprocess.Popen([e2e.PYTHON, "-I", "-S", "-c", self.TEXT], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()
        return self

    def __exit__(self, *exception):
        out, _ = self.process.communicate()
        self.late = eval(out)

    def delay(self, begin, end):
        """ns: the most that a thread waited in this time."""
        at = bisect.bisect_left(self.late, (begin - 10**9,))
        return max((until - since for since, until in self.late[at:] if since < end and until > begin), default=0)


# A call of `function(slow)` returns at once, or takes SLOW ns. While it runs it appends to CALLS: [name, ns before the
# call, as it begins, as it ends, after the call, the longest time between two readings of the clock by a busy one].
SLOW_CALLS = """
    import asyncio, json, os, sys, threading, time
    now, CALLS = time.monotonic_ns, []
    SLOW, N_SLOW, N_FAST = 50_000_000, 6, 60_000

    def busy(slow):
        if slow:
            note = slow
            note[2] = last = now()
            end, worst = last + SLOW, 0
            while last < end:
                this = now()
                if this - last > worst:
                    worst = this - last
                last = this
            note[5] = worst
            note[3] = now()

    def asleep(slow):
        if slow:
            slow[2] = now()
            time.sleep(SLOW / 1e9)
            slow[3] = now()

    def recursive(n, slow):
        if n:
            recursive(n - 1, slow)
        elif slow:
            slow[2] = now()
            time.sleep(SLOW / 1e9)
            slow[3] = now()

    def raising(slow):
        if slow:
            slow[2] = now()
            time.sleep(SLOW / 1e9)
            slow[3] = now()
            raise ValueError
        return None

    async def coroutine(slow):
        if slow:
            slow[2] = now()
            time.sleep(SLOW / 1e9)
            slow[3] = now()

    def generator(slow):
        if slow:
            slow[2] = now()
            time.sleep(SLOW / 1e9)
            slow[3] = now()
        yield 1

    def steps():
        slow = None
        while True:
            if slow:
                slow[2] = now()
                time.sleep(SLOW / 1e9)
                slow[3] = now()
            slow = yield

    def busy_caller(slow):          # muted, and so is what it calls: both are open
        return busy(slow)

    def drive(name, call, n_fast=N_FAST):
        for _ in range(N_SLOW):
            for _ in range(n_fast):
                call(None)
            note = [name, now(), 0, 0, 0, 0]
            try:
                call(note)
            except ValueError:
                pass
            note[4] = now()
            CALLS.append(note)

    async def drive_async():
        for _ in range(N_SLOW):
            for _ in range(N_FAST):
                await coroutine(None)
            note = ["coroutine", now(), 0, 0, 0, 0]
            await coroutine(note)
            note[4] = now()
            CALLS.append(note)

    def other(function):
        thread = threading.Thread(target=drive, args=(function.__name__, function))
        thread.start()
        return thread

    def main(how):
        if how == "coroutine":
            asyncio.run(drive_async())
        elif how == "recursive":
            drive(how, lambda slow: recursive(4, slow), N_FAST // 5)
        elif how == "generator":
            drive(how, lambda slow: next(generator(slow)))
        elif how == "steps":
            one = steps()
            next(one)
            drive(how, one.send)
        elif how == "thread while main is busy":
            thread = other(asleep)
            while thread.is_alive():
                for _ in range(1000):
                    busy(None)
        elif how == "thread while main sleeps":
            other(asleep).join()
        elif how == "waiting":
            for _ in range(5):
                for _ in range(10 * N_FAST):
                    busy(None)
                time.sleep(1)
        elif how == "starving":
            cpu = min(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {cpu})
            for thread in os.listdir("/proc/self/task"):
                with open(f"/proc/self/task/{thread}/comm") as file:
                    if file.read() == "panopticon\\n":
                        os.sched_setaffinity(int(thread), {cpu})
                        os.setpriority(os.PRIO_PROCESS, int(thread), 19)
            drive("busy", busy, 10 * N_FAST)
        elif how == "two threads":
            threads = [other(asleep), other(busy)]
            for thread in threads:
                thread.join()
        else:
            drive(how, globals()[how])
        json.dump(CALLS, sys.stdout)

    main(sys.argv[1])
    """
Call = collections.namedtuple("Call", "name before begin end after busy_delay")


@needs_budgets
@e2e.alone
class SlowCalls(BudgetCase):
    """Functions that are called hundreds of thousands of times, each 100 ns long, and a few times 50 ms long. Each long
    call is in the trace: it may begin late by two looks at the stacks, and ends exactly when it did."""

    LOOKS_NS = 20_000_000           # two looks at the stacks, 10 ms apart
    LONG_NS = 25_000_000            # calls that are this long are never missing
    BUSY_NS = 4_000_000             # where a thread waits longer for a processor, the drain's may wait for several

    def observe(self, how, budget):
        """Returns the calls of the program, the Witness, the trace, its zero on the clock, and the ledger."""
        shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
        with Witness() as witness:
            path = self.write("app.py", SLOW_CALLS)
            found = e2e.recorded(self.path("run.pnr"), [path, how], options=["-q", "--max-overhead", budget])
        self.assertEqual((found.status, found.err), (0, ""))
        trace, (one,) = self.examine(self.path("run.pnr"))
        calls = [Call(*call) for call in json.loads(found.out)]
        return calls, witness, trace, int(one.properties["start_monotonic_ns"]), one

    def find_slices(self, call, trace, zero):
        """The slices of the call's function that end with the call."""
        return [each for each in trace.named(f"__main__.{call.name}") if each.end + zero >= call.end - TOLERANCE_NS and
                each.begin + zero < call.end]

    def check_seen(self, calls, trace, zero, one):
        """Each call that took longer than any that may be missing, by the recorder's own account, is in the trace."""
        unseen = int(one.properties.get("unseen_ns", self.LONG_NS))
        for call in calls:
            if call.end - call.begin > unseen + TOLERANCE_NS and one.is_hidden(f"__main__.{call.name}", call.begin):
                self.assertTrue(self.find_slices(call, trace, zero), f"{call}, longer than {unseen}")

    def check_slow(self, how, budget="0.3%", depth=1):
        """depth: so many slices of the function end with the call."""
        if os.getloadavg()[0] > os.cpu_count():
            self.skipTest(TOO_BUSY)     # the drain's thread, which also compresses, waits longer than the witness
        for _ in range(5):
            calls, witness, trace, zero, one = self.observe(how, budget)
            self.assertTrue(one.muted() & {f"__main__.{call.name}" for call in calls}, f"{how} was not muted")
            n_judged = n_late = 0
            self.check_seen(calls, trace, zero, one)
            for call in calls:
                name = f"__main__.{call.name}"
                delay = 2 * witness.delay(call.before, call.after) + call.busy_delay
                if delay > self.BUSY_NS or call.end - call.begin < self.LONG_NS + delay or \
                        not one.is_hidden(name, call.begin):
                    continue
                n_judged += 1
                slices = self.find_slices(call, trace, zero)
                self.assertEqual(len(slices), depth, f"{call}, {delay} ns late: {slices}")
                for each in slices:
                    begin, end = each.begin + zero, each.end + zero
                    self.assertLessEqual(end, call.after + TOLERANCE_NS)
                    self.assertGreaterEqual(begin, call.before - TOLERANCE_NS)
                    self.assertLessEqual(begin, call.begin + self.LOOKS_NS + delay, f"late: {call}, {delay}")
                    self.assertEqual("exception" in each.flags, call.name == "raising")
                    n_late += begin > call.begin + self.LOOKS_NS
            if n_judged >= len(calls) // 2:
                self.assertLessEqual(n_late, n_judged // 2, "most of the calls begin later than two looks")
                return
        self.skipTest(TOO_BUSY)

    def test_busy(self):
        self.check_slow("busy")

    def test_a_program_that_waits(self):
        """While the program waits, and uses no processor, no look is late."""
        _, _, _, _, one = self.observe("waiting", "0.3%")
        self.assertTrue(one.muted())
        self.assertLess(int(one.properties.get("unseen_ns", 0)), 900_000_000)

    def test_looks_that_come_late(self):
        """The recorder's thread has one processor together with the busy program, and little of it. Then slow calls may be
        missing, and the recorder says up to which length."""
        calls, _, trace, zero, one = self.observe("starving", "0.3%")
        self.assertTrue(one.is_hidden("__main__.busy", calls[-1].begin))
        self.assertGreater(int(one.properties["unseen_ns"]), self.LONG_NS)
        self.assertGreater(int(one.properties["late_looks"]), 0)
        self.check_seen(calls, trace, zero, one)
        info = e2e.run([e2e.CONVERT, "--info", self.path("run.pnr")])
        self.assertIn(f"maybe calls of up to {int(one.properties['unseen_ns']) / 1e6:.1f} ms", info.out)
        end = e2e.recorded(self.path("other.pnr"), [self.path("app.py"), "starving"], options=["--max-overhead", "0.3%"]).err
        self.assertRegex(end, r", maybe calls of up to \d+ ms among them: looks came late; ")

    def test_asleep(self):
        self.check_slow("asleep")

    def test_recursive(self):
        self.check_slow("recursive", depth=5)

    def test_under_an_exception(self):
        self.check_slow("raising")

    def test_coroutine(self):
        self.check_slow("coroutine")

    def test_generator(self):
        self.check_slow("generator")

    def test_a_step_of_a_generator(self):
        self.check_slow("steps")

    def test_in_a_muted_caller(self):
        self.check_slow("busy_caller")

    def test_in_a_thread_while_main_is_busy(self):
        self.check_slow("thread while main is busy")

    def test_in_a_thread_while_main_sleeps(self):
        self.check_slow("thread while main sleeps")

    def test_in_two_threads(self):
        self.check_slow("two threads")


# ---- what the program must not see, and what it must not cost

HIDDEN = """
    import builtins, sys, threading, time
    def tiny(n):
        return n
    def work(seconds):
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for i in range(50):
                tiny(i)
    """


@needs_budgets
class Unseen(BudgetCase):
    """The recorder watches the frames of muted functions: the program sees nothing of it."""

    def check_unseen(self, text, budget="1%"):
        _, (one,) = self.record_budget(textwrap.dedent(HIDDEN) + textwrap.dedent(text), budget=budget, is_read=False)
        self.assertIn("__main__.f", one.muted())

    def test_locals_are_the_same_again(self):
        self.check_unseen("""
            def f(is_long):
                if not is_long:
                    return 0, 0
                seen, n_others, n_lost = None, 0, 0
                for _ in range(8):
                    work(.05)
                    found = locals()
                    if sys.version_info < (3, 13):      # later ones are new each time
                        n_others += seen is not None and found is not seen
                        n_lost += seen is not None and "kept" not in found
                    seen = found
                    seen["kept"] = 1
                return n_others, n_lost
            for _ in range(4):
                for i in range(20_000):
                    f(False)
                print(f(True))
            """)

    def test_import_gets_none(self):
        self.check_unseen("""
            found, real = set(), builtins.__import__
            def own_import(name, globals=None, locals=None, fromlist=(), level=0):
                found.add(type(locals))
                return real(name, globals, locals, fromlist, level)
            builtins.__import__ = own_import
            def f(is_long):
                for _ in range(10 if is_long else 0):
                    work(.01)
                    import sys
                import sys
            for _ in range(6):
                for i in range(20_000):
                    f(False)
                f(True)
            print(found)
            """, budget="0.3%")

    def test_destructors_that_take_long(self):
        """They run when the frame is not on the stack any more."""
        self.check_unseen("""
            class Long:
                def __del__(self):
                    work(.03)
            def f(is_long):
                if is_long:
                    long = Long()
                    time.sleep(.03)
            for _ in range(10):
                for i in range(20_000):
                    f(False)
                f(True)
            """)

    def test_threads_run_while_an_event_is_measured(self):
        self.script("""
            import sys, threading, time, panopticon_rec
            sys.setswitchinterval(1e-5)
            is_over = False
            def tiny(n): return n
            def run():
                while not is_over:
                    tiny(1)
            threads = [threading.Thread(target=run) for _ in range(3)]
            for thread in threads: thread.start()
            for i in range(12):
                with panopticon_rec.Recorder(f"{sys.argv[1]}{i}.pnr", max_overhead="1%"):
                    time.sleep(.02)
            is_over = True
            for thread in threads: thread.join()
            """, self.path("run"))
        for i in range(12):
            converted = e2e.run([e2e.CONVERT, self.path(f"run{i}.pnr"), "-o", self.path("run.trace")])
            self.assertNotIn("name table", converted.err)


# ---- estimates

# Functions of known cost, each called by two callers, in phases: what is true in one is not in the next.
ESTIMATED = """
    import gc, json, sys, time
    gc.disable()
    COUNTS = {}
    def tiny(n): return n
    def small(n):
        for _ in range(10): n += 1
        return n
    def medium(n):
        for _ in range(40): n += 1
        return tiny(n)
    def large(n):
        for _ in range(300): n += 1
        return small(n)
    def numbers(n):
        for i in range(n): yield tiny(i)
    def first(n):
        for i in range(n): tiny(i); small(i); medium(i)
    def second(n):
        for i in range(n): small(i); small(i); tiny(i)
        for i in range(n // 20): large(i)
    def third(n):
        for _ in numbers(n): pass
        for i in range(n // 10): medium(i)
    PER_LOOP = {"first": {"tiny": 2, "small": 1, "medium": 1}, "second": {"small": 2.05, "tiny": 1, "large": 0.05},
                "third": {"tiny": 1.1, "medium": 0.1}}
    for _ in range(150):        # some seconds: windows come 40 times a second at most
        for phase in first, second, third:
            n = 20_000
            phase(n)
            for name, each in PER_LOOP[phase.__name__].items():
                COUNTS[name] = COUNTS.get(name, 0) + round(each * n)
    json.dump(COUNTS, sys.stdout)
    """


@needs_budgets
class Estimates(BudgetCase):
    FACTOR = 3              # what an estimate may be too high or too low; bench/run measures how good they are

    def is_wrong(self, estimate, count):
        return not count / self.FACTOR <= (estimate or 0) <= count * self.FACTOR

    def functions(self, capture, *options):
        """What --top reports of each function, by name: {"calls", "self_ns"}, what is estimated and what was recorded
        together."""
        finished = e2e.run([e2e.CONVERT, "-q", capture, "--top", "--json", *options], timeout=600)
        self.assertEqual((finished.status, finished.err), (0, ""))
        result = {}
        for one in json.loads(finished.out)["functions"]:
            sums = result.setdefault(one["name"].removeprefix("~"), {"calls": 0, "self_ns": 0})
            for key in sums:
                sums[key] += one[key]
        return result

    def full(self, text):
        """What --top reports of a recording of a program in which nothing is muted."""
        path = self.write("app.py", text)
        finished = e2e.recorded(self.path("full.pnr"), [path], options=["-q", *ENDLESS])
        self.assertEqual((finished.status, finished.err), (0, ""))
        return self.functions(self.path("full.pnr"))

    def test_calls(self):
        """The estimates agree with the program's own counts, as far as a busy machine allows."""
        finished = self.record_as_plain(ESTIMATED, "--max-overhead", "3%")
        _, (one,) = self.examine(self.path("run.pnr"), is_read=False)
        counts, functions = json.loads(finished.out), self.functions(self.path("run.pnr"))
        muted = [name for name in counts if f"__main__.{name}" in one.muted()]
        self.assertGreaterEqual(len(muted), 2)
        wrong = {name: (counts[name], functions[f"__main__.{name}"]["calls"]) for name in muted
                 if self.is_wrong(functions[f"__main__.{name}"]["calls"], counts[name])}
        self.assertLessEqual(len(wrong), len(muted) // 10, f"calls, and their estimates: {wrong} of {muted}")

    def test_against_a_full_recording(self):
        """Real code: the calls of muted functions that have at least a hundredth of the time."""
        text = hot_programs.text_of("the standard library", 120)
        full = self.full(text)
        self.record_as_plain(text, "--max-overhead", "3%")
        _, (one,) = self.examine(self.path("run.pnr"), is_read=False)
        found = self.functions(self.path("run.pnr"))
        total = sum(each["self_ns"] for each in full.values())
        hot = [name for name, each in full.items() if name in one.muted() and each["self_ns"] > total / 100]
        self.assertTrue(hot)
        wrong = {name: (full[name]["calls"], found.get(name, {}).get("calls")) for name in hot
                 if self.is_wrong(found.get(name, {}).get("calls"), full[name]["calls"])}
        self.assertLessEqual(len(wrong), max(1, len(hot) // 10), f"calls, and their estimates: {wrong} of {hot}")

    def test_time_is_conserved(self):
        """What is estimated of a muted function is taken from its caller: with and without the estimates the times of all
        functions add up to the same."""
        self.record_as_plain(ESTIMATED, "--max-overhead", "1%")
        sums = [sum(each["self_ns"] for each in self.functions(self.path("run.pnr"), *options).values())
                for options in ((), ("--exact",))]
        self.assertAlmostEqual(sums[0] / sums[1], 1, delta=0.001)

    def test_exact(self):
        """--exact shows what was recorded, which is less than all."""
        finished = self.record_as_plain(ESTIMATED, "--max-overhead", "0.3%")
        counts, exact = json.loads(finished.out), self.functions(self.path("run.pnr"), "--exact")
        trace = e2e.Trace(e2e.convert(self.path("run.pnr"))).count()
        for name in counts:
            if f"__main__.{name}" in exact:
                self.assertEqual(exact[f"__main__.{name}"]["calls"], trace[f"__main__.{name}"])
        self.assertLess(exact["__main__.tiny"]["calls"], counts["tiny"])


# ---- flows

# Thousands of generators and coroutines whose frames are used again and again, also while they are muted. What each calls
# in its steps has its number in its name, so that a flow that joins two of them has two numbers in it.
MANY_FLOWS = """
    import asyncio, random, sys
    ONES = 1500
    names = {"__name__": "__main__"}
    exec("".join(f"def one_{n}(): pass\\n" for n in range(ONES)), names)
    calls = [names[f"one_{n}"] for n in range(ONES)]
    def quick(n):
        for i in range(n):
            yield i
    def generator(n, steps):
        for i in range(steps):
            if n is not None:
                calls[n]()
            yield i
    async def coroutine(n, steps):
        for i in range(steps):
            if n is not None:
                calls[n]()
            await asyncio.sleep(0)
    chance = random.Random(int(sys.argv[1]))
    async def main():
        suspended = []
        for n in range(ONES):
            for _ in range(20):                     # makes the functions hot
                for _ in generator(None, 5): pass
            suspended.append(generator(n, 6))
            for one in chance.sample(suspended, min(4, len(suspended))):
                next(one, None)
            if len(suspended) > 30:
                del suspended[chance.randrange(30)]         # its frame is used again by another one
            if n % 10 == 0:
                await asyncio.gather(*(coroutine(n if k == 3 else None, 8) for k in range(20)))
            quick_sum = sum(quick(300))
    asyncio.run(main())
    """


@needs_budgets
class Flows(BudgetCase):
    def test_no_flow_joins_two(self):
        seed, n_joined = str(self.random().randrange(10**6)), 0
        for budget in "1%", "0.3%":
            shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
            path = self.write("app.py", MANY_FLOWS)
            finished = e2e.recorded(self.path("run.pnr"), [path, seed], options=["-q", "--max-overhead", budget])
            self.assertEqual((finished.status, finished.err), (0, ""))
            trace, (one,) = self.examine(self.path("run.pnr"))
            self.assertIn("__main__.generator", one.muted())
            numbers = collections.defaultdict(set)
            for each in trace.slices:
                # While it is muted, what it calls lies in its caller.
                if each.parent and each.function.name.startswith("__main__.one_") and \
                        each.parent.function.name in ("__main__.generator", "__main__.coroutine"):
                    numbers[id(each.parent)].add(each.function.name)
            for flow in trace.flows:
                found = [numbers[id(step)] for step in flow if numbers.get(id(step))]
                self.assertLessEqual(len(set().union(*found)), 1, flow)
                n_joined += len(found) > 1
        self.assertGreater(n_joined, 5)


# ---- SIGKILL

KILLED = """
    import os, random, signal, sys, time
    def leaf(n):
        return n & 3
    def rec(n):
        return rec(n - 1) + 1 if n else leaf(n)
    def numbers(n):
        for i in range(n):
            yield leaf(i)
    def step():
        pass
    def work(writer):
        while True:
            for i in range(3000):
                leaf(i)
                rec(i % 6)
            sum(numbers(3000))
            step()
            os.write(writer, b".")
    chance, counts = random.Random(int(sys.argv[2])), {}
    for _ in range(int(sys.argv[1])):
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reader)
            work(writer)
        os.close(writer)
        time.sleep(chance.random() * 0.4)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        counts[pid] = 0
        while piece := os.read(reader, 65536):
            counts[pid] += len(piece)
        os.close(reader)
    print(counts)
    """


@needs_budgets
class Killed(BudgetCase):
    def test_at_any_moment(self):
        """What a process had reported is there, and its ledger reports to the end what was muted."""
        n = 300 if e2e.LONG else 20
        seed = str(self.random().randrange(10**6))
        path = self.write("app.py", KILLED)
        capture = self.path("run.pnr")
        finished = e2e.recorded(capture, [path, str(n), seed], options=["-q", "--max-overhead", "0.1%"], timeout=600)
        self.assertEqual((finished.status, finished.err), (0, ""))
        counts = eval(finished.out)
        verified = e2e.run([e2e.CONVERT, "--verify", capture], timeout=600)
        self.assertEqual(verified.status, 0, verified.err)
        steps = collections.Counter(each.thread[0] for each in self.steps(capture).slices)
        n_muted = 0
        for one in ledger.read(capture):
            self.assertEqual(one.problems, [])
            self.assertTrue(one.is_whole)
            pid = int(one.properties["pid"])
            n_muted += bool(one.muted())
            if pid in counts and "__main__.step" not in one.muted():
                self.assertIn(steps[pid], (counts[pid], counts[pid] + 1))
        self.assertGreater(n_muted, n // 3)

    def steps(self, capture):
        """The trace with nothing but the steps. All else is converted, too, and must be in order."""
        trace = self.path("steps.trace")
        converted = e2e.run([e2e.CONVERT, capture, "-o", trace, "--include=__main__.step"], timeout=600)
        self.assertEqual(converted.status, 0, converted.err)
        self.assertNotIn(MISSING_ENTRY, converted.err)
        return e2e.Trace(trace)


# ---- other tools

@needs_budgets
class Tools(BudgetCase):
    """Other tools see all that they would see without the recorder, while functions are muted and admitted."""

    tolerated = MISSING_ENTRY, MISSING_EXIT

    HOT = """
        import collections, sys, threading
        def leaf(n):
            if n % 2:
                return 1
            return 0
        def rec(n):
            return rec(n - 1) + leaf(n) if n else 0
        def numbers(n):
            for i in range(n):
                yield leaf(i)
        def work(n):
            total = 0
            for i in range(n):
                total += leaf(i) + rec(i % 5)
            return total + sum(numbers(n))
        found = collections.Counter()
        """

    def check_tool(self, text):
        text = textwrap.dedent(self.HOT) + textwrap.dedent(text)
        _, ledgers = self.record_budget(text, budget="0.5%", is_read=False)
        self.assertIn("__main__.leaf", set().union(*(one.muted() for one in ledgers)))

    def test_lines_once(self):
        """As coverage.py does: a callback that returns DISABLE for each line."""
        self.check_tool("""
            monitoring = sys.monitoring
            monitoring.use_tool_id(monitoring.COVERAGE_ID, "lines")
            def on_line(code, line):
                found[code.co_name, line] += 1
                return monitoring.DISABLE
            def on_start(code, offset):
                found[code.co_name] += 1
                if code.co_filename == __file__:
                    monitoring.set_local_events(monitoring.COVERAGE_ID, code, monitoring.events.LINE)
                return monitoring.DISABLE
            work(50_000)
            monitoring.register_callback(monitoring.COVERAGE_ID, monitoring.events.LINE, on_line)
            monitoring.register_callback(monitoring.COVERAGE_ID, monitoring.events.PY_START, on_start)
            monitoring.set_events(monitoring.COVERAGE_ID, monitoring.events.PY_START)
            print(work(50_000), sorted(found.items(), key=str))
            monitoring.set_events(monitoring.COVERAGE_ID, 0)
            """)

    def test_all_events(self):
        """As a debugger or a profiler does: all events of some functions, all the time, and restart_events."""
        self.check_tool("""
            monitoring, events = sys.monitoring, sys.monitoring.events
            monitoring.use_tool_id(2, "counts")
            for name in "PY_START", "PY_RESUME", "PY_RETURN", "PY_YIELD", "LINE", "CALL":
                def on_event(code, *others, name=name):
                    found[name, code.co_name] += 1
                monitoring.register_callback(2, getattr(events, name), on_event)
            mask = events.PY_START | events.PY_RESUME | events.PY_RETURN | events.PY_YIELD
            monitoring.set_local_events(2, leaf.__code__, mask | events.LINE)
            monitoring.set_local_events(2, numbers.__code__, mask)
            monitoring.set_local_events(2, work.__code__, events.CALL)
            for k in range(10):
                work(8000)
                monitoring.restart_events()
            print(sorted(found.items()))
            monitoring.set_local_events(2, leaf.__code__, 0)
            work(20_000)
            print(sorted(found.items()), monitoring.get_local_events(2, numbers.__code__))
            """)

    def test_setprofile_and_settrace(self):
        self.check_tool("""
            def profile(frame, event, argument):
                found[event, frame.f_code.co_name] += 1
            def trace(frame, event, argument):
                found["trace", event, frame.f_code.co_name] += 1
                return trace
            work(60_000)
            for k in range(3):
                sys.setprofile(profile)
                work(4000)
                sys.setprofile(None)
                work(10_000)
                sys.settrace(trace)
                work(2000)
                sys.settrace(None)
            print(sorted((str(key), n) for key, n in found.items() if "set" not in str(key)))
            """)

    def test_cprofile(self):
        self.check_tool("""
            import cProfile, pstats
            work(60_000)
            profiler = cProfile.Profile()
            profiler.enable()
            work(30_000)
            profiler.disable()
            stats = pstats.Stats(profiler).stats
            print(sorted((name, counts[:2]) for (_, _, name), counts in stats.items() if "disable" not in name))
            work(30_000)
            """)


if __name__ == "__main__":
    unittest.main()
