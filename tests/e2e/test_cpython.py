"""CPython's own tests give the same result with and without the recorder, and the captures convert.

Those that take long run only with PANOPTICON_LONG=1; the others take about two minutes in all.
"""

import collections
import os
import re
import subprocess
import unittest
import xml.etree.ElementTree

import e2e

QUICK = ("test_generators", "test_coroutines", "test_asyncgen", "test_contextlib", "test_contextlib_async",
         "test_sys_settrace", "test_sys_setprofile", "test_exceptions", "test_os", "test_threading")
SLOW = ("test_asyncio", "test_signal", "test_subprocess")
# Under any frame evaluation function, be it empty, 3.12 to 3.14 await a coroutine by calling its send() (SEND,
# Python/bytecodes.c). sys.settrace then reports the StopIteration by which it returns once more than these tests
# expect.
FAIL_UNDER_A_HOOK = {"test_20_async_for_loop"} if (3, 12) <= e2e.VERSION < (3, 15) else set()
HAS_TESTS = subprocess.run([e2e.PYTHON, "-c", "import test.test_generators"], stderr=subprocess.DEVNULL).returncode == 0


def results(path):
    """What became of each test: {name: "passed", "failed" or "skipped"}."""
    found = {}
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        how = {child.tag for child in case} & {"failure", "error", "skipped"}
        found[case.get("name")] = ("skipped" if how == {"skipped"} else "failed") if how else "passed"
    return found


@unittest.skipUnless(HAS_TESTS, "this Python comes without the package test (Debian: libpython3.X-testsuite)")
class SameResult(e2e.EndToEnd):
    def run_tests(self, name, how, *more):
        """Returns what became of each test, and the end of the output for a message."""
        reported = self.path(f"{how}.xml")
        arguments = ["-m", "test", "--junit-xml", reported, *more, name]
        settings = dict(cwd=self.directory, timeout=900)
        if how == "plain":
            finished = e2e.plain(arguments, **settings)
        else:
            subprocess.run(["rm", "-rf", self.path("run.pnr")])
            finished = e2e.recorded(self.path("run.pnr"), arguments, **settings)
        text = finished.out[-1500:] + finished.err[-1500:]
        self.assertTrue(os.path.exists(reported), f"{how}: status {finished.status}\n{text}")
        return results(reported), text

    def expect(self, name, *more):
        """What is to become of each test under the recorder."""
        plain, _ = self.run_tests(name, "plain", *more)
        return {test: "failed" if test.rpartition(".")[2] in FAIL_UNDER_A_HOOK else how for test, how in plain.items()}

    def compare(self, name):
        expected = self.expect(name)
        found, text = self.run_tests(name, "recorded")
        self.check_capture()
        self.assertGreater(collections.Counter(expected.values())["passed"], 0)
        different = sorted(test for test in {**expected, **found} if expected.get(test) != found.get(test))
        if different:
            # Some of these tests measure time, and the machine may be busy: again, by themselves.
            only = [option for test in different for option in ("-m", re.sub(r" .*", "", test))]
            expected = self.expect(name, *only)
            found, text = self.run_tests(name, "recorded", *only)
        self.assertSame(expected, found, f"{name}\n{text}")

    def check_capture(self):
        """It converts, and the trace has the form of one: large ones are not read whole."""
        trace = e2e.convert(self.path("run.pnr"), "--flows=all,creation", "--tasks")
        with open(trace, "rb") as file:
            self.assertEqual(file.read(1), b"{")
            file.seek(max(0, os.path.getsize(trace) - 2000))
            self.assertTrue(file.read().rstrip().endswith(b"}"))
        if os.path.getsize(trace) < 60_000_000:
            self.assertGreater(len(e2e.Trace(trace).slices), 1000)


def add(name, decorate=lambda test: test):
    def test(self):
        self.compare(name)

    setattr(SameResult, name, decorate(test))


for name in QUICK:
    add(name)
for name in SLOW:
    add(name, unittest.skipUnless(e2e.LONG, "takes minutes: PANOPTICON_LONG=1"))


if __name__ == "__main__":
    unittest.main()
