"""Golden captures, damaged at random: the converter reports that it is not all, and makes of the rest what
trace_checker does. Seeds are fixed, so a failure comes again: see `damage`."""

import random
import shutil
import tempfile
import unittest
from pathlib import Path

import capture_reader as reader
import conversion
import trace_checker

N_SEEDS = 400
ANOMALOUS_RECORDS = ("unknown kind", "OPEN inside", "time back", "unknown function", "unknown track", "misplaced",
                     "stray values", "unread values")


def move(file, source):
    """The file becomes another one, of the same segment or of another; or the segment does."""
    segment = file.parent.with_name(f"segment-{source.randrange(1, 8)}")
    if source.random() < 0.3:
        if not segment.exists():
            file.parent.rename(segment)
        return
    name = source.choice([file.name, file.name, "short-threads.zst", f"thread-{source.randrange(1, 12)}.zst"])
    other = segment / name if source.random() < 0.7 else file.with_name(name)
    other.parent.mkdir(exist_ok=True)
    shutil.copy(file, other) if source.random() < 0.5 and file != other else file.rename(other)


def damage(path, source):
    """Up to four changes: a bit, a cut, something taken out, something put in, a file or its whole segment gone, or
    there again."""
    for _ in range(source.choice([1, 1, 2, 4])):
        files = [file for file in sorted(path.rglob("*")) if file.name in ("names", "live") or file.suffix == ".zst"]
        file = source.choice(files)
        data = bytearray(file.read_bytes())
        if file.suffix == ".zst" and source.random() < 0.1:
            move(file, source)
            continue
        if not data:
            continue
        end = min(len(data), 9000) if source.random() < 0.8 else len(data)     # a live file is mostly empty
        at, n, how = source.randrange(end), source.randrange(1, 200), source.randrange(6)
        if how < 3:
            data[at] ^= 1 << source.randrange(8)
        elif how == 3:
            del data[at:]
        elif how == 4:
            del data[at:at + n]
        else:
            data[at:at] = source.randbytes(n)
        file.write_bytes(data)


def expected_status(capture):
    readable = [process for process in capture.processes if process.is_readable]
    is_later = any(report.text == "later version" and not report.file.endswith("/names") for report in capture.reports)
    has_blocks = any(thread.is_there for process in readable for thread in process.threads.values()) \
        or any(process.ledger and process.ledger.is_there for process in readable)
    if is_later and not has_blocks:
        return 2                        # all of it is of a later version
    if not readable:
        return 2
    is_anomalous = any(process.skipped[what] for process in readable for what in ANOMALOUS_RECORDS)
    return int(is_anomalous or any(report.is_damage for report in capture.reports))


class Damage(unittest.TestCase):
    def test_both_readers_take_the_same_from_what_is_left(self):
        goldens = [case for case in conversion.cases("golden") if case.name != "full_block"]
        statuses = set()
        for seed in range(N_SEEDS):
            source = random.Random(seed)
            golden = source.choice(goldens)
            with self.subTest(seed=seed, golden=golden.name), tempfile.TemporaryDirectory() as directory:
                case = conversion.Case(Path(directory))
                shutil.copytree(golden.path / "run.pnr", case.path / "run.pnr")
                damage(case.path / "run.pnr", source)
                run = case.convert()
                try:
                    capture = reader.read(case.path / "run.pnr")
                except reader.NotCapture as reason:     # no process's directory is left
                    self.assertEqual(run.returncode, 2, reason)
                    continue
                reported = f"{run.stderr.decode()}, but the independent reader: {capture.reports}"
                self.assertEqual(run.returncode, expected_status(capture), reported)
                statuses.add(run.returncode)
                if run.returncode < 2:
                    self.assertEqual(trace_checker.check(case.path / "run.pnr", run.stdout.decode(),
                                                         options=case.options()), [], reported)
        self.assertEqual(statuses, {0, 1, 2}, "the damage is of all sorts")


if __name__ == "__main__":
    unittest.main()
