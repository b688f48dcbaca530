"""Traces opened in the Performance panel of Chromium's DevTools. It shows no arrows, no instant events of
threads and no stack frames."""

import unittest

import browser
import devtools
import viewer_case
from comparison import Shown, Slice, canonical


class DevTools(viewer_case.ViewerCase, unittest.TestCase):
    golden = ["greenlets", "unrecorded_and_lost", "unusual_names", "paused", "processes"]

    @classmethod
    def setUpClass(cls):
        cls.viewer = devtools.Viewer(browser.shared())

    def expected(self, trace):
        slices = [each._replace(src=None) for each in trace.slices if each.begin < each.end]
        return Shown(slices, threads=trace.used_threads())

    def show(self, path):
        self.viewer.open(path)
        slices, threads = [], {}
        for pid, tid, process, thread, rows in self.viewer.read():
            threads[pid, tid] = thread, process
            for begin, duration, name, cat, args, parent in rows:
                slices.append(Slice(pid, tid, round(begin * 1000), round((begin + duration) * 1000), name, cat,
                                    canonical(args), None if parent is None else
                                    (round(rows[parent][0] * 1000), rows[parent][2]), None))
        return Shown(slices, threads=threads)


if __name__ == "__main__":
    unittest.main()
