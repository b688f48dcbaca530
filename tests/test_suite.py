"""tests/suite.py when a test fails once, and when it is interrupted."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

SUITE = pathlib.Path(__file__).resolve().with_name("suite.py")
TESTS = """
import os, shutil, subprocess, tempfile, unittest

class Some(unittest.TestCase):
    def test_1_fails(self):
        self.fail("on purpose")

    def test_2_takes_long(self):
        folder = tempfile.mkdtemp(prefix="kept-")
        self.addCleanup(shutil.rmtree, folder)      # what it begins is left
        program = subprocess.Popen(["sleep", "600"], start_new_session=True)
        with open("pid.new", "w") as file:
            file.write(str(program.pid))
        os.rename("pid.new", "pid")
        program.wait()

    def test_3_never_runs(self):
        open("ran", "w").close()
"""


STEADY = "import unittest\n" + "".join(f"""
class Steady{n}(unittest.TestCase):
    def test_passes(self):
        pass
""" for n in range(3))
UNSTEADY = """
class Unsteady(unittest.TestCase):
    def test_fails_once(self):
        print("said")
        try:
            open("second").close()
        except OSError:
            open("second", "w").close()
            self.fail("the first time")
"""
BROKEN = """
class Broken{}(unittest.TestCase):
    def test_fails(self):
        with open("runs", "a") as file:
            file.write("1")
        self.fail("each time")
"""


class Again(unittest.TestCase):
    def run_suite(self, text, *arguments):
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder)
            (place / "test_some.py").write_text(text)
            done = subprocess.run([sys.executable, SUITE, *arguments, "test_some"], cwd=folder, text=True, timeout=100,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                  env={**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"})
            runs = place / "runs"
            return done.returncode, done.stdout, len(runs.read_text()) if runs.exists() else 0

    def test_what_fails_once_passes_and_is_named(self):
        status, output, _ = self.run_suite(STEADY + UNSTEADY, "-j", "2")
        self.assertEqual(status, 0, output)
        self.assertIn("Ran 4 tests ", output)
        self.assertIn("\nOK", output)
        self.assertIn("AssertionError: the first time", output)
        self.assertIn("Its output:\nsaid\n", output)
        self.assertIn("\nPassed when run again: test_fails_once (test_some.Unsteady", output)

    def test_what_fails_twice_has_failed(self):
        status, output, n_runs = self.run_suite(STEADY + UNSTEADY + BROKEN.format(""), "-j", "2")
        self.assertEqual((status, n_runs), (1, 2), output)
        self.assertIn("FAILED (failures=1)", output)
        self.assertIn("FAIL: test_fails (test_some.Broken", output)
        self.assertIn("\nPassed when run again: test_fails_once (test_some.Unsteady", output)

    def test_nothing_runs_again_when_many_fail_or_it_ran_alone(self):
        many = "".join(map(BROKEN.format, range(4)))
        for text, arguments, n_failed in (STEADY + many, ("-j", "2"), 4), (STEADY + many[:len(many) // 4], ("-j", "1"), 1):
            status, output, n_runs = self.run_suite(text, *arguments)
            self.assertEqual((status, n_runs), (1, n_failed), output)


class Interrupted(unittest.TestCase):
    def test_reports_what_failed_and_leaves_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder)
            (place / "test_some.py").write_text(TESTS)
            # timeout(1) sends the signal to it and to all of its processes, so that it comes twice.
            process = subprocess.Popen([sys.executable, SUITE, "-j", "1", "test_some"], cwd=folder, text=True,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                                       env={**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1",
                                            "TMPDIR": folder})
            try:
                while not (place / "pid").exists() and process.poll() is None:
                    time.sleep(0.01)
                process.send_signal(signal.SIGINT)
                time.sleep(0.05)
                os.killpg(process.pid, signal.SIGINT)
                output = process.communicate(timeout=100)[0]
            finally:
                process.kill()
            self.assertEqual(process.returncode, -signal.SIGINT, output)
            self.assertIn("FAIL: test_1_fails", output)
            self.assertIn("Ran 1 test ", output)
            self.assertIn("FAILED (failures=1)", output)
            self.assertNotIn("Traceback (most recent call last):\n  File \"" + str(SUITE), output)
            self.assertEqual(sorted(os.listdir(folder)), ["pid", "test_some.py"])
            with self.assertRaises(ProcessLookupError):
                os.kill(int((place / "pid").read_text()), 0)


if __name__ == "__main__":
    unittest.main()
