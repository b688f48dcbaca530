"""The Perfetto trace of a capture has the same as its JSON, which test_conversion compares with the records."""

import json
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import conversion
import perfetto_reader
from capture_writer import *                # noqa: F403: the vocabulary of the captures below

SECONDS = 60
PERFETTO = "--format=perfetto"


def convert(folder, *options):
    return subprocess.run([conversion.CONVERTER, "-q", "run.pnr", "-o", "-", *options], cwd=folder, capture_output=True,
                          timeout=SECONDS)


class Perfetto(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def compare(self, folder, *options):
        """Gives the events, if there are some."""
        trace, run = (convert(folder, *options, *more) for more in ((), (PERFETTO,)))
        self.assertEqual((run.returncode, run.stderr), (trace.returncode, trace.stderr))
        if run.returncode == 2:
            self.assertEqual(run.stdout, b"")
            return None
        expected, events = perfetto_reader.json_events(trace.stdout), perfetto_reader.read(run.stdout)
        del events.realtime_ns
        for what in vars(expected):
            self.assertEqual(getattr(events, what), getattr(expected, what), what)
        return events

    def test_golden(self):
        found = set()
        for case in conversion.cases("golden"):
            with self.subTest(case.name):
                events = self.compare(case.path)
                found |= {what for what, value in vars(events).items() if value}
                found |= {name for one in events.slices for name, _ in one[6:]}
        flags = {"exception", "unfinished", "begin_unknown", "exit_missing"}
        self.assertLessEqual({"slices", "flow_events", "instants", "processes", "threads", "about"} | flags, found)

    def test_invalid(self):
        for case in conversion.cases("invalid"):
            with self.subTest(case.name):
                self.compare(case.path)

    def test_a_part(self):
        for case in conversion.cases("golden"):
            with self.subTest(case.name):
                self.compare(case.path, "--from=1500ns", "--to=-1us", "--min-duration=20ns")
                self.compare(case.path, "--flows=none")

    def test_tasks_and_creations(self):
        found = set()
        for folder in "golden", "invalid":
            for case in conversion.cases(folder):
                with self.subTest(case.name):
                    events = self.compare(case.path, "--tasks", "--flows=all,creation")
                    self.compare(case.path, "--logical", "--tasks")
                    if events:
                        found |= {one[3:5] for one in events.tasks} | {one[4:6] for one in events.flow_events}
        self.assertLessEqual({("b", "[running]"), ("e", "[running]"), ("creation", "s"), ("creation", "f")}, found)

    def test_any_number_of_threads(self):
        for case in conversion.cases("golden"):
            with self.subTest(case.name):
                self.assertEqual(len({convert(case.path, PERFETTO, "-j", str(n)).stdout for n in (1, 2, 5)}), 1)

    def test_start(self):
        """The clocks of the first packet are the time that it was, as JSON's `start` does."""
        for case in conversion.cases("golden"):
            start = json.loads(case.expected("trace"))["otherData"].get("start")
            events = perfetto_reader.read(convert(case.path, PERFETTO).stdout)
            with self.subTest(case.name, start=start):
                self.assertEqual(bool(start), events.realtime_ns != {0})
                if start:
                    self.assertEqual({f"{ns % 10**9:09}Z" for ns in events.realtime_ns}, {start.split(".")[1]})

    def write_many(self):
        """Many functions and threads, two processes, slices that last over many batches, flows that change threads."""
        with Capture(self.folder / "run.pnr") as capture:
            for pid in 7, 8:
                process = capture.process(pid, command="many.py")
                outer = process.function("__main__", "outer", "many.py", 1)
                plain = [process.function("__main__", f"f{i}", "many.py", i) for i in range(300)]
                generator = process.function("__main__", "g", "many.py", 99, GENERATOR)
                for k in range(1, 41):
                    thread, at = process.thread(k, 7000 + k, f"thread {k}"), 10 * k
                    records = [call(at, outer), call(at + 1, outer)]
                    for i in range(300):
                        at += 50
                        records += [call(at, plain[i]), call(at + 10, plain[i]), return_(at + 15, plain[i]),
                                    return_(at + 20, plain[i])]
                    records += [(resume if k > 1 else start)(100_000 * k, generator, 1),
                                (yield_ if k < 40 else finish)(100_000 * k + 5, generator, 1)]
                    thread.block([*records, return_(10_000_000 + k, outer), return_(10_000_001 + k, outer)])
                process.end(20_000_000)

    def test_many(self):
        self.write_many()
        events = self.compare(self.folder)
        self.assertEqual(sum(events.slices.values()), 2 * 40 * 603)
        self.assertEqual(sum(events.flow_events.values()), 2 * 40)
        expected = convert(self.folder, PERFETTO, "-j1").stdout
        for n in 2, 5:
            self.assertEqual(convert(self.folder, PERFETTO, "-j", str(n)).stdout, expected)

    def test_flows_over_many_batches(self):
        """Wherever a batch ends, the clock goes on with the next one."""
        with Capture(self.folder / "run.pnr") as capture:
            process = capture.process(7)
            inner = process.function("__main__", "inner")
            generator = process.function("__main__", "g", "app.py", 9, GENERATOR)
            thread = process.thread(1, 7001, "MainThread")
            for block in range(5):
                records = []
                for at in range(100_000 * block, 100_000 * (block + 1), 100):
                    around = (resume if at else start)(at, generator, 5), yield_(at + 80, generator, 5)
                    within = [call(at + 30, inner), return_(at + 50, inner)] if at % 700 == 0 else []
                    records += [around[0], *within, around[1]]
                thread.block(records)
            process.end(1_000_000)
        self.assertEqual(len(self.compare(self.folder).flow_events), 5000)

    def test_ids_that_come_again(self):
        """More often than 31 bits can count."""
        with Capture(self.folder / "run.pnr") as capture:
            for k in range(1, 521):
                process = capture.process(4_000_000, k)
                main = process.function("__main__", "main")
                process.thread(1, 4_000_000, "MainThread").block([call(1000 * k, main), return_(1000 * k + 500, main)])
                process.end(1_000_000)
        self.assertGreater(max(self.compare(self.folder).processes), 2**31)

    def test_worked_example(self):
        """The bytes of the specification are the end of a file."""
        spec = (conversion.ROOT / "specs/trace-mapping.md").read_text(encoding="utf-8")
        example = re.search(r"The last three packets of tests/golden/smallest.*?^## ", spec, re.M | re.S)[0]
        rows = re.findall(r"^ {4,}((?:[0-9a-f]{2} +)*[0-9a-f]{2})(?: {2,}|$)", example, re.M)
        data = bytes.fromhex(" ".join(rows))
        self.assertGreater(len(data), 80)
        written = convert(conversion.ROOT / "tests/golden/smallest", PERFETTO).stdout
        self.assertEqual(written[-len(data):].hex(" "), data.hex(" "))

    def test_a_name_chooses_the_format(self):
        case = next(case for case in conversion.cases("golden") if case.name == "generators")
        expected = convert(case.path, PERFETTO).stdout
        for name in "x.pftrace", "x.perfetto-trace", "x.pftrace.gz", "x.pftrace.zst":
            with self.subTest(name):
                run = convert(case.path, "-o", self.folder / name)
                self.assertEqual((run.returncode, run.stderr), (0, b""))
                tool = {".gz": "gzip", ".zst": "zstd"}.get(Path(name).suffix)
                data = (self.folder / name).read_bytes()
                if tool:
                    data = subprocess.run([tool, "-dc"], input=data, stdout=subprocess.PIPE, check=True).stdout
                self.assertEqual(data, expected)

    def test_size(self):
        """Less than a fourth of the JSON, where functions are in modules and files as usual."""
        with Capture(self.folder / "run.pnr") as capture:
            process = capture.process(7)
            functions = [process.function("package.module", f"Class.method{i}", "/usr/lib/python3/package/module.py", i)
                         for i in range(200)]
            process.thread(1, 7001, "MainThread").block(
                [record for i in range(8000) for record in
                 (call(200 * i, functions[i % 200]), return_(200 * i + 100, functions[i % 200]))])
            process.end(10_000_000)
        self.assertLess(4 * len(convert(self.folder, PERFETTO).stdout), len(convert(self.folder).stdout))

    def test_what_perfetto_discards(self):
        with Capture(self.folder / "run.pnr") as capture:
            process = capture.process(7)
            main = process.function("__main__", "main")
            process.thread(1, 7001, "MainThread").block(
                [call(10 + i, main) for i in range(600)] + [return_(1000 + i, main) for i in range(600)])
            process.end(10_000)
        self.assertIn(b"600 levels of nesting: Perfetto discards slices", convert(self.folder, PERFETTO).stderr)


if __name__ == "__main__":
    unittest.main()
