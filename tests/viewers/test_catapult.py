"""Traces opened in Catapult's viewer."""

import collections
import unittest

import browser
import captures
import catapult
import comparison
import viewer_case
from captures import HERE, ROOT
from comparison import Shown, Slice, Task, canonical


class Catapult(viewer_case.ViewerCase, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.viewer = catapult.Viewer(browser.shared())

    def expected(self, trace):
        self.first = trace.first        # its times count from there
        return Shown(trace.slices, trace.arrows, trace.used_threads(), trace.tasks)

    def show(self, path):
        self.viewer.open(path)
        shown = self.viewer.read()
        rows, arrows = shown["slices"], collections.Counter()

        def ns(milliseconds):
            return self.first + round(milliseconds * 1e6)

        slices = [
            Slice(row["pid"], row["tid"], ns(row["start"]), ns(row["start"] + row["duration"]), row["name"], row["cat"],
                  canonical(row["args"]),
                  None if row["parent"] is None else (ns(rows[row["parent"]]["start"]), rows[row["parent"]]["name"]),
                  row["src"])
            for row in rows]
        for row in shown["arrows"]:
            arrows[comparison.arrow(row["cat"], row["name"], slices[row["from"]], slices[row["to"]])] += 1
        tasks = collections.Counter(
            Task(row["pid"], ns(row["start"]), ns(row["start"] + row["duration"]), row["name"], canonical(row["args"]),
                 row["src"], tuple((ns(begin), ns(begin + duration)) for begin, duration in row["runs"]))
            for row in shown["tasks"])
        threads = {(row["pid"], row["tid"]): (row["name"], row["process"]) for row in shown["threads"]}
        unfinished = [f"no end: {row['name']}" for row in rows if row["didNotFinish"]]
        return Shown(slices, arrows, threads, tasks, shown["warnings"] + unfinished)

    def test_tasks(self):
        for program in ROOT / "examples/demo.py", HERE / "programs/generators.py":
            trace = self.check(captures.recorded(program), "--tasks", "--flows=none", *viewer_case.OWN)
            self.assertTrue(trace.tasks)

    def test_windows(self):
        """Each process has its own, shown as tasks are."""
        trace = self.check(captures.written("windows"))
        self.assertEqual(collections.Counter(each.pid for each in trace.tasks.elements()), {7: 2, 8: 2})


if __name__ == "__main__":
    unittest.main()
