"""Traces and folded stacks opened in speedscope, and read back from what it exports. It shows no arrows, no instant
events, no stack frames and no categories; args are a part of the names. The times of each thread begin with its first
slice."""

import collections
import contextlib
import json
import re
import unittest

import browser
import captures
import speedscope
import viewer_case
from captures import ROOT
from comparison import Shown, Slice, canonical


@unittest.skipUnless(speedscope.FOLDER.is_dir(), "tests/viewers/run fetches speedscope")
class Speedscope(viewer_case.ViewerCase, unittest.TestCase):
    golden = ["greenlets", "unrecorded_and_lost", "unusual_names", "paused", "processes"]

    @classmethod
    def setUpClass(cls):
        cls.viewer = speedscope.Viewer(browser.shared())

    def expected(self, trace):
        first, slices = {}, []
        for each in trace.slices:       # in the order of begins
            if each.begin < each.end:
                start = first.setdefault((each.pid, each.tid), each.begin)
                parent = each.parent and (each.parent[0] - start, each.parent[1])
                slices.append(each._replace(begin=each.begin - start, end=each.end - start, cat=None, parent=parent,
                                            src=None))
        return Shown(slices, threads={thread: names for thread, names in trace.threads.items() if thread in first})

    def show(self, path):
        self.viewer.open(path)
        shown = self.viewer.read()
        frames = [self.name_and_args(frame["name"]) for frame in shown["shared"]["frames"]]
        slices, threads = [], {}
        for profile in shown["profiles"]:
            process, pid, thread, tid = re.fullmatch(r"(.*) \(pid (\d+)\), (.*) \(tid (\d+)\)", profile["name"],
                                                     re.DOTALL).groups()
            threads[int(pid), int(tid)] = thread, process
            stack = []
            for event in profile["events"]:
                at, (name, args) = round(event["at"] * 1000), frames[event["frame"]]
                if event["type"] == "O":
                    stack.append((at, name))
                else:
                    begin, opened = stack.pop()
                    self.assertEqual(opened, name)
                    slices.append(Slice(int(pid), int(tid), begin, at, name, None, args, stack[-1] if stack else None,
                                        None))
        return Shown(slices, threads=threads)

    @staticmethod
    def name_and_args(text):
        for found in re.finditer(r" (?={)", text):
            with contextlib.suppress(ValueError):
                return text[:found.start()], canonical(json.loads(text[found.end():]))
        return text, "{}"

    def test_folded(self):
        for capture in captures.recorded(ROOT / "examples/demo.py"), captures.written("mixed 2"):
            path, _ = capture.convert("out.folded")
            expected = collections.Counter()
            for line in path.read_text(encoding="utf-8").splitlines():
                stack, _, weight = line.rpartition(" ")
                expected[stack] += int(weight)
            self.viewer.open(path)
            shown = self.viewer.read()
            names = [frame["name"] for frame in shown["shared"]["frames"]]
            profile, = shown["profiles"]
            # The profile is a list of begins and ends, whose times are the weights.
            weights, stack, last = collections.Counter(), [], 0
            for event in profile["events"]:
                weights[";".join(stack)] += event["at"] - last
                last = event["at"]
                if event["type"] == "O":
                    stack.append(names[event["frame"]])
                else:
                    self.assertEqual(stack.pop(), names[event["frame"]])
            self.assertEqual(+weights, +expected)


if __name__ == "__main__":
    unittest.main()
