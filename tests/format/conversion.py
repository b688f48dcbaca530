"""Runs the converter on the committed captures: tests/golden/NAME and tests/invalid/RULE, each with

    run.pnr                 made by the folder's make.py
    expected.trace          golden: the converter's output, byte by byte; its version is written VERSION
    expected.stderr         what it prints with -q; not there: nothing
    expected.status         its exit status; not there: 0
    options                 with these the trace is made; not there: none

The converter is that of $PANOPTICON_BUILD, by default build/release. When its output changes for a good reason:

    python3 tests/format/conversion.py [NAME...]        # stores what it gives now, where it is right

An output is only stored if trace_checker finds it right. The same check is a part of the tests.
"""

import os
import subprocess
import sys
import tempfile
import unittest
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONVERTER = Path(os.environ.get("PANOPTICON_BUILD", ROOT / "build/release")).resolve() / "panopticon-convert"


@dataclass
class Case:
    path: Path

    @property
    def name(self):
        return self.path.name

    def expected(self, what, default=b""):
        file = self.path / f"expected.{what}"
        return file.read_bytes() if file.exists() else default

    def status(self):
        return int(self.expected("status", b"0"))

    def options(self):
        file = self.path / "options"
        return file.read_text().split() if file.exists() else []

    def convert(self, *options):
        """Runs in the folder of the capture, so that no message has another path in it. Without options: with the
        case's own."""
        options = options or self.options()
        return subprocess.run([CONVERTER, "-q", "run.pnr", "-o", "-", *options], cwd=self.path, capture_output=True,
                              timeout=60)


def cases(folder):
    found = [Case(path.parent) for path in sorted((ROOT / "tests" / folder).glob("*/run.pnr"))]
    assert found, f"no captures in tests/{folder}"
    return found


def ledgers(folder):
    """Captures with a ledger."""
    return [case for case in cases(folder) if case.name.startswith("ledger")]


class CaptureCase(unittest.TestCase):
    """Each test has a folder of its own, for a capture in it."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.capture = self.folder / "run.pnr"


def problems(case, run):
    """What is wrong with a conversion, apart from the texts that are compared byte by byte."""
    import trace_checker
    if run.returncode != case.status():
        return [f"status is {run.returncode}, not {case.status()}; it reported {run.stderr.decode()}"]
    if run.returncode == 2:
        return [f"{len(run.stdout)} bytes of output in spite of status 2"] if run.stdout else []
    return trace_checker.check(case.path / "run.pnr", run.stdout.decode(), options=case.options())


def store(case, is_golden):
    run = case.convert()
    wrong = problems(case, run)
    for line in wrong:
        print(f"{case.name}: {line}")
    if not wrong:
        for what, text in (("stderr", run.stderr), ("trace", run.stdout if is_golden else b"")):
            file = case.path / f"expected.{what}"
            file.write_bytes(text) if text else file.unlink(missing_ok=True)
    return bool(wrong)


if __name__ == "__main__":
    wanted = sys.argv[1:]
    sys.exit(sum(store(case, folder == "golden") for folder in ("golden", "invalid") for case in cases(folder)
                 if not wanted or case.name in wanted) > 0)
