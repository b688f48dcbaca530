"""The tests of each viewer: it must show what the trace file contains, no more and no less.

    class Some(viewer_case.ViewerCase, unittest.TestCase):
        show(path)              opens the file, and gives a comparison.Shown
        expected(trace)         what is to be shown of a comparison.Trace, as far as this viewer shows such things
"""

import collections
import json
import re

import captures
import comparison
from captures import HERE, ROOT

# The imports of a program are many slices of the same sort.
OWN = ["--include=__main__", "--include=asyncio*", "--exclude=*<module>"]
KINDS = {"generator", "coroutine", "async_generator", "iterable_coroutine"}


class ViewerCase:
    extension = ".trace"                # of the file that the viewer gets
    golden = []                         # names of golden captures; none: all

    def check(self, capture, *options, compressed=""):
        """Converts with these options, opens the output, and compares. Returns what the trace contains."""
        path, summary = capture.convert("out.trace", *options)
        trace = comparison.Trace(path)
        counts = {what: int(n) for n, what in re.findall(r"(\d+) (slices|flows|creations|tasks|threads)", summary)}
        n_threads = counts.pop("threads")
        self.assertEqual(+collections.Counter(counts), +collections.Counter(
            slices=len(trace.slices) - trace.n_instants, flows=len(trace.flows), creations=len(trace.creations),
            tasks=trace.tasks.total() - trace.n_windows), summary)
        self.assertEqual(n_threads, trace.n_threads, summary)
        if self.extension + compressed != ".trace":
            path, _ = capture.convert(f"out{self.extension}{compressed}", *options)
        self.compare(trace, path)
        return trace

    def compare(self, trace, path):
        expected, shown = self.expected(trace), self.show(path)
        self.assertEqual(shown.warnings, [])
        self.same(expected.slices, shown.slices, "slices")
        self.same(expected.arrows.elements(), shown.arrows.elements(), "arrows")
        self.same(expected.tasks.elements(), shown.tasks.elements(), "tasks")
        named = {key: names for key, names in shown.threads.items() if names[0] is not None}
        self.assertEqual(named, expected.threads)       # windows are those of the thread with the process's number

    def same(self, expected, shown, what):
        expected, shown = collections.Counter(expected), collections.Counter(shown)
        if expected != shown:
            missing, added = [*(expected - shown).elements()], [*(shown - expected).elements()]
            self.fail(f"{what}: {expected.total()} in the trace, {shown.total()} shown; "
                      f"not shown: {missing[:3]}; not in the trace: {added[:3]}")

    def test_demo(self):
        trace = self.check(captures.recorded(ROOT / "examples/demo.py"))
        self.assertEqual(trace.crossing("__main__.recipe"), 6)
        self.assertEqual({cat for cat, *_ in trace.arrows}, KINDS)
        self.assertEqual({name for name, _ in trace.threads.values()}, {"MainThread", "oven"})

    def test_threads(self):
        trace = self.check(captures.recorded(HERE / "programs/threads.py"))
        self.assertEqual({name for name, _ in trace.threads.values()},
                         {"MainThread", "one", "two", "three", "after", "daemon"})
        self.assertEqual(trace.crossing("__main__.count"), 30)      # passed on 29 times; closed by main

    def test_generators(self):
        trace = self.check(captures.recorded(HERE / "programs/generators.py"), *OWN)
        self.assertEqual({cat for cat, *_ in trace.arrows}, KINDS)

    def test_unusual_names(self):
        capture = captures.recorded(HERE / "programs/unusual_names.py")
        trace = self.check(capture)
        names = {each.name for each in trace.slices}
        for module, name in json.loads(capture.printed):
            # A lone surrogate is not a character, and NUL ends a name in other viewers.
            full = f"{module}.{name}" if name else module
            self.assertIn(re.sub("[\0\ud800-\udfff]", "\ufffd", full), names)
        self.assertIn('the "\U0001f9f5"\n', {name for name, _ in trace.threads.values()})

    def test_written(self):
        for name in captures.WRITTEN:
            with self.subTest(name):
                self.check(captures.written(name))

    def test_golden(self):
        paths = [ROOT / "tests/golden" / name / "expected.trace" for name in self.golden]
        for path in paths or sorted((ROOT / "tests/golden").glob("*/expected.trace")):
            with self.subTest(path.parent.name):
                trace = comparison.Trace(path)
                if self.extension != ".trace":
                    path, _ = captures.Capture(path.with_name("run.pnr")).convert("out" + self.extension)
                self.compare(trace, path)

    def test_cut(self):
        capture = captures.recorded(ROOT / "examples/demo.py")
        demo, _ = capture.convert("out.trace")
        times = sorted(each.begin for each in comparison.Trace(demo).slices if each.name == "__main__.recipe")
        begin, end = times[len(times) // 4], times[len(times) * 3 // 4]
        trace = self.check(capture, f"--from={begin}ns", f"--to={end}ns")
        self.assertIn('"cut": true', "".join(each.args for each in trace.slices))
        for options in (["--from=100us", "--to=200us"], ["--from=50us", "--max-depth=3"], ["--process=7", "--thread=7"],
                        ["--exclude=__main__*", "--min-duration=1us"]):
            with self.subTest(options):
                trace = self.check(captures.written("mixed 0"), *options)
                self.assertTrue(trace.slices)

    def test_split(self):
        capture = captures.recorded(HERE / "programs/threads.py")
        first, _ = capture.convert("out.trace", "--split=100k")
        paths = sorted(first.parent.iterdir())
        self.assertGreater(len(paths), 2)
        for path in paths[0], paths[-1]:
            self.compare(comparison.Trace(path), path)

    def test_creations(self):
        trace = self.check(captures.recorded(HERE / "programs/generators.py"), "--flows=all,creation", *OWN)
        self.assertTrue(trace.creations)
        self.check(captures.written("mixed 3"), "--flows=creation")

    def test_logical(self):
        self.check(captures.written("mixed 2"), "--logical")

    def test_gzip(self):
        self.check(captures.recorded(HERE / "programs/threads.py"), compressed=".gz")
        self.check(captures.written("mixed 1"), compressed=".gz")
