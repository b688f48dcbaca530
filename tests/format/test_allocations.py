"""The converter when there is no memory: whichever allocation fails, it ends by itself, reports it, and leaves a whole
file or none. tests/faults/faults.c makes the allocation fail."""

import os
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

import conversion

FAULTS = conversion.CONVERTER.parent / "tests" / "faults" / "faults.so"
CAPTURES = "tasks", "greenlets", "killed"
OUTPUTS = ([["-o", f"out{suffix}", *options] for suffix, options in (
    (".trace", []), (".trace", ["--flows=all,creation", "--tasks"]), (".pftrace", []), (".trace.gz", []),
    (".trace.zst", []), (".trace", ["--from=1us", "--min-duration=1ns", "--exclude=x.*", "--thread=*"]),
    (".folded", []), (".pstats", []), ("", ["--format=report"]))]
    + [["--top", "-o", "out.txt"], ["--top", "--json", "-o", "out.json"]])


@unittest.skipUnless(FAULTS.exists(), "a sanitizer's build has no faults.so")
class Allocations(unittest.TestCase):
    def convert(self, folder, capture, options, call=None, nth=0):
        """Returns the exit status, what was written, the messages, and whether the fault was reached."""
        reached = Path(folder) / "reached"
        fault = {"LD_PRELOAD": str(FAULTS), "FAULT_PROGRAM": "1", "FAULT_CALL": call, "FAULT_NTH": str(nth),
                 "FAULT_ERRNO": "ENOMEM", "FAULT_REPORT": str(reached)} if call else {}
        source = conversion.ROOT / "tests/golden" / capture / "run.pnr"
        run = subprocess.run([conversion.CONVERTER, "-q", "-j", "1", source, *options], cwd=folder, capture_output=True,
                             env={**os.environ, **fault})
        is_reached = reached.exists()
        if is_reached:
            reached.unlink()
        written = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        for name in written:
            (Path(folder) / name).unlink()
        return run.returncode, written, run.stderr.decode(), is_reached

    def sweep(self, options):
        with tempfile.TemporaryDirectory() as folder:
            for capture in CAPTURES:
                status, whole, messages, _ = self.convert(folder, capture, options)
                for call in "malloc", "calloc", "realloc":
                    nth, is_reached = 1, True
                    while is_reached:
                        with self.subTest(capture=capture, options=options, call=call, nth=nth):
                            found = self.convert(folder, capture, options, call, nth)
                            is_reached = found[3]
                            self.check(found, (status, whole, messages))
                        nth += 1

    def check(self, found, expected):
        status, written, messages, is_reached = found
        if status == -signal.SIGSEGV and conversion.CONVERTER.parent.name == "coverage":
            return                                      # libgcov, a part of that program, does not check its own
        if not is_reached:
            self.assertEqual(found[:3], expected)
            return
        self.assertIn(status, (0, 1, 2), messages)
        if status == 2:
            self.assertEqual(written, {})
        else:
            self.assertEqual(list(written), list(expected[1]))
        if status == 0 and not messages:
            self.assertEqual(written, expected[1])      # it could do without
        if status > expected[0]:
            self.assertIn("memory", messages)


for number, options in enumerate(OUTPUTS):
    def test(self, options=options):
        self.sweep(options)
    name = "_".join(options).replace("--", "").translate(str.maketrans("-=,*.", "_____"))
    setattr(Allocations, f"test_{number}_{name}", test)


if __name__ == "__main__":
    unittest.main()
