"""Folded stacks, pstats and --top have what cProfile, sys.setprofile and the Catapult trace of the same capture
have."""

import collections
import contextlib
import fcntl
import io
import json
import os
import pstats
import pty
import re
import struct
import subprocess
import termios
import unittest

import e2e

# Calls in all sorts of nesting. Nothing in it depends on time, and each call takes some.
CALLS = """
    def burn():
        total = 0
        for i in range(1000):
            total += i

    def fib(n):
        burn()
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    def even(n):
        burn()
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    def count(n):
        for i in range(n):
            burn()
            yield i

    def walk(n):
        yield n
        if n > 0:
            yield from walk(n - 1)
            yield from walk(n - 1)

    async def answer(n):
        burn()
        return n if n == 0 else await answer(n - 1)

    class Thing:
        def __init__(self, size):
            self.size = size

        def __lt__(self, other):
            return self.size < other.size

    def fail(n):
        if n == 0:
            raise ValueError
        try:
            fail(n - 1)
        finally:
            burn()

    def drive(coroutine):
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return stop.value

    def main():
        fib(8)
        even(7)
        odd(4)
        sum(count(10))
        list(walk(4))
        drive(answer(5))
        sorted(Thing(i * 7 % 10) for i in range(10))
        [(lambda: burn())() for _ in range(3)]
        try:
            fail(5)
        except ValueError:
            pass

    main()
"""

# Runs app.py under cProfile: PROFILE.py APP.py OUTPUT BUILTINS
PROFILE = """
    import cProfile, sys
    path, output, builtins = sys.argv[1:]
    with open(path) as file:
        code = compile(file.read(), path, "exec")
    profile = cProfile.Profile(builtins=builtins == "True")
    try:
        profile.runctx(code, *2 * [{"__name__": "__main__"}])
    finally:
        profile.dump_stats(output)
"""

# Coroutines that wait for one another and for timers, an async generator, a generator that threads share.
WAITING = """
    import asyncio, threading, types

    async def ticks(n):
        for i in range(n):
            await asyncio.sleep(0.001)
            sum(range(100000))
            yield i

    @types.coroutine
    def pause():
        yield

    async def worker(queue):
        async for i in ticks(5):
            await pause()
            await queue.put(i)

    async def main():
        queue = asyncio.Queue(1)
        workers = [asyncio.create_task(worker(queue)) for _ in range(4)]
        for _ in range(20):
            await queue.get()
        await asyncio.gather(*workers)

    def numbers():
        for i in range(6):
            yield i

    def nested(n):
        yield n
        if n:
            yield from nested(n - 1)

    asyncio.run(main())
    shared = numbers()
    for _ in range(3):
        next(shared)
        thread = threading.Thread(target=next, args=(shared,))
        thread.start()
        thread.join()
    list(nested(6))
"""

PROCESSES = """
    import os, threading

    def work(n):
        return n if n == 0 else work(n - 1)

    def twice():
        work(3)
        work(5)

    child = os.fork()
    thread = threading.Thread(target=twice, name="helper")
    thread.start()
    thread.join()
    if child:
        os.waitpid(child, 0)
"""


def output(capture, *options, status=0):
    """What the converter writes to standard output."""
    finished = e2e.run([e2e.CONVERT, capture, "-q", *options], timeout=600)
    if (finished.status, finished.err) != (status, ""):
        raise AssertionError(f"{options}: {finished.status}, {finished.err}")
    return finished.out


def read_pstats(path):
    """{(file, line, name): (primitive calls, calls, own time, cumulative time, {caller: ...})}"""
    return pstats.Stats(path).stats


def is_of(function, path):
    return function[0] == path


class Pstats(e2e.EndToEnd):
    def compare(self, c_calls):
        """Of all functions that `wanted` takes, and of their callers among these, the calls are those of cProfile."""
        app, capture = self.write("app.py", CALLS), self.path("run.pnr")
        profile = self.write("profiled.py", PROFILE)
        finished = e2e.plain([profile, app, self.path("expected.prof"), str(c_calls)])
        self.assertEqual(finished, (0, "", ""))
        options = ["-q", "--c-calls"] if c_calls else ["-q"]
        self.assertEqual(e2e.recorded(capture, [app], options=options), (0, "", ""))
        self.assertEqual(output(capture, "-o", self.path("found.prof")), "")

        def wanted(function):
            return is_of(function, app) or \
                function[2] in ("<method 'send' of 'coroutine' objects>", "<built-in method builtins.sum>",
                                "<built-in method builtins.sorted>")

        def calls(stats):
            return {function: (primitive, n, {caller: counts[:2] for caller, counts in callers.items()
                                              if is_of(caller, app) or wanted(caller)})
                    for function, (primitive, n, _, _, callers) in stats.items() if wanted(function)}
        expected, found = read_pstats(self.path("expected.prof")), read_pstats(self.path("found.prof"))
        self.assertSame(calls(expected), calls(found), "calls of functions")
        self.assertGreater(len(calls(found)), 15)
        return found

    @unittest.skipIf(e2e.VERSION >= (3, 14), "cProfile counts C functions there, whatever its option builtins is")
    def test_calls_are_those_of_cprofile(self):
        found = self.compare(c_calls=False)
        slices = e2e.Trace(e2e.convert(self.path("run.pnr"))).slices
        self.assertEqual(sum(n for _, n, _, _, _ in found.values()), len(slices))
        outermost = sum(one.end - one.begin for one in slices if not one.parent)
        self.assertAlmostEqual(sum(own for _, _, own, _, _ in found.values()), outermost / 1e9, places=6)
        for function, (primitive, n, own, cumulative, callers) in found.items():
            self.assertLessEqual(primitive, n, function)
            self.assertTrue(own >= 0 and cumulative >= 0, function)
            if primitive == n:
                self.assertLessEqual(own, cumulative + 1e-9, function)
            self.assertLessEqual(sum(counts[0] for counts in callers.values()), n, function)
        module = next(stats for function, stats in found.items() if is_of(function, self.path("app.py")) and
                      function[2] == "<module>")
        main = next(stats for function, stats in found.items() if function[2] == "main")
        for stats, name in (module, "__main__.<module>"), (main, "__main__.main"):
            one, = (one for one in slices if one.function.name == name)
            self.assertAlmostEqual(stats[3], (one.end - one.begin) / 1e9, places=6)
        self.assertGreater(module[3], main[3])

    def test_calls_of_c_functions_are_those_of_cprofile(self):
        self.compare(c_calls=True)

    def test_pstats_prints_it(self):
        self.record(CALLS)
        output(self.path("run.pnr"), "-o", self.path("run.pstats"))
        out = io.StringIO()
        stats = pstats.Stats(self.path("run.pstats"), stream=out).sort_stats("cumulative")
        stats.print_stats()
        stats.print_callers("fib")
        stats.print_callees("main")
        stats.strip_dirs().print_stats()
        stats.add(self.path("run.pstats")).print_stats()
        self.assertRegex(out.getvalue(), r"app\.py:\d+\(fib\) +<- +66/2 ")
        self.assertRegex(out.getvalue(), r"\n +67/1 .*app\.py:\d+\(fib\)\n")


class Folded(e2e.EndToEnd):
    def test_stacks_are_those_of_setprofile(self):
        app = self.write("app.py", CALLS)
        finished = e2e.run([e2e.PYTHON, os.path.join(e2e.HERE, "oracle.py"), app, self.path("oracle.json")])
        self.assertEqual(finished, (0, "", ""))
        with open(self.path("oracle.json")) as file:
            reported = json.load(file)
        expected, stacks = collections.Counter(), []
        for function, _, parent, _, _ in reported["slices"]:
            name, src = reported["functions"][function]
            is_begun = parent >= 0 and stacks[parent]
            stacks.append((*stacks[parent], name) if is_begun else (name,) if src.startswith(app + ":") else ())
            if name == "__main__.burn":
                expected[stacks[-1]] += 1
        _, trace = self.record(CALLS)
        found, total = set(), 0
        for line in output(self.path("run.pnr"), "--format=folded", "-o", "-").splitlines():
            stack, _, us = line.rpartition(" ")
            total += int(us)
            frames = stack.split(";")
            if "__main__.<module>" in frames:
                stack = tuple(frames[frames.index("__main__.<module>"):])
                found.add(stack)
        self.assertGreater(len(expected), 20)
        self.assertEqual({stack for stack in found if stack[-1] == "__main__.burn"}, set(expected))
        self.assertEqual(found - {stack[:n] for stack in stacks for n in range(1, len(stack) + 1)}, set())
        outermost = sum(one.end - one.begin for one in trace.slices if not one.parent)
        self.assertLess(abs(total - outermost / 1000), len(trace.slices))

    def test_roots_are_processes_and_threads(self):
        self.assertEqual(self.script("import panopticon_rec\nwith panopticon_rec.record('run.pnr'):\n"
                                     + "".join(f"    {line}\n" for line in self.lines(PROCESSES))).out, "")
        roots = {tuple(line.split(";")[:2]) for line in
                 output(self.path("run.pnr"), "--format=folded", "-o", "-").splitlines()}
        command = "app.py"
        self.assertEqual({(os.path.basename(process.split(" (")[0]), thread) for process, thread in roots},
                         {(command, "MainThread"), (command, "helper")})
        self.assertEqual(len({process for process, _ in roots}), 2, roots)
        self.assertEqual(len([process for process, _ in roots if process.endswith(" (fork)")]), 2, roots)

    @staticmethod
    def lines(text):
        return [line[4:] for line in text.splitlines()]


class Top(e2e.EndToEnd):
    def compare(self, capture):
        """Every number is the sum, or the greatest, of the slices of the trace."""
        trace = e2e.Trace(e2e.convert(capture))
        expected = collections.defaultdict(collections.Counter)
        inside = collections.Counter()
        for one in trace.slices:
            if one.parent:
                inside[id(one.parent)] += one.end - one.begin
        for one in trace.slices:
            counts, ns, above = expected[one.function], one.end - one.begin, one.parent
            while above and above.function != one.function:
                above = above.parent
            counts["calls"] += 1
            counts["self_ns"] += ns - inside[id(one)]
            counts["sum_ns"] += ns
            counts["max_ns"] = max(counts["max_ns"], ns)
            if not above:
                counts["primitive_calls"] += 1
                counts["total_ns"] += ns
        for flow in trace.flows:
            expected[flow[0].function]["chains"] += 1
            expected[flow[0].function]["suspended_ns"] += sum(later.begin - earlier.end
                                                               for earlier, later in zip(flow, flow[1:]))
        found = json.loads(output(capture, "--top", "--json"))
        self.assertEqual((found["lost_events"], found["left_out_calls"]), (0, 0))
        self.assertEqual(len(found["functions"]), len(expected))
        self.assertEqual([one["self_ns"] for one in found["functions"]],
                         sorted((one["self_ns"] for one in found["functions"]), reverse=True))
        for one in found["functions"]:
            src = f"{one['file']}:{one['line']}" if "file" in one else ""
            counts = expected[e2e.Function(one["name"], one["kind"], src)]
            with self.subTest(function=one["name"]):
                sum_ns = counts.pop("sum_ns")
                self.assertEqual(one["mean_ns"], sum_ns // counts["calls"])
                if one["kind"] in e2e.CONTINUABLE:
                    self.assertEqual((one["running_ns"], one["chains"], one["suspended_ns"]),
                                     (sum_ns, counts["chains"], counts["suspended_ns"]))
                self.assertEqual({what: n for what, n in counts.items() if n},
                                 {what: n for what, n in one.items() if what in counts and n})
        return {one["name"]: one for one in found["functions"]}

    def test_times_are_those_of_the_trace(self):
        self.record(CALLS)
        found = self.compare(self.path("run.pnr"))
        self.assertEqual(found["__main__.walk"]["chains"], 31)
        self.assertGreater(found["__main__.walk"]["running_ns"], found["__main__.walk"]["total_ns"])

    def test_with_c_calls(self):
        self.record(CALLS, options=["-q", "--c-calls"])
        found = self.compare(self.path("run.pnr"))
        self.assertEqual(found["builtins.sum"]["calls"], 1)
        self.assertNotIn("file", found["builtins.sum"])

    def test_with_a_minimum_duration(self):
        self.record(CALLS, options=["-q", "--min-duration", "100us"])
        self.compare(self.path("run.pnr"))

    def test_flows_of_asyncio_are_those_of_the_trace(self):
        self.record(WAITING)
        found = self.compare(self.path("run.pnr"))
        for name, flows in ("ticks", 4), ("worker", 4), ("pause", 20), ("main", 1), ("numbers", 1), ("nested", 7):
            self.assertEqual(found[f"__main__.{name}"]["chains"], flows, name)
        self.assertGreater(found["__main__.ticks"]["suspended_ns"], 4 * 5 * 1_000_000)

    def test_processes_together(self):
        self.record(PROCESSES)
        found = self.compare(self.path("run.pnr"))
        self.assertEqual(found["__main__.work"]["calls"], 20)
        self.assertEqual(found["__main__.work"]["primitive_calls"], 4)

    def on_a_terminal(self, *command, **env):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 70, 0, 0))
        environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
        with subprocess.Popen(command, stdout=slave, env={**environment, **env}) as process:
            os.close(slave)
            shown = b""
            with contextlib.suppress(OSError):          # the end of a terminal
                while data := os.read(master, 4096):
                    shown += data
        os.close(master)
        self.assertEqual(process.returncode, 0)
        return shown.decode().splitlines()

    def test_table(self):
        self.record(WAITING)
        whole = output(self.path("run.pnr"), "--top").splitlines()
        everything = json.loads(output(self.path("run.pnr"), "--top", "--json"))["functions"]
        self.assertRegex(whole[0], "^ *self +total +calls +mean +max +chains +suspended +function$")
        self.assertEqual(len(whole), 32)
        for line, one in zip(whole[1:-1], everything):
            where = f":{one['line']}" if "file" in one else ""
            self.assertTrue(line.endswith("  " + one["name"] + where), line)
            self.assertEqual(len(line.split()), 8 if one["kind"] in e2e.CONTINUABLE else 6, line)
        self.assertRegex(whole[-1], f"^and {len(everything) - 30} more functions, ")
        command = [e2e.CONVERT, self.path("run.pnr"), "--top", "-q"]
        for columns, shown in ((70, self.on_a_terminal(*command)), (90, self.on_a_terminal(*command, COLUMNS="90"))):
            self.assertEqual(len(shown), len(whole))
            self.assertEqual(max(len(line) for line in shown[:-1]), columns)
            for line, uncut in zip(shown[1:-1], whole[1:-1]):
                before, _, name = line.partition("...")
                self.assertTrue(uncut == line or uncut.startswith(before) and uncut.endswith(name), line)


class CommandLine(e2e.EndToEnd):
    def converter(self, *options):
        return e2e.run([e2e.CONVERT, *options], cwd=self.directory)

    @e2e.once
    def test_formats_are_chosen_by_name_or_by_suffix(self):
        self.record("print('hello')")
        def kind(path):
            with open(self.path(path), "rb") as file:
                begin = file.read(1000)
            return "pstats" if begin.startswith(b"{\xa8") else "catapult" if begin.startswith(b'{"disp') else \
                "perfetto" if begin.startswith(b"\n\x8e\x80\x80\0") else \
                "folded" if re.match(rb"[^\n]+ \d+\n", begin) else "?"
        for options, path, expected in (
                (["-o", "a.trace"], "a.trace", "catapult"), (["-o", "a.json"], "a.json", "catapult"),
                (["-o", "a.folded"], "a.folded", "folded"), (["-o", "a.pstats"], "a.pstats", "pstats"),
                (["-o", "a.pftrace"], "a.pftrace", "perfetto"), (["--format=perfetto"], "run.pftrace", "perfetto"),
                (["-o", "a.prof"], "a.prof", "pstats"), (["-o", "a.other"], "a.other", "catapult"),
                (["--format=folded"], "run.folded", "folded"), (["--format=pstats"], "run.pstats", "pstats"),
                (["--format=catapult", "-o", "b.folded"], "b.folded", "catapult"),
                (["--format=pstats", "-o", "a.txt"], "a.txt", "pstats"), ([], "run.trace", "catapult")):
            with self.subTest(options=options):
                finished = self.converter("run.pnr", *options)
                size = os.path.getsize(self.path(path))
                self.assertEqual((finished.status, finished.out), (0, ""))
                self.assertRegex(finished.err, rf"^panopticon-convert: \d+ slices, .*: (/.*/)?{path}, {size} bytes\n$")
                self.assertEqual(kind(path), expected)
        self.assertEqual([name for name in os.listdir(self.directory) if name.startswith(".")], [])

    @e2e.once
    def test_top_is_written_to_a_file(self):
        self.record("print('hello')")
        finished = self.converter("run.pnr", "--top", "-q", "-o", "top.json")
        self.assertEqual(finished, (0, "", ""))
        with open(self.path("top.json")) as file:
            self.assertEqual(file.read(), self.converter("run.pnr", "--top", "-q").out)

    @e2e.once
    def test_options_that_do_not_go_together(self):
        self.record("print('hello')")
        for options in (["--format=perf"], ["--format="], ["--format=pstats", "--top"], ["--top", "--info"],
                        ["--format=folded", "--info"], ["--json"], ["--json", "--format=pstats"],
                        ["--flows=all", "--top"], ["--flows=none", "-o", "a.folded"], ["--flows=all,creations"],
                        ["--flows=all,none"], ["--flows=none,generator,creation"],
                        ["--tasks", "--top", "--busy"], ["--tasks", "-o", "a.pstats"]):
            with self.subTest(options=options):
                finished = self.converter("run.pnr", *options)
                self.assertEqual((finished.status, finished.out), (2, ""))
                self.assertRegex(finished.err, r"^panopticon-convert: --.*\n$")
        self.assertEqual(sorted(os.listdir(self.directory)), ["app.py", "run.pnr", "run.trace"])

    @e2e.once
    def test_what_cannot_be_written_is_not_left_behind(self):
        self.record("print('hello')")
        for options in ["--format=folded"], ["--format=pstats"], ["--top"], ["--top", "--json"]:
            with self.subTest(options=options):
                finished = self.converter("run.pnr", *options, "-o", "/dev/full")
                self.assertEqual((finished.status, finished.out), (2, ""))
                self.assertRegex(finished.err, "^panopticon-convert: /dev/full: cannot write: No space left")
                finished = self.converter("missing.pnr", *options, "-o", "a")
                self.assertEqual((finished.status, finished.out), (2, ""))
        self.assertEqual(sorted(os.listdir(self.directory)), ["app.py", "run.pnr", "run.trace"])


if __name__ == "__main__":
    unittest.main()
