"""pytest --panopticon: a slice for each test, one capture for a session, and the same results as without."""

import ast
import collections
import os
import subprocess
import sys
import unittest
import xml.etree.ElementTree

import e2e

TESTS = """
    import pytest

    @pytest.fixture
    def thing():
        yield 1

    @pytest.fixture
    def broken():
        raise ValueError

    @pytest.fixture
    def breaks_later():
        yield
        raise ValueError

    def helper():
        return 1

    def test_ok(thing):
        assert helper() == thing

    @pytest.mark.parametrize("x", [1.5, "a.b::c", "ü"])
    def test_param(x):
        pass

    def test_bad():
        assert helper() == 2

    @pytest.mark.skip
    def test_skipped():
        pass

    def test_skips():
        pytest.skip()

    @pytest.mark.xfail
    def test_expected():
        assert 0

    @pytest.mark.xfail
    def test_unexpected():
        pass

    @pytest.mark.xfail(strict=True)
    def test_strict():
        pass

    def test_setup(broken):
        pass

    def test_teardown(breaks_later):
        pass

    class TestClass:
        def test_method(self):
            pass
    """

OUTCOMES = {
    "test_ok": "passed", "test_param[1.5]": "passed", "test_param[a.b::c]": "passed", r"test_param[\xfc]": "passed",
    "test_bad": "failed", "test_skipped": "skipped", "test_skips": "skipped", "test_expected": "xfailed",
    "test_unexpected": "xpassed", "test_strict": "failed", "test_setup": "error", "test_teardown": "error",
    "TestClass::test_method": "passed",
}

PHASES = ["_pytest.runner.pytest_runtest_setup", "_pytest.runner.pytest_runtest_call",
          "_pytest.runner.pytest_runtest_teardown"]

ASYNC = """
    import asyncio, sys

    async def step(n):
        await asyncio.sleep(0)
        return n

    async def test_steps():
        assert await asyncio.gather(step(1), step(2)) == [1, 2]

    async def test_fails():
        assert await step(1) == 2

    def test_depth():
        with __import__("pytest").raises(RecursionError):
            (lambda f: f(f))(lambda f: f(f))
    """


class Pytest(e2e.EndToEnd):
    def pytest(self, *words, status=1, before=()):
        """Runs pytest on self.directory. Returns what it printed on standard output."""
        finished = e2e.plain([*before, "-m", "pytest", "-p", "no:cacheprovider", *words], cwd=self.directory,
                             env={"PYTHONPATH": ""})
        printed = finished.out + finished.err
        self.assertEqual(finished.status, status, printed)
        self.assertNotIn("AssertRewriteWarning", printed)
        return printed

    def outcomes(self, trace, name="test_a.py"):
        """The outcome of each test by the trace: where its slice ends, another one has the outcome. Tests that a fork
        has split have a second slice in the child."""
        found = {}
        for one in trace.slices:
            if one.function.name.startswith("pytest.["):
                test = one.parent.function.name.removeprefix(f"{name}::")
                self.assertNotIn(test, found)
                found[test] = one.function.name[len("pytest.["):-1]
        tests = [one for one in trace.slices if "::" in one.function.name and "begin_unknown" not in one.flags]
        self.assertEqual(len(found), len(tests))
        return found

    def check_phases(self, trace):
        """Each test has the steps of pytest in its slice, except those that another hook skips."""
        phases = collections.defaultdict(list)
        for one in trace.slices:
            above = one.parent
            while above and "::" not in above.function.name:
                above = above.parent
            if above and one.function.name in PHASES:
                phases[above.function.name].append(one.function.name)
        for test, found in phases.items():
            name = test.rpartition("::")[2]
            missing = {"test_setup": PHASES[1:2], "test_skipped": PHASES[:2]}.get(name, [])
            self.assertEqual(found, [phase for phase in PHASES if phase not in missing])
        self.assertEqual(len(phases), len(OUTCOMES))


class Slices(Pytest):
    def setUp(self):
        super().setUp()
        self.source = self.write("test_a.py", TESTS)

    def test_outcomes_and_phases(self):
        lines = self.pytest("--panopticon").split("\n")
        self.assertIn("panopticon: pytest.pnr has the session: panopticon view pytest.pnr", lines)
        trace = self.trace("pytest.pnr")
        self.assertEqual(self.outcomes(trace), OUTCOMES)
        self.check_phases(trace)
        self.assertEqual(trace.count()["test_a.helper"], 2)

    def test_places_are_those_of_the_tests(self):
        self.pytest("--panopticon=run.pnr", "-q")
        with open(self.source, encoding="utf-8") as file:
            tree = ast.parse(file.read())
        lines = {node.name: min([node.lineno, *(one.lineno for one in node.decorator_list)])
                 for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
        for one in self.trace().slices:
            if "::" in one.function.name:
                name = one.function.name.partition("[")[0].rpartition("::")[2]
                self.assertEqual(one.function.src, f"{self.source}:{lines[name]}")

    def test_workers_of_xdist(self):
        self.pytest("--panopticon", "-n", "2")
        self.assertEqual([name for name in os.listdir(self.directory) if name.endswith(".pnr")], ["pytest.pnr"])
        trace = self.trace("pytest.pnr")
        self.assertEqual(self.outcomes(trace), OUTCOMES)
        self.check_phases(trace)
        controller, = (pid for pid, name in trace.processes.items() if "worker" not in name)
        workers = {one.thread[0] for one in trace.slices if "::" in one.function.name}
        self.assertNotIn(controller, workers)
        self.assertEqual(len(trace.processes), 3)

    def test_forked(self):
        self.pytest("--panopticon", "--forked")
        trace = self.trace("pytest.pnr")
        self.assertEqual(self.outcomes(trace), OUTCOMES)
        tests = {one.thread[0] for one in trace.slices if one.function.name == "test_a.helper"}
        self.assertEqual(len(tests), 2)                 # each in a process of its own

    def test_filters_leave_the_tests(self):
        for words in ("--include test_a.helper",
                      "--no-stdlib --exclude '_pytest*' --exclude 'pluggy*' --exclude 'test_*'"):
            with self.subTest(words):
                self.pytest("--panopticon=run.pnr", f"--panopticon-options={words}")
                trace = self.trace()
                self.assertEqual(self.outcomes(trace), OUTCOMES)
                self.check_phases(trace)
                self.assertEqual(trace.count()["test_a.test_ok"], 0)
                self.assertEqual(trace.count()["test_a.helper"], 2 * words.startswith("--include"))
                subprocess.run(["rm", "-r", self.path("run.pnr")], check=True)

    def test_recorded_already(self):
        before = ["-m", "panopticon_rec", "-q", "-o", "run.pnr"]
        self.assertNotIn("panopticon:", self.pytest(before=before))
        self.assertEqual(self.outcomes(self.trace()), OUTCOMES)
        before[-1] = "again.pnr"
        self.assertIn("panopticon: this process is being recorded already: no pytest.pnr is made\n",
                      self.pytest("--panopticon", before=before))
        self.assertEqual(self.outcomes(self.trace("again.pnr")), OUTCOMES)
        self.assertFalse(os.path.exists(self.path("pytest.pnr")))

    def test_warnings_are_errors(self):
        """pytest warns of what it could not rewrite, of the packages that have a plugin: those of the recorder are imported
        before, here and in the workers of xdist."""
        self.write("test_a.py", "def test_ok(): pass\n")
        self.pytest("-W", "error", before=["-m", "panopticon_rec", "-q", "-o", "run.pnr"], status=0)
        self.pytest("-W", "error", "--panopticon=workers.pnr", "-n", "2", status=0)

    def test_wrong_words(self):
        os.mkdir(self.path("tests"))
        for words, message in (
                (["--panopticon", "tests"],
                 "--panopticon takes the name of a capture, which ends in .pnr, and not tests"),
                (["--panopticon", "--panopticon-options=--nothing"], "--panopticon-options: unknown option --nothing"),
                (["--panopticon", "--panopticon-options=-o x.pnr"],
                 "--panopticon-options: --output has no meaning here"),
                (["--panopticon", "--panopticon-options=app.py"], "--panopticon-options: there is no program"),
                (["--panopticon", "--panopticon-options=--last x"],
                 "--panopticon-options: last: 'x' is not a duration"),
                (["--panopticon-options=--mine"], "--panopticon-options are those of --panopticon"),
                (["--panopticon=missing/x.pnr"], "--panopticon: ")):
            with self.subTest(words):
                printed = self.pytest(*words, status=4)
                self.assertIn(f"ERROR: {message}", printed)
                self.assertNotIn("Traceback", printed)
        self.assertFalse(any(name.endswith(".pnr") for name in os.listdir(self.directory)))


class Results(Pytest):
    """Real tests come to the same with and without recording."""

    def results(self, *words):
        """Test: what it came to."""
        path = self.path("results.xml")
        finished = e2e.plain(["-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={path}", "-q", *words],
                             cwd=self.directory, env={"PYTHONPATH": ""}, timeout=600)
        self.assertIn(finished.status, (0, 1), finished.out + finished.err)
        cases = xml.etree.ElementTree.parse(path).iter("testcase")
        return collections.Counter((case.get("classname"), case.get("name"), *(part.tag for part in case))
                                   for case in cases)

    def check(self, *words):
        """Returns the results, and the trace of a recording with two workers."""
        expected = self.results(*words)
        self.assertGreater(len(expected), 2)
        self.assertEqual(self.results(*words, "--panopticon=one.pnr"), expected)
        self.assertEqual(self.results(*words, "--panopticon=two.pnr", "-n", "2"), expected)
        for name in "one.pnr", "two.pnr":
            e2e.convert(self.path(name), "--include", "*::*", "--include", "pytest.[[]*")
            trace = e2e.Trace(self.path(name.replace(".pnr", ".trace")))
            self.assertEqual(sum("::" in one.function.name for one in trace.slices), expected.total())
        return expected, trace

    def test_h11(self):
        self.check("--pyargs", "h11")

    def test_toolz(self):
        self.check("--pyargs", "toolz.tests")

    def test_asyncio(self):
        self.write("pytest.ini", "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
        self.write("test_async.py", ASYNC)
        self.check(".")
        steps = [flow for flow in self.trace("one.pnr").flows if flow[0].function.name == "test_async.step"]
        self.assertEqual(sorted(len(flow) for flow in steps), [2, 2, 2])

    def test_sessions_in_tests(self):
        """Tests of plugins run pytest inside pytest, in the same process and in others."""
        self.write("conftest.py", "pytest_plugins = 'pytester'\n")
        self.write("test_inner.py", """
            def test_in_process(pytester):
                pytester.makepyfile("def test_a(): pass\\ndef test_b(): assert 0")
                pytester.runpytest_inprocess().assert_outcomes(passed=1, failed=1)

            def test_process(pytester):
                pytester.makepyfile("def test_a(): pass\\ndef test_b(): assert 0")
                pytester.runpytest_subprocess().assert_outcomes(passed=1, failed=1)

            def test_third():
                pass
            """)
        expected = self.results()
        self.assertEqual(self.results("--panopticon=one.pnr"), expected)
        self.assertEqual({key[2:] for key in expected}, {()})
        counts = self.trace("one.pnr").count()
        self.assertEqual((counts["test_in_process.py::test_a"], counts["test_process.py::test_b"]), (1, 1))


class Unused(Pytest):
    def test_nothing_is_imported(self):
        self.write("test_unused.py", """
            import sys
            def test_modules():
                assert "panopticon_pytest" in sys.modules
                assert not [name for name in sys.modules if name.partition(".")[0] in ("panopticon_rec", "panopticon")]
            """)
        self.pytest(status=0)
        self.pytest("-n", "1", status=0)


if __name__ == "__main__":
    unittest.main()
