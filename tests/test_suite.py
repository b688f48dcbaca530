"""tests/suite.py when it is interrupted."""

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
        self.addCleanup(shutil.rmtree, folder)
        program = subprocess.Popen(["sleep", "600"], start_new_session=True)
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        with open("pid.new", "w") as file:
            file.write(str(program.pid))
        os.rename("pid.new", "pid")
        program.wait()

    def test_3_never_runs(self):
        open("ran", "w").close()
"""


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
