"""Traces of real programs, opened in Catapult's viewer: what it shows must be what the trace file says, no more and no
less. What the file says is worked out here by the mapping's rules (specs/trace-mapping.md), not by the viewer's.

PANOPTICON_BUILD    the build directory     [build/release]
PANOPTICON_PYTHON   the interpreter to record with     [the running one]
"""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import catapult

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = pathlib.Path(os.environ.get("PANOPTICON_BUILD", ROOT / "build/release")).resolve()
PYTHON = os.environ.get("PANOPTICON_PYTHON", sys.executable)

Slice = collections.namedtuple("Slice", "pid tid begin end name cat args parent")


def setUpModule():
    global viewer
    viewer = unittest.enterModuleContext(catapult.Viewer())


def record(program, directory):
    """Records and converts the program. Gives the trace's path and what the program and the converter printed."""
    capture, trace = directory / "run.pnr", directory / "out.trace"
    env = {**os.environ, "PYTHONPATH": str(BUILD), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run([PYTHON, "-m", "panopticon_rec", "-q", "-o", capture, program], env=env, cwd=directory,
                         check=True, stdout=subprocess.PIPE, timeout=100)
    converted = subprocess.run([BUILD / "panopticon-convert", capture, "-o", trace], check=True, timeout=100,
                               stderr=subprocess.PIPE, text=True)
    return trace, ran.stdout, converted.stderr


def nanoseconds(text):
    """Of a number of microseconds as it is written in the trace: exact."""
    whole, digits = re.fullmatch(r"(\d+)\.(\d{3})", text).groups()
    return int(whole + digits)


class Expected:
    """What a trace file says."""

    def __init__(self, trace):
        document = json.loads(trace.read_text(encoding="utf-8"), parse_float=str)
        by_phase = collections.defaultdict(list)
        for event in document["traceEvents"]:
            by_phase[event["ph"]].append(event)
        assert by_phase.keys() <= set("XMistf"), by_phase.keys()
        self.first = min(nanoseconds(event["ts"]) for event in by_phase["X"] + by_phase["i"])
        for event in by_phase["i"]:     # an instant of a thread is shown as a slice without length
            event["dur"] = "0.000"
        self.slices = self._slices(by_phase["X"] + by_phase["i"])
        self.n_instants, self.n_chains = len(by_phase["i"]), len(by_phase["s"])
        self.arrows = self._arrows(by_phase["s"] + by_phase["t"] + by_phase["f"])
        self.threads = self._threads(by_phase["M"])

    @staticmethod
    def _slices(events):
        """In the order of threads and begins, each with its parent as (begin, name)."""
        threads = collections.defaultdict(list)
        for event in events:
            begin = nanoseconds(event["ts"])
            threads[event["pid"], event["tid"]].append((begin, begin + nanoseconds(event["dur"]), event))
        slices = []
        for (pid, tid), rows in sorted(threads.items()):
            rows.sort(key=lambda row: row[0])
            stack = []
            for begin, end, event in rows:
                while stack and stack[-1].end <= begin:
                    stack.pop()
                assert not stack or end <= stack[-1].end, f"{event['name']} overlaps the end of {stack[-1].name}"
                slices.append(Slice(pid, tid, begin, end, event["name"], event["cat"],
                                    json.dumps(event.get("args", {}), sort_keys=True),
                                    (stack[-1].begin, stack[-1].name) if stack else None))
                stack.append(slices[-1])
        return slices

    def _arrows(self, points):
        """A counter of (category, name, slice it comes from, slice it goes to)."""
        begins = {(s.pid, s.tid, s.begin, s.name, s.cat): s for s in self.slices}
        ends = {(s.pid, s.tid, s.end, s.name, s.cat): s for s in self.slices}
        chains = collections.defaultdict(list)
        for point in points:
            chains[point["id"]].append((nanoseconds(point["ts"]), point))
        arrows = collections.Counter()
        for chain in chains.values():
            chain.sort(key=lambda row: row[0])
            phases = "".join(point["ph"] for _, point in chain)
            assert re.fullmatch("st*f", phases), phases
            assert len({(point["name"], point["cat"]) for _, point in chain}) == 1, chain
            bound = []
            for at, point in chain:     # the mapping: one nanosecond inside the slice that it is meant for
                thread, function = (point["pid"], point["tid"]), (point["name"], point["cat"])
                bound.append(ends[*thread, at + 1, *function] if point["ph"] == "s"
                             else begins[*thread, at - 1, *function])
            for origin, target in zip(bound, bound[1:]):
                arrows[point["cat"], point["name"], (origin.pid, origin.tid, origin.begin),
                       (target.pid, target.tid, target.begin)] += 1
        return arrows

    @staticmethod
    def _threads(events):
        """(pid, tid) -> (name of the thread, name of its process)."""
        names = {(event["name"], event["pid"], event.get("tid")): event["args"].get("name") for event in events}
        processes = {pid: name for (kind, pid, _), name in names.items() if kind == "process_name"}
        return {(pid, tid): (name, processes[pid]) for (kind, pid, tid), name in names.items() if kind == "thread_name"}


class Shown:
    """What the viewer shows, in the same terms."""

    def __init__(self, model, first):
        def ns(milliseconds):
            return first + round(milliseconds * 1e6)

        rows = model["slices"]
        self.slices = [
            Slice(row["pid"], row["tid"], ns(row["start"]), ns(row["start"] + row["duration"]), row["name"], row["cat"],
                  json.dumps(row["args"], sort_keys=True),
                  None if row["parent"] is None else (ns(rows[row["parent"]]["start"]), rows[row["parent"]]["name"]))
            for row in rows]
        self.unfinished = sum(row["didNotFinish"] for row in rows)
        self.arrows = collections.Counter()
        for arrow in model["arrows"]:
            origin, target = (self.slices[arrow[end]] for end in ("from", "to"))
            self.arrows[arrow["cat"], arrow["name"], (origin.pid, origin.tid, origin.begin),
                        (target.pid, target.tid, target.begin)] += 1
        self.threads = {(row["pid"], row["tid"]): (row["name"], row["process"]) for row in model["threads"]}
        self.warnings = model["warnings"]


class Catapult(unittest.TestCase):
    def check(self, program):
        """Records, converts, opens and compares. Gives what was shown and what the program printed."""
        with tempfile.TemporaryDirectory() as directory:
            trace, printed, summary = record(program, pathlib.Path(directory))
            expected, shown = self.compare(trace)
        told = re.search(r"(\d+) slices, (\d+) flows, (\d+) threads", summary)
        self.assertEqual([int(number) for number in told.groups()],
                         [len(shown.slices) - expected.n_instants, expected.n_chains, len(shown.threads)], summary)
        self.assertTrue(shown.arrows)
        return shown, printed

    def compare(self, trace):
        expected = Expected(trace)
        viewer.open(trace)
        shown = Shown(viewer.read(), expected.first)
        self.assertEqual(shown.warnings, [])
        self.assertEqual(shown.unfinished, 0)
        self.same(expected.slices, shown.slices, "slices")
        self.same(expected.arrows.elements(), shown.arrows.elements(), "arrows")
        used = {(s.pid, s.tid) for s in expected.slices}        # it shows no threads without slices
        self.assertEqual(shown.threads, {thread: names for thread, names in expected.threads.items() if thread in used})
        return expected, shown

    def same(self, expected, shown, what):
        expected, shown = collections.Counter(expected), collections.Counter(shown)
        if expected != shown:
            missing, added = [*(expected - shown).elements()], [*(shown - expected).elements()]
            self.fail(f"{what}: {expected.total()} in the trace, {shown.total()} shown; "
                      f"not shown: {missing[:3]}; not in the trace: {added[:3]}")

    def crossing(self, shown, name):
        """The number of the function's arrows that go from one thread to another."""
        return sum(n for (_, function, origin, target), n in shown.arrows.items()
                   if function == name and origin[:2] != target[:2])

    def test_demo(self):
        shown, _ = self.check(ROOT / "examples/demo.py")
        self.assertEqual(self.crossing(shown, "__main__.recipe"), 6)
        self.assertEqual({cat for cat, *_ in shown.arrows},
                         {"generator", "coroutine", "async_generator", "iterable_coroutine"})
        self.assertEqual({name for name, _ in shown.threads.values()}, {"MainThread", "oven"})

    def test_threads(self):
        shown, _ = self.check(HERE / "programs/threads.py")
        self.assertEqual({name for name, _ in shown.threads.values()},
                         {"MainThread", "one", "two", "three", "after", "daemon"})
        self.assertEqual(self.crossing(shown, "__main__.count"), 30)    # 29 times handed on; closed by main

    def test_generators(self):
        shown, _ = self.check(HERE / "programs/generators.py")
        self.assertEqual({cat for cat, *_ in shown.arrows},
                         {"generator", "coroutine", "async_generator", "iterable_coroutine"})

    def test_odd_names(self):
        shown, printed = self.check(HERE / "programs/odd_names.py")
        names = {s.name for s in shown.slices}
        for module, name in json.loads(printed):
            # A lone surrogate is no character, and NUL ends a name in other viewers.
            full = f"{module}.{name}" if name else module
            self.assertIn(re.sub("[\0\ud800-\udfff]", "\ufffd", full), names)
        self.assertIn('the "\U0001f9f5"\n', {name for name, _ in shown.threads.values()})

    def test_golden(self):
        traces = sorted((ROOT / "tests/golden").glob("*/expected.trace"))
        self.assertTrue(traces)
        for trace in traces:
            with self.subTest(trace.parent.name):
                self.compare(trace)


if __name__ == "__main__":
    unittest.main()
