"""Traces opened in Catapult's viewer."""

import collections
import unittest

import browser
import catapult
import comparison
import viewer_case
from comparison import Shown, Slice, canonical


class Catapult(viewer_case.ViewerCase, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.viewer = catapult.Viewer(browser.shared())

    def expected(self, trace):
        self.first = trace.first        # it counts times from there
        return Shown(trace.slices, trace.arrows, trace.used_threads())

    def show(self, path):
        self.viewer.open(path)
        shown = self.viewer.read()
        rows, arrows = shown["slices"], collections.Counter()

        def ns(milliseconds):
            return self.first + round(milliseconds * 1e6)

        slices = [
            Slice(row["pid"], row["tid"], ns(row["start"]), ns(row["start"] + row["duration"]), row["name"], row["cat"],
                  canonical(row["args"]),
                  None if row["parent"] is None else (ns(rows[row["parent"]]["start"]), rows[row["parent"]]["name"]))
            for row in rows]
        for row in shown["arrows"]:
            origin, target = slices[row["from"]], slices[row["to"]]
            self.assertEqual((row["cat"], row["name"]), (origin.cat, origin.name))
            arrows[comparison.arrow(origin, target)] += 1
        threads = {(row["pid"], row["tid"]): (row["name"], row["process"]) for row in shown["threads"]}
        unfinished = [f"no end: {row['name']}" for row in rows if row["didNotFinish"]]
        return Shown(slices, arrows, threads, shown["warnings"] + unfinished)


if __name__ == "__main__":
    unittest.main()
