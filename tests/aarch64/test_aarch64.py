"""Captures of one processor are the other's: recorder and converter for aarch64, which qemu runs, and those of this
machine. tests/aarch64/run sets PANOPTICON_BUILD, PANOPTICON_PYTHON (both for aarch64), PANOPTICON_NATIVE, the build for
this machine, and PANOPTICON_NATIVE_PYTHON, the interpreter that this is for."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EMULATED, NATIVE = (Path(os.environ[name]) for name in ("PANOPTICON_BUILD", "PANOPTICON_NATIVE"))
PROGRAM = """
import asyncio, threading
def f(n): return n and f(n - 1)
def generate():
    for i in range(50): yield f(i % 5)
async def one(i):
    await asyncio.sleep(0)
    list(generate())
async def main(): await asyncio.gather(*(one(i) for i in range(20)))
threads = [threading.Thread(target=lambda: list(generate())) for _ in range(3)]
for thread in threads: thread.start()
asyncio.run(main())
for thread in threads: thread.join()
"""


class Exchange(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "program.py").write_text(PROGRAM)

    def run_whole(self, command, **environment):
        finished = subprocess.run(command, cwd=self.folder, capture_output=True, timeout=120,
                                  env={**os.environ, **environment})
        self.assertEqual(finished.returncode, 0, finished.stderr.decode())
        return finished

    def record(self, python, build):
        self.run_whole([python, "-m", "panopticon_rec", "-q", "-o", "run.pnr", "program.py"], PYTHONPATH=str(build))

    def check_conversions(self):
        """What each converter makes of the capture is the same byte for byte."""
        for option in "--format=catapult", "--format=perfetto", "--format=report", "--format=pstats", "--info":
            with self.subTest(option):
                native, emulated = (self.run_whole([build / "panopticon-convert", "run.pnr", "-q", option,
                                                    *["-o", "-"] * (option != "--info")]).stdout
                                    for build in (NATIVE, EMULATED))
                self.assertTrue(native)
                self.assertEqual(native, emulated)

    def test_recorded_on_aarch64(self):
        self.record(os.environ["PANOPTICON_PYTHON"], EMULATED)
        info = self.run_whole([NATIVE / "panopticon-convert", "run.pnr", "--info"]).stdout.decode()
        self.assertRegex(info, r"clock +cntvct\n")
        self.check_conversions()

    def test_recorded_here(self):
        self.record(os.environ["PANOPTICON_NATIVE_PYTHON"], NATIVE)
        self.check_conversions()


if __name__ == "__main__":
    unittest.main()
