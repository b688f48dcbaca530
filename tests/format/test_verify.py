"""--verify reports what a conversion would, --info reads no data, and what viewers cannot take is reported."""

import os
import random
import re
import shutil
import subprocess
import unittest

import conversion
from capture_writer import (BLOCK_RECORDS, Capture, call, create, encode_block_header, encode_skippable, open_, return_)
from test_damage import damage

SECONDS = 120


def run(*arguments, cwd=None):
    finished = subprocess.run([conversion.CONVERTER, *arguments], cwd=cwd, capture_output=True, timeout=SECONDS)
    return finished.returncode, finished.stdout.decode(errors="replace"), finished.stderr.decode(errors="replace")


def write_large(path, n_blocks, records, n_functions=8):
    """The same block again and again, one a millisecond."""
    with Capture(path) as capture:
        process = capture.process(7)
        for i in range(n_functions):
            process.function("m", f"f{i}")
        thread = process.thread(1, 7001, "MainThread")
        thread.block(records)
        block = process.file(thread.file).pop()
        fields = dict(zip(("n_records", "n_open", "data_size", "planes"),
                          (len(records), 0, len(block) - 104, int.from_bytes(block[36:38], "little"))))
        for k in range(n_blocks):
            begin, end = process.clock.instant(k * 10**6), process.clock.instant((k + 1) * 10**6 - 1)
            header = encode_block_header(1, k, begin=begin, end=end, **fields)
            process.segment(1 + k // 500)
            process.file(thread.file).append(encode_skippable(header) + block[104:])
        thread.n_events = n_blocks * len(records)
        process.end(n_blocks * 10**6)


def calls(n, spread=random.Random(3)):
    """Records of n calls within a millisecond, such as compress as recorded ones do."""
    records, at = [], 0
    for _ in range(n):
        function = spread.randrange(1, 9)
        records += [call(at, function), return_(at + 20 + spread.randrange(30), function)]
        at += 60 + spread.randrange(50)
    return records


class Verify(conversion.CaptureCase):
    def check(self, path):
        """As a conversion: the messages, and the exit status. Returns that and the summary."""
        there = os.listdir(path)
        status, _, messages = run("run.pnr", "-q", "-o", "-", cwd=path)
        found = run("run.pnr", "--verify", cwd=path)
        self.assertEqual((found[0], found[2]), (status, messages))
        self.assertEqual(run("run.pnr", "--verify", "-q", "-j3", cwd=path), (status, "", messages))
        if status < 2:
            self.assertRegex(found[1], r"^run\.pnr: \d+ process(es)?, \d+ threads?, \d+ blocks?, \d+ events?, \d+ bytes: "
                                       r"(all whole|damaged, \d+ findings? above)\n$")
            self.assertEqual(found[1].endswith("all whole\n"), status == 0)
        self.assertEqual(os.listdir(path), there)
        return status, found[1]

    def test_golden_and_invalid_ones(self):
        for case in [*conversion.cases("golden"), *conversion.cases("invalid")]:
            with self.subTest(case.name):
                self.assertEqual(self.check(case.path)[0], case.status())
                status, _, messages = run("run.pnr", "--info", "--verify", cwd=case.path)
                self.assertEqual((status, messages), (case.status(), case.expected("stderr").decode(errors="replace")))

    def test_what_is_damaged_at_random(self):
        goldens = [case for case in conversion.cases("golden") if case.name != "full_block"]
        for seed in range(150):
            source = random.Random(seed)
            golden = source.choice(goldens)
            shutil.rmtree(self.capture, ignore_errors=True)
            shutil.copytree(golden.path / "run.pnr", self.capture)
            damage(self.capture, source)
            status, _, messages = run("run.pnr", "-q", "-o", "-", cwd=self.folder)
            found = run("run.pnr", "--verify", cwd=self.folder)
            with self.subTest(seed=seed, golden=golden.name):
                more = re.sub(r"panopticon-convert: .* events found, but \d+ were recorded\n", "", found[2])
                self.assertEqual(more, messages)
                self.assertEqual(found[0], 1 if more != found[2] else status)

    def test_the_summary(self):
        with Capture(self.capture) as capture:
            for pid in 7, 8:
                process = capture.process(pid)
                f = process.function("m", "f")
                for k in 1, 2:
                    process.thread(k, pid * 10 + k, "t").block([open_(f), call(1000, f), create(1100, f, 9), return_(2000, f)])
                process.end(3000)
        size = sum(file.stat().st_size for file in self.capture.rglob("*") if file.is_file())
        self.assertEqual(self.check(self.folder)[1],
                         f"run.pnr: 2 processes, 4 threads, 4 blocks, 12 events, {size} bytes: all whole\n")

    def test_the_last_segment_is_missing(self):
        """No number is missing before another: a conversion cannot know."""
        write_large(self.capture, 501, calls(10))
        shutil.rmtree(self.capture / "process-7/segment-2")
        self.assertEqual(run("run.pnr", "-q", "-o", "-", cwd=self.folder)[0], 0)
        status, out, messages = run("run.pnr", "--verify", cwd=self.folder)
        self.assertEqual((status, messages), (
            1, "panopticon-convert: run.pnr/process-7: 10000 events found, but 10020 were recorded\n"))
        self.assertTrue(out.endswith(": damaged, 1 finding above\n"))

    def test_refused(self):
        write_large(self.capture, 1, calls(10))
        for options in (["-o", "x.trace"], ["--top"], ["--format=folded"], ["--from=1"], ["--json"], ["--tasks"],
                        ["--flows=none"], ["--logical"]):
            for what in "--verify", "--info":
                with self.subTest(options, what=what):
                    status, out, messages = run("run.pnr", what, *options, cwd=self.folder)
                    self.assertEqual((status, out), (2, ""))
                    self.assertEqual(messages.count("\n"), 1)
        self.assertEqual(os.listdir(self.folder), ["run.pnr"])


class Info(conversion.CaptureCase):
    def test_no_data_is_read(self):
        write_large(self.capture, 1000, calls(BLOCK_RECORDS // 2))
        size = sum(file.stat().st_size for file in self.capture.rglob("*") if file.is_file())
        self.assertGreater(size, 12_000_000)
        few, all_ = (self.bytes_read(*options) for options in (["--info"], ["--info", "--verify"]))
        self.assertLess(few, size * 0.02)
        self.assertGreater(all_, size)

    def bytes_read(self, *options):
        """By the converter: what a process has read is added to its parent's when it has ended."""
        def count():
            with open("/proc/self/io", encoding="ascii") as file:
                return int(file.readline().split()[1])
        before = count()
        self.assertEqual(run("run.pnr", *options, cwd=self.folder)[0], 0)
        return count() - before

    def test_the_same_is_reported_without_the_data(self):
        """Except for what only the data have."""
        for case in conversion.cases("golden"):
            without, full = (run("run.pnr", *options, cwd=case.path)[1].splitlines()
                             for options in (["--info"], ["--info", "--verify"]))
            with self.subTest(case.name):
                self.assertEqual(without.pop(), "For kinds of events, unrecorded regions and losses, which only the data "
                                                "have: add --verify")
                self.assertRegex(full.pop(), "all whole$")
                if case.name not in ("greenlets", "stack_again", "ledger", "ledger_windows", "min_duration", "sparse"):  # OPEN inside; LOST ones after the end
                    self.assertLessEqual(set(without), set(full))
                more = {line.split()[0] for line in set(full) - set(without) if not line.startswith("    ")}
                self.assertLessEqual(more - {"events", "size", "lost"}, {"unrecorded"})


class Viewers(conversion.CaptureCase):
    """With captures that really pass the limits."""

    def messages(self, *options):
        status, _, messages = run("run.pnr", *options, cwd=self.folder)
        self.assertEqual(status, 0)
        return [line for line in messages.splitlines() if "show" in line or "Perfetto" in line]

    def test_what_is_too_much_for_chrome(self):
        write_large(self.capture, 620, calls(BLOCK_RECORDS // 2))
        for output, more in ("/dev/null", ""), ("x.trace.gz", ", compressed or not"):
            line, = self.messages("-o", output)
            self.assertRegex(line, rf"5\d+ events, [45]\d\d MB: more than chrome://tracing can show{more}; "
                                   r"record with --mine, or try --split 200M, or Perfetto .*, best with -o NAME\.pftrace$")
        self.assertEqual(self.messages("--split=200M", "-o", "x.trace.zst"), [])
        self.assertEqual(self.messages("-o", "x.folded"), [])
        self.assertEqual(self.messages("--to=0.3", "-o", "/dev/null"), [])
        line, = self.messages("--split=1G", "-o", "x.trace.zst")

    def test_what_is_too_deep_for_perfetto(self):
        write_large(self.capture, 1, [call(i, 1) for i in range(513)] + [return_(1000 + i, 1) for i in range(513)])
        for options in [], ["--split=1M"]:
            line, = self.messages("-o", "x.trace", *options)
            self.assertRegex(line, r"513 levels of nesting: Perfetto discards slices deeper than 512; try --max-depth 512$")
        self.assertEqual(self.messages("-o", "x.trace", "--max-depth=512"), [])


if __name__ == "__main__":
    unittest.main()
