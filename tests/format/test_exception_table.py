"""The table of exceptions (--top --exceptions) of captures that are made by hand: specs/trace-mapping.md, section
8.5."""

import json
import subprocess
import tempfile
import unittest
from pathlib import Path

import conversion
from capture_writer import LABEL, LAST, Capture, call, remark, return_, unwind


class Program:
    """A process whose records are added one after another, 100 ns apart."""

    def __init__(self, process):
        self.process, self.records, self.numbers, self.at = process, [], {}, 1000

    def number(self, name, kind=None):
        if (name, kind) not in self.numbers:
            self.numbers[name, kind] = (self.process.function("", name, "", 0, kind=kind) if kind else
                                        self.process.function("app", name))
        return self.numbers[name, kind]

    def add(self, make, name):
        self.at += 100
        self.records.append(make(self.at, self.number(name)))

    def report(self, name):
        self.at += 100
        self.records += remark("INSTANT", self.at, self.number(name, LABEL))

    def end(self):
        self.process.thread(1, 7001, "MainThread").block(self.records, begin=900, end=self.at + 100, flags=LAST)
        self.process.end(self.at + 200)


def count(*programs):
    """Makes a capture with a process for each function, and returns the table: type, raised in, handled in, count."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "run.pnr"
        with Capture(path) as capture:
            for i, make in enumerate(programs):
                program = Program(capture.process(7 + i))
                make(program)
                program.end()
        run = subprocess.run([conversion.CONVERTER, "-q", "--top", "--exceptions", "--json", path], capture_output=True,
                             timeout=60)
    assert (run.returncode, run.stderr) == (0, b""), run
    lines = json.loads(run.stdout)["exceptions"]
    return [(one["type"], one["raised_in"], one["handled_in"], one["count"]) for one in lines]


class Table(unittest.TestCase):
    def test_what_belongs_together(self):
        def make(program):
            program.add(call, "main")
            for _ in range(2):
                program.add(call, "fails")
                program.report("[raised E]")
                program.add(unwind, "fails")
                program.report("[handled E]")
                program.add(call, "cleanup")
                program.report("[raised E]")
                program.report("[handled E]")
                program.add(return_, "cleanup")
                program.report("[raised again E]")
                program.report("[handled E]")
            program.add(return_, "main")
        self.assertEqual(count(make), [("E", "app.fails", "app.main", 2), ("E", "app.cleanup", "app.cleanup", 2)])
        self.assertEqual(count(make, make), [("E", "app.fails", "app.main", 4), ("E", "app.cleanup", "app.cleanup", 4)])

    def test_what_does_not(self):
        """Handlers in other calls, and of other types; processes."""
        def raises(program):
            program.add(call, "fails")
            program.report("[raised E]")
            program.add(unwind, "fails")

        def handles(program):
            program.add(call, "handles")
            program.report("[handled F]")
            program.report("[handled E]")
            program.report("[raised again F]")
            program.add(return_, "handles")

        def both(program):
            raises(program)
            handles(program)
        expected = [("F", None, "app.handles", 1), ("E", None, "app.handles", 1), ("E", "app.fails", None, 1)]
        self.assertEqual(count(both), expected)
        self.assertEqual(sorted(count(raises, handles), key=str), sorted(expected, key=str))

    def test_other_instants(self):
        def make(program):
            program.add(call, "main")
            for name in "[raised]", "[raised ]", "[raised E", "raised E", "[handled ]", "[raised again]", "[Raised E]":
                program.report(name)
            program.add(return_, "main")
        self.assertEqual(count(make), [("again", "app.main", None, 1)])

    def test_many_are_not_handled(self):
        def make(program):
            program.add(call, "main")
            for _ in range(200):
                program.report("[raised E]")
            for _ in range(70):
                program.report("[handled E]")
            program.add(return_, "main")
        self.assertEqual(count(make), [("E", "app.main", None, 136), ("E", "app.main", "app.main", 64),
                                       ("E", None, "app.main", 6)])


if __name__ == "__main__":
    unittest.main()
