"""A trace as several files: specs/trace-mapping.md, section 13. The captures are made here."""

import json
import os
import re
import signal
import subprocess
import time
import unittest
from collections import defaultdict

import conversion
from capture_writer import (C_FUNCTION, COROUTINE, GENERATOR, Capture, c_call, call, finish, open_, resume, return_, start,
                            yield_)
from test_selection import nanoseconds

SECONDS = 60
K = 1024


def seconds(ns):
    return f"{ns // 10**9}.{ns % 10**9:09}"


def write_busy(path, n_blocks=30, has_c=False):
    """Two processes; in each three threads that have a frame open all the time, and generators that change threads. At
    times there is next to nothing. has_c: the frame was called by a C function, which no block's begin has."""
    with Capture(path) as capture:
        for pid in 7, 8:
            process = capture.process(pid, command=f"busy-{pid}.py")
            plain = [process.function("m", f"f{i}", "busy.py", i + 1) for i in range(9)]
            generator = process.function("m", "g", "busy.py", 50, GENERATOR)
            coroutine = process.function("m", "co", "busy.py", 60, COROUTINE)
            sort = process.function("builtins", "sorted", "", 0, C_FUNCTION)
            threads = [process.thread(k, pid * 1000 + k, f"thread {k}") for k in range(1, 4)]
            for i in range(n_blocks):
                at = 100_000 * i + 1000 + 10**9 * (i > n_blocks // 2)
                thread, is_new = threads[i % 3], i < 3
                records = [call(at, plain[8]), *[c_call(at + 5, sort)] * has_c, start(at + 10, coroutine, 900 + i)] \
                    if is_new else [open_(plain[8]), open_(coroutine, 900 + i % 3)]
                for k in range(300):
                    begin = at + 100 + 50 * k
                    records += [call(begin, plain[k % 8]), call(begin + 7, plain[3]), return_(begin + 20, plain[3]),
                                return_(begin + 40, plain[k % 8])]
                for k in range(20):
                    begin = at + 40_000 + 100 * k
                    if i:
                        records += [resume(begin, generator, 1 + k), finish(begin + 30, generator, 1 + k)]
                    records += [start(begin + 40, generator, 1 + k), yield_(begin + 60, generator, 1 + k)]
                thread.block(records, begin=at)
            process.end(100_000 * n_blocks + 3 * 10**9)


class Test(conversion.CaptureCase):
    def convert(self, *options, capture="run.pnr", status=0):
        run = subprocess.run([conversion.CONVERTER, capture, *options], cwd=self.folder, capture_output=True,
                             timeout=SECONDS)
        self.assertEqual(run.returncode, status, run.stderr)
        return run

    def split(self, size, *options):
        """The files' names, and the window of each."""
        messages = self.convert("--split", str(size), *options).stderr.decode()
        return [(name, nanoseconds_of(begin), nanoseconds_of(end)) for name, begin, end in re.findall(
            r"^panopticon-convert: (\S+): from (\S+) s to (the end|\S+)", messages, re.M)], messages


def nanoseconds_of(text):
    return None if text == "the end" else int(text.replace(".", ""))


class Files(Test):
    def test_each_is_what_from_and_to_would_write(self):
        write_busy(self.capture)
        for size, options in (("150k", []), ("400K", ["--flows=generator"]), ("64k", ["--from=1ms", "--to=1.0018"]),
                              (100_000, ["--process=8", "--exclude=m.f3", "--min-duration=21ns"]),
                              (100_000, ["--logical", "--thread=7001"])):
            with self.subTest(size, options=options):
                files, _ = self.split(size, "-o", "x.trace", *options)
                self.assertGreater(len(files), 2)
                self.assertEqual([name for name, *_ in files], [f"x-{k + 1}.trace" for k in range(len(files))])
                for (_, _, end), (_, begin, _) in zip(files, files[1:]):
                    self.assertEqual(begin, end)
                limit = 150 * K if size == "150k" else 400 * K if size == "400K" else 64 * K if size == "64k" else size
                options = [option for option in options if option[:4] != "--to" and option[:6] != "--from"]
                for name, begin, end in files:
                    window = [f"--from={seconds(begin)}"] * (begin > 0) + [f"--to={seconds(end or 0)}"] * (end is not None)
                    found = (self.folder / name).read_bytes()
                    self.assertEqual(found, self.convert("-q", "-o", "-", *window, *options).stdout)
                    self.assertLessEqual(len(found), limit)
                sizes = sorted(os.path.getsize(self.folder / name) for name, *_ in files)
                self.assertGreater(sizes[len(sizes) // 2], limit * 0.4)
                for name, *_ in files:
                    (self.folder / name).unlink()

    def test_any_number_of_threads(self):
        write_busy(self.capture)
        found = set()
        for n in "1", "2", "5":
            files, messages = self.split("100k", "-j", n)
            found.add((messages, *((self.folder / name).read_bytes() for name, *_ in files)))
        self.assertEqual(len(found), 1)

    def test_names(self):
        write_busy(self.capture, 2)
        (self.folder / "d.e").mkdir()
        for options, name in (([], "run-1.trace"), (["-o", "x.json"], "x-1.json"), (["-o", "x"], "x-1"),
                              (["-o", "a.b.trace.gz"], "a.b-1.trace.gz"), (["-o", "x.trace.zst"], "x-1.trace.zst"),
                              (["-o", "d.e/x"], "d.e/x-1"), (["-o", "d.e/.trace"], "d.e/.trace-1")):
            with self.subTest(options):
                files, _ = self.split("10M", *options)
                self.assertEqual(files, [(name, 0, None)])
                self.assertTrue((self.folder / name).is_file())
        self.assertEqual((self.folder / "run-1.trace").read_bytes(), self.convert("-q", "-o", "-").stdout)

    def test_the_size_is_that_of_the_text(self):
        write_busy(self.capture)
        plain, _ = self.split("100k", "-o", "x.trace")
        packed, _ = self.split("100k", "-o", "x.trace.gz")
        self.assertEqual([window for _, *window in plain], [window for _, *window in packed])
        self.assertLess(os.path.getsize(self.folder / "x-2.trace.gz"), 40 * K)

    def test_the_summary_names_what_was_asked_for(self):
        write_busy(self.capture)
        for options, words in ([], "flows"), (["--tasks", "--flows=all,creation"], r"flows, \d+ creations, \d+ tasks"):
            _, messages = self.split("400k", "-o", "x.trace", *options)
            self.assertRegex(messages, rf"\d+ slices, \d+ {words}: x-1.trace to x-\d+.trace, \d+ bytes\n$")

    def test_what_is_there_already(self):
        write_busy(self.capture)
        files, messages = self.split("100k")
        self.assertNotIn("from before", messages)
        names, old = {name for name, *_ in files}, (self.folder / files[-1][0]).read_bytes()
        fewer, messages = self.split("200k")
        self.assertLess(len(fewer), len(files))
        self.assertIn(f"run-{len(fewer) + 1}.trace is from an earlier conversion", messages)
        self.assertEqual({name for name in os.listdir(self.folder) if name != "run.pnr"}, names)
        self.assertEqual((self.folder / files[-1][0]).read_bytes(), old)
        self.assertEqual((self.folder / "run-1.trace").read_bytes(),
                         self.convert("-q", "-o", "-", "--to", seconds(fewer[0][2])).stdout)

    def test_nothing_is_chosen(self):
        write_busy(self.capture)
        files, messages = self.split("100k", "--thread=nobody")
        self.assertEqual(files, [("run-1.trace", 0, None)])
        self.assertIn("0 slices", messages)

    def test_refused(self):
        write_busy(self.capture, 2)
        for options in (["--split=1M", "-o", "-"], ["--split=1M", "-o", "/dev/null"], ["--split=1M", "-o", "."],
                        ["--split=1M", "-o", "there/"], ["--split=1M", "--format=folded"], ["--split=1M", "-o", "x.pstats"],
                        ["--split=1M", "--top"], ["--split=1M", "--info"], ["--split=1M", "--verify"], ["--split=0"],
                        ["--split=63k"], ["--split=x"], ["--split=1.5.M"], ["--split=-1M"], ["--split=1MB"], ["--split="],
                        ["--split=99999999999G"]):
            with self.subTest(options):
                self.assertIn(b"--split", self.convert(*options, status=2).stderr)
        self.assertEqual(os.listdir(self.folder), ["run.pnr"])


class Whole(Test):
    """The files together are the trace."""

    def read(self, text):
        """Slices by thread, in the order of their begins; flows as rows of them."""
        slices, flow_events = defaultdict(list), defaultdict(list)
        for event in json.loads(text, parse_float=nanoseconds)["traceEvents"]:
            where = event["pid"], event["tid"]
            if event["ph"] == "X":
                slices[where].append({"begin": event["ts"], "end": event["ts"] + event["dur"], "name": event["name"],
                                      "flags": set(event.get("args", ()))})
            elif event["ph"] in "stf":
                flow_events[event["id"]].append((event["ts"], event["ph"], where))
        for row in slices.values():
            row.sort(key=lambda slice: slice["begin"])
        flows = []
        for flow in flow_events.values():
            flow.sort()
            self.assertEqual("".join(phase for _, phase, _ in flow), "s" + "t" * (len(flow) - 2) + "f")
            flows.append([[slice for slice in slices[where] if slice["begin"] < ts < slice["end"]][-1]
                          for ts, _, where in flow])
        return slices, flows

    def join(self, wholes, k, parts, begin):
        """Puts the slices of file k to those before it: what was cut at `begin` goes on."""
        for where, row in parts.items():
            cut = [slice for slice in row if "cut" in slice["flags"] and slice["begin"] < begin + 50]
            old = [slice for slice in wholes[where] if slice["goes on"]]
            self.assertEqual([slice["name"] for slice in cut], [slice["name"] for slice in old])
            for slice, whole in zip(cut, old):
                whole["end"] = slice["end"]
                whole["parts"].append((k, slice))
            wholes[where] += [slice | {"parts": [(k, slice)]} for slice in row if not any(slice is one for one in cut)]

    def test_slices_and_flows(self):
        write_busy(self.capture, has_c=True)
        slices, flows = self.read(self.convert("-q", "-o", "-").stdout)
        for size, minimum in ("100k", 0), ("1M", 400):        # small files have hardly more than one slice of a flow
            with self.subTest(size):
                self.check(slices, flows, size, minimum)

    def check(self, slices, flows, size, minimum):
        files, _ = self.split(size)
        wholes, joined = defaultdict(list), []
        for k, (name, begin, end) in enumerate(files):
            parts, found = self.read((self.folder / name).read_text())
            self.join(wholes, k, parts, begin)
            joined.append(found)
            for slice in (slice for row in wholes.values() for slice in row):
                slice["goes on"] = end is not None and end <= slice["end"] < end + 50 and \
                    "cut" in slice["parts"][-1][1]["flags"]
        self.assertEqual(slices.keys(), wholes.keys())
        parts_of = {}
        for where, row in slices.items():
            self.assertEqual(len(row), len(wholes[where]))
            for a, b in zip(row, sorted(wholes[where], key=lambda slice: slice["begin"])):
                self.assertEqual(a["name"], b["name"])
                self.assertLess(abs(a["begin"] - b["begin"]) + abs(a["end"] - b["end"]), 10)
                parts_of[id(a)] = b["parts"]
        self.assertGreater(sum(len(parts) for parts in parts_of.values()), len(parts_of) + 20)
        for k, found in enumerate(joined):
            here = ([id(part) for slice in flow for at, part in parts_of[id(slice)] if at == k] for flow in flows)
            expected = sorted(row for row in here if len(row) > 1)
            self.assertEqual(sorted([id(part) for part in flow] for flow in found), expected)
        self.assertGreaterEqual(sum(map(len, joined)), minimum)


class Sizes(Test):
    def test_an_instant_that_is_too_large(self):
        with Capture(self.capture) as capture:
            process = capture.process(7)
            f = process.function("m", "f", "m.py", 1)
            thread = process.thread(1, 7001, "MainThread")
            records = [record for i in range(500) for record in (call(10 * i, f), return_(10 * i + 5, f))]
            records += [record for i in range(2000) for record in (call(10_000, f), return_(10_000, f))]
            records += [record for i in range(500) for record in (call(20_000 + 10 * i, f), return_(20_005 + 10 * i, f))]
            thread.block(records)
            process.end(40_000)
        files, messages = self.split("64k")
        self.assertIn("files larger than 65536 bytes, since they cannot be split further: 1\n", messages)
        large = [(name, begin, end) for name, begin, end in files if os.path.getsize(self.folder / name) > 64 * K]
        self.assertEqual([(begin, end) for _, begin, end in large], [(10_000, 10_001)])
        self.assertEqual(sum((self.folder / name).read_text().count('"ph":"X"') for name, *_ in files), 3000)

    def test_headers_with_little_information(self):
        """Nearly all that happens in an hour happens in a microsecond of it."""
        with Capture(self.capture) as capture:
            process = capture.process(7)
            f = process.function("m", "f", "m.py", 1)
            thread = process.thread(1, 7001, "MainThread")
            for base in 0, 10**12:
                records = [record for i in range(5000) for record in (call(base + 10**11 + 2 * i, f),
                                                                      return_(base + 10**11 + 2 * i + 1, f))]
                thread.block(records, begin=base, end=base + 9 * 10**11)
            process.end(10**13)
        files, messages = self.split("64k")
        self.assertNotIn("larger", messages)
        self.assertLess(len(files), 80)
        n = sum((self.folder / name).read_text().count('"ph":"X"') for name, *_ in files)
        self.assertIn(n, range(10_000, 10_000 + len(files)))            # one may be cut at each boundary
        for name, *_ in files:
            self.assertLessEqual(os.path.getsize(self.folder / name), 64 * K)

    def test_much_is_open(self):
        """What is open at the boundaries takes more than a file should: there are not more files for that."""
        with Capture(self.capture) as capture:
            process = capture.process(7)
            f, g = (process.function("m", name, "m.py", 1) for name in "fg")
            thread = process.thread(1, 7001, "MainThread")
            thread.block([call(i, f) for i in range(1000)])
            for k in range(8):
                begin = 10_000 * (k + 1)
                thread.block([open_(f)] * 1000 + [record for i in range(500) for record in (
                    call(begin + 10 * i, g), return_(begin + 10 * i + 5, g))], begin=begin)
            process.end(200_000)
        files, messages = self.split("64k")
        self.assertIn("files larger than 65536 bytes", messages)
        self.assertLess(len(files), 20)
        n = sum((self.folder / name).read_text().count('"name":"m.g"') for name, *_ in files)
        self.assertIn(n, range(4000, 4000 + len(files)))                # one may be cut at each boundary
        for name, *_ in files:
            self.assertLess(os.path.getsize(self.folder / name), 10 * 64 * K)


class Termination(Test):
    def write_long(self):
        """Slices with a name of 60,000 bytes."""
        with Capture(self.capture) as capture:
            process = capture.process(7)
            function = process.function("m", "f" * 60_000, "long.py", 1)
            thread = process.thread(1, 7001, "MainThread")
            thread.block([record for i in range(8000) for record in (call(10 * i, function), return_(10 * i + 5, function))])
            process.end(100_000)

    def test_what_interrupts_leaves_whole_files(self):
        self.write_long()
        for number in signal.SIGINT, signal.SIGTERM:
            command = [conversion.CONVERTER, "-q", "run.pnr", "--split=20M", "-o", "x.trace"]
            with self.subTest(number.name), subprocess.Popen(command, cwd=self.folder, stderr=subprocess.PIPE) as run:
                while not (self.folder / "x-2.trace").exists() and run.poll() is None:
                    time.sleep(0.001)
                run.send_signal(number)
                self.assertEqual(run.wait(SECONDS), -number)
                self.assertEqual(run.stderr.read(), b"")
                names = sorted(set(os.listdir(self.folder)) - {"run.pnr"})
                self.assertEqual(names, sorted(f"x-{k + 1}.trace" for k in range(len(names))))
                self.assertLess(len(names), 24)
                for name in names:
                    self.assertTrue((self.folder / name).read_text().endswith("}}\n"))
                    (self.folder / name).unlink()

    def test_a_file_that_cannot_be_written(self):
        """What was written before is there, and reported to be a part."""
        self.write_long()
        (self.folder / "x-3.trace").mkdir()
        run = self.convert("--split=20M", "-o", "x.trace", status=1)
        self.assertIn(b"x-3.trace: cannot write: Is a directory", run.stderr)
        self.assertEqual(sorted(os.listdir(self.folder)), ["run.pnr", "x-1.trace", "x-2.trace", "x-3.trace"])
        (self.folder / "x-1.trace").unlink()
        (self.folder / "x-1.trace").mkdir()
        self.convert("--split=20M", "-o", "x.trace", status=2)

    def test_anomalies_are_reported_once(self):
        for folder in "golden", "invalid":
            for case in conversion.cases(folder):
                with self.subTest(case.name):
                    for options in ["-o", "-"], ["-o", self.folder / "x.trace", "--split=64k"]:
                        for file in self.folder.glob("x-*"):
                            file.unlink()
                        run = subprocess.run([conversion.CONVERTER, "run.pnr", "-q", *options], cwd=case.path,
                                             capture_output=True, timeout=SECONDS)
                        self.assertEqual((run.returncode, run.stderr), (case.status(), case.expected("stderr")))


if __name__ == "__main__":
    unittest.main()
