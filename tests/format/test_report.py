"""The format `report`: what it has is what the Catapult trace of the same capture has, added up here, and what --top
--json and --info print. specs/trace-mapping.md, section 8.4."""

import json
import random
import re
import subprocess
import unittest
from collections import Counter, defaultdict

import conversion
from capture_writer import (COROUTINE, GENERATOR, Capture, call, finish, return_, start, switch, unwind, yield_,
                            resume)

CALLS, CALLS_OF_FUNCTION, STACKS, DEPTH = 1000, 10, 50_000, 1024
FLAGS = "exception", "unfinished", "begin_unknown", "exit_missing", "cut"


def nanoseconds(text):
    whole, digits = text.split(".")
    return int(whole + digits)


def convert(capture, *options, status=0):
    run = subprocess.run([conversion.CONVERTER, "-q", capture, "-o", "-", *options], capture_output=True, timeout=100)
    assert run.returncode == status, run.stderr
    return run.stdout.decode()


class Expected:
    """What the Catapult trace has, in the words of the report."""

    def __init__(self, trace):
        document = json.loads(trace, parse_float=str)
        events = document["traceEvents"]
        self.sources = {int(number): frame["name"] for number, frame in document["stackFrames"].items()}
        names = {(event["name"], event["pid"], event["tid"]): event["args"].get("name") for event in events
                 if event["ph"] == "M"}
        self.threads, self.calls, self.stacks = Counter(), defaultdict(list), Counter()
        rows = defaultdict(list)
        for event in events:
            if event["ph"] == "X":
                begin = nanoseconds(event["ts"])
                rows[event["pid"], event["tid"]].append((begin, begin + nanoseconds(event["dur"]), event))
        for (pid, tid), slices in rows.items():
            slices.sort(key=lambda row: row[0])
            thread = names["thread_name", pid, tid]
            roots = names["process_name", pid, pid], "greenlets" if tid >= 2**31 else thread
            stack, outermost = [], 0
            for begin, end, event in slices:
                while stack and stack[-1][0] <= begin:
                    stack.pop()
                if not stack:
                    outermost += end - begin
                key = event["name"], event["cat"], self.sources.get(event.get("sf"))
                stack.append((end, event["name"]))
                self.stacks[*roots, *(name for _, name in stack)] += end - begin
                flags = tuple(flag for flag in FLAGS if event.get("args", {}).get(flag))
                self.calls[key].append((end - begin, -begin, event["name"], pid, tid, flags))
            self.threads[pid, tid, thread, len(slices), outermost, slices[0][0], max(end for _, end, _ in slices)] += 1
        self.tasks = self.add_tasks(event for event in events if event["ph"] in "be" and event.get("cat") == "task")

    @staticmethod
    def add_tasks(events):
        tasks, found = {}, Counter()
        for event in events:
            at = nanoseconds(event["ts"])
            begin, runs, times = tasks.setdefault(event["id"], (event, [], []))
            if event["name"] == "[running]":
                runs.append(at)
            else:
                times.append(at)
            if len(times) == 2:
                running = sum(runs[1::2]) - sum(runs[::2])
                coroutine = begin["name"].rpartition(": ")[2]       # without the task's own name
                found[coroutine, begin["tid"], times[0], times[1] - times[0], len(runs) // 2, running] += 1
                del tasks[event["id"]]
        return found

    def longest(self):
        kept = [row for calls in self.calls.values() for row in sorted(calls, reverse=True)[:CALLS_OF_FUNCTION]]
        return sorted(kept, reverse=True)[:CALLS]


class Report:
    def __init__(self, text):
        self.document = document = json.loads(text)
        self.pids = [process["pid"] for process in document["processes"]]
        self.names = [function["name"] for function in document["functions"]]
        self.thread_ids = [(self.pids[thread["process"]], thread["tid"]) for thread in document["threads"]]

    def threads(self):
        return Counter((self.pids[one["process"]], one["tid"], one["name"], one["slices"], one["outermost_ns"],
                        one["begin_ns"], one["end_ns"]) for one in self.document["threads"] if one["slices"])

    def calls(self):
        return [(one["ns"], -one["begin_ns"], self.names[one["function"]], *self.thread_ids[one["thread"]],
                 tuple(flag for flag in FLAGS if one.get(flag))) for one in self.document["calls"]]

    def tasks(self):
        return Counter((self.names[one["function"]], self.thread_ids[one["thread"]][1], one["begin_ns"], one["ns"],
                        one["slices"], one["running_ns"]) for one in self.document["tasks"])

    def stacks(self, has_roots=False):
        """Total time by stack; those of the same name are added up, as in the trace."""
        found, paths = Counter(), []
        for parent, function, calls, total in self.document["stacks"]:
            is_root = isinstance(function, str)
            paths.append((*(paths[parent] if parent >= 0 else ()), function if is_root else self.names[function]))
            assert is_root or calls
            if has_roots or not is_root:
                found[paths[-1]] += total
        return found


class Compared(conversion.CaptureCase):
    def compare(self, capture, *options, status=0):
        trace = convert(capture, "--format=catapult", "--tasks", *options, status=status)
        expected = Expected(trace)
        report = Report(convert(capture, "--format=report", *options, status=status))
        self.assertEqual(report.threads(), expected.threads)
        self.assertEqual(report.tasks(), expected.tasks)
        self.assertEqual(report.document["n_tasks"], expected.tasks.total())
        calls = report.calls()
        self.assertEqual(sorted(row[:3] for row in calls), sorted(row[:3] for row in expected.longest()))
        self.assertLessEqual({*calls}, {row for rows in expected.calls.values() for row in rows})
        self.assertEqual(calls, sorted(calls, key=lambda row: row[:2], reverse=True))
        self.assertEqual(+report.stacks(), +expected.stacks)
        self.assertEqual(report.document["left_out_stacks"], 0)
        top = json.loads(convert(capture, "--top", "--json", *options, status=status))
        self.assertEqual([report.document[key] for key in top], [*top.values()])
        self.compare_percentiles(report.document["functions"], expected)
        return report

    def compare_percentiles(self, functions, expected):
        """They are those of the slices in the trace, except for a 64th. Functions of one name are left out."""
        n_of = Counter(function["name"] for function in functions)
        durations = defaultdict(list)
        for (name, *_), rows in expected.calls.items():
            durations[name] += [row[0] for row in rows]
        for function in functions:
            if n_of[function["name"]] > 1 or function.get("estimated"):
                continue
            lengths = sorted(durations[function["name"]])
            for percent in 50, 99:
                exact = lengths[(len(lengths) * percent + 99) // 100 - 1]
                self.assertLessEqual(abs(function[f"p{percent}_ns"] - exact), exact / 64, function)

    def test_golden(self):
        for case in conversion.cases("golden"):
            options = [option for option in case.options()
                       if not option.startswith(("--flows", "--tasks", "--logical"))]
            with self.subTest(case.name):
                report = self.compare(case.path / "run.pnr", "--exact", *options, status=case.status())
                run = subprocess.run([conversion.CONVERTER, "--info", case.path / "run.pnr"], capture_output=True)
                info = run.stdout.decode(errors="replace")
                self.assertEqual([process["end"] for process in report.document["processes"]],
                                 re.findall(r"^  end +(.*)$", info, re.M))

    def test_messages(self):
        """They are those on standard error."""
        for name in "evicted", "unrecorded_and_lost", "killed", "paused":
            path = conversion.ROOT / "tests/golden" / name / "run.pnr"
            run = subprocess.run([conversion.CONVERTER, "-q", path, "--format=report", "-o", "-"], capture_output=True)
            messages = [message["text"] for message in json.loads(run.stdout)["messages"]]
            self.assertEqual([f"panopticon-convert: {text}" for text in messages], run.stderr.decode().splitlines())
            self.assertTrue(messages)
        document = json.loads(convert(conversion.ROOT / "tests/golden/smallest/run.pnr", "--format=report"))
        self.assertEqual((document["messages"], document["n_messages"]), ([], 0))

    def write_random(self, seed, n=3000):
        """Calls, generators and tasks in three threads of two processes, one of which has greenlets."""
        chance = random.Random(seed)
        with Capture(self.capture) as capture:
            for pid in 7, 8:
                process = capture.process(pid, command=f"random {pid}.py", min_duration_ns=5, filters="exclude x.*")
                run = process.function("asyncio.events", "Handle._run", "events.py", 80)
                plain = [process.function("m", f"f{i}", "a.py", i) for i in range(20)]
                other = [process.function("m", f"g{i}", "a.py", i, kind)
                         for i in range(3) for kind in (GENERATOR, COROUTINE)]
                for number in 1, 2, 3:
                    thread = process.thread(number, pid * 100 + number, f"T{number}" if number < 3 else "T1")
                    if number == 1:
                        process.track(9, 0, "greenlet")
                    thread.block(self.records(chance, n, run, plain, other, track=9 if number == 1 else None), begin=0)
                process.end(10**7)

    @staticmethod
    def records(chance, n, run, plain, other, track):
        at, stacks, rows, suspended, track_now, frame = 10, {0: [], track: []}, [], [], 0, 0
        for _ in range(n):
            at += chance.choice([1, 5, 20, 1000])
            if track and chance.random() < 0.02:
                track_now = track - track_now
                rows.append(switch(at, track_now))
            stack = stacks[track_now]
            if stack and (len(stack) > 12 or chance.random() < 0.5):
                function, identity = stack.pop()
                if not identity:
                    rows.append(chance.choice([return_, return_, unwind])(at, function))
                elif chance.random() < 0.6:
                    rows.append(yield_(at, function, identity))
                    suspended.append((function, identity))
                else:
                    rows.append(finish(at, function, identity))
            elif suspended and chance.random() < 0.3:
                stack.append(suspended.pop(chance.randrange(len(suspended))))
                rows.append(resume(at, *stack[-1]))
            elif chance.random() < 0.3:
                frame += 1
                stack += [(run, 0), (chance.choice(other), frame * 10 + track_now % 9)]
                rows += [call(at, run), start(at + 1, *stack[-1])]
                at += 1
            else:
                stack.append((chance.choice(plain), 0))
                rows.append(call(at, stack[-1][0]))
        return rows

    def test_random(self):
        for seed in range(3):
            self.capture = self.folder / f"{seed}.pnr"
            self.write_random(seed)
            for options in [], ["--from=2ms", "--to=-1us"], ["--process=8"], ["--exclude=m.f1*", "--max-depth=4"], \
                    ["--min-duration=1us"]:
                with self.subTest(seed=seed, options=options):
                    report = self.compare(self.capture, *options)
                    self.assertTrue(report.document["tasks"])
            self.assertEqual([process["shown"] for process in report.document["processes"]], [True, True])
            hidden = json.loads(convert(self.capture, "--format=report", "--process=8"))
            self.assertEqual([process["shown"] for process in hidden["processes"]], [False, True])
            self.assertEqual({process["filters"] for process in hidden["processes"]}, {"exclude x.*"})

    def test_roots(self):
        """Their time is that of the outermost calls."""
        self.write_random(7)
        report = Report(convert(self.capture, "--format=report"))
        roots = {path: ns for path, ns in report.stacks(has_roots=True).items() if len(path) < 3}
        expected = Counter()
        for path, ns in report.stacks().items():
            if len(path) == 3:
                expected[path[:1]] += ns
                expected[path[:2]] += ns
        self.assertEqual(roots, expected)
        self.assertEqual({len(path) for path in roots}, {1, 2})

    def test_many_stacks(self):
        """Those with the longest total times are kept, and what is around them."""
        n = 250
        with Capture(self.capture) as capture:
            process = capture.process(7)
            functions = [process.function("m", f"f{i}", "a.py", i) for i in range(n)]
            thread, at = process.thread(1, 7, "T"), 10
            chance = random.Random(5)
            for outer in functions:
                rows = [call(at, outer)]
                for inner in functions:
                    length = chance.randrange(5, 5000)
                    rows += [call(at + 1, inner), return_(at + 1 + length, inner)]
                    at += length + 2
                rows.append(return_(at, outer))
                thread.block(rows)
                at += 1
            process.end(at)
        expected = Expected(convert(self.capture, "--format=catapult")).stacks
        report = Report(convert(self.capture, "--format=report"))
        found = report.stacks()
        limit = sorted(expected.values(), reverse=True)[STACKS]
        self.assertEqual(found, {path: ns for path, ns in expected.items() if ns > limit})
        self.assertEqual(report.document["left_out_stacks"], len(expected) - len(found))
        self.assertGreater(len(found), STACKS * 0.9)

    def test_deep(self):
        with Capture(self.capture) as capture:
            process = capture.process(7)
            f = process.function("m", "f", "a.py", 1)
            n = 3 * DEPTH
            process.thread(1, 7, "T").block([call(10 + i, f) for i in range(n)]
                                            + [return_(9000 + i, f) for i in range(n)])
            process.end(10**5)
        document = json.loads(convert(self.capture, "--format=report"))
        self.assertEqual(len(document["stacks"]), DEPTH + 2)
        self.assertEqual(document["left_out_stacks"], n - DEPTH)


if __name__ == "__main__":
    unittest.main()
