"""The committed captures convert as expected: byte by byte, and checked by trace_checker."""

import json
import marshal
import re
import runpy
import tempfile
import unittest
from pathlib import Path

import conversion
import trace_checker


class Golden(unittest.TestCase):
    def test_conversions_are_as_expected(self):
        for case in conversion.cases("golden"):
            with self.subTest(case.name):
                run = case.convert()
                self.assertEqual(conversion.problems(case, run), [])
                self.assertEqual(run.stderr.decode(), case.expected("stderr").decode())
                trace = re.sub(r'("converter":"panopticon-convert )\d[^"]*', r"\1VERSION", run.stdout.decode())
                self.assertEqual(trace, case.expected("trace").decode())

    def test_checker_finds_what_is_changed(self):
        """Each number, name and flag of an expected trace matters to the checker, and so does each event."""
        changes = {
            "a later begin": (r'("ts":)(\d+)(\.\d+,"dur")', lambda m: f"{m[1]}{int(m[2]) + 1}{m[3]}"),
            "a longer slice": (r'("dur":)(\d+)', lambda m: f"{m[1]}{int(m[2]) + 1}"),
            "another flow event": (r'("id":\d+,"ts":)(\d+)', lambda m: f"{m[1]}{int(m[2]) + 1}"),
            "another flow": (r'("id":)(\d+)', lambda m: f"{m[1]}{int(m[2]) + 50}"),
            "another phase": (r'"ph":"([stfbe])"', lambda m: f'"ph":"{dict(s="f", t="f", f="s", b="e", e="b")[m[1]]}"'),
            "another thread": (r'("tid":)(\d+)', lambda m: f"{m[1]}{int(m[2]) + 1}"),
            "another process": (r'("pid":)(\d+)', lambda m: f"{m[1]}{int(m[2]) + 1}"),
            "another name": (r'("name":"[^"]*)("[^\n]*"ph":"[Xstfibe]")', lambda m: f"{m[1]}x{m[2]}"),
            "another thread's name": (r'("args":\{"name":"[^"]*)"', lambda m: f'{m[1]}x"'),
            "another category": (r'("cat":")(python|generator|creation|task)', lambda m: f"{m[1]}x{m[2]}"),
            "another line": (r'(\.py:\d+)"', lambda m: f'{m[1]}1"'),
            "a flag": (r'("sf":\d+)\}', lambda m: f'{m[1]},"args":{{"unfinished":true}}}}'),
            "another source": (r'("sf":)(\d+)', lambda m: f"{m[1]}{int(m[2]) + 50}"),
            "another flag": (r'"[a-z_]+":true', lambda m: '"other":true'),
            "another function": (r'("waits_[a-z]+":"[^"]*)"', lambda m: f'{m[1]}x"'),
            "no event": (r'\n\{"name":"[^\n]*"ph":"[Xstfibe]"[^\n]*,(?=\n)', lambda m: ""),
        }
        for case in conversion.cases("golden"):
            trace = case.expected("trace").decode()
            if case.name not in ("generators", "generator_moves", "unrecorded_and_lost", "opened", "greenlets",
                                 "creations", "tasks", "waits"):
                continue
            for name, (pattern, change) in changes.items():
                for match in list(re.finditer(pattern, trace))[:8]:
                    changed = trace[:match.start()] + re.sub(pattern, change, match[0] + trace[match.end():], count=1)
                    with self.subTest(case=case.name, change=name, at=match[0]):
                        json.loads(changed)
                        self.assertNotEqual(
                            trace_checker.check(case.path / "run.pnr", changed, options=case.options()), [])


class Invalid(unittest.TestCase):
    def test_each_rule_is_kept(self):
        for case in conversion.cases("invalid"):
            with self.subTest(case.name):
                run = case.convert()
                self.assertEqual(conversion.problems(case, run), [])
                self.assertEqual(run.stderr.decode(), case.expected("stderr").decode())

    def test_an_empty_directory_is_no_capture(self):
        """Not committed: git keeps no empty directories."""
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "run.pnr").mkdir()
            run = conversion.Case(Path(directory)).convert()
        self.assertEqual(run.returncode, 2)
        self.assertEqual(run.stderr.decode(), conversion.Case(conversion.ROOT / "tests/invalid/no_process")
                         .expected("stderr").decode())

    def test_what_is_damaged_is_reported_in_one_line_each(self):
        where = r"run\.pnr(/process-\d+(/(names|live|segment-\d+(/(thread-\d+|short-threads)\.zst)?))?)?"
        for case in conversion.cases("invalid"):
            with self.subTest(case.name):
                lines = case.expected("stderr").decode().splitlines()
                self.assertGreater(len(lines), 0)
                for line in lines:
                    self.assertRegex(line, rf"^panopticon-convert: {where}: ")


class OtherFormats(unittest.TestCase):
    """What is made of a call tree has the calls of the trace, the same exit status, and the same messages."""

    def check(self, case):
        trace = case.convert()
        slices = re.findall(rb'"ph":"X","ts":\d+\.\d+,"dur":(\d+)\.(\d+)', trace.stdout)
        ns = [int(us) * 1000 + int(rest) for us, rest in slices]
        runs = {options: case.convert("--exact", *options) for options in
                (("--format=folded",), ("--format=pstats",), ("--top",), ("--top", "--json"))}
        for options, run in runs.items():
            with self.subTest(case.name, options=options):
                is_empty = not slices and options == ("--format=pstats",) and run.returncode != 2
                more = b"panopticon-convert: the profile is empty: Python's pstats cannot read it\n"
                self.assertEqual((run.returncode, run.stderr), (trace.returncode, trace.stderr + more * is_empty))
        if trace.returncode == 2:
            self.assertEqual([run.stdout for run in runs.values()], [b""] * 4)
            return
        folded, dumped, table, reported = (run.stdout for run in runs.values())
        for line in folded.splitlines():
            self.assertRegex(line.decode(), r"^[^\x00-\x1f]+ [1-9]\d*$")
        stats, reported = marshal.loads(dumped), json.loads(reported)
        self.assertEqual(sum(one[1] for one in stats.values()), len(slices))
        self.assertEqual(sum(one["calls"] for one in reported["functions"]), len(slices))
        lost = re.findall(rb": (\d+) events? lost by the recorder\n", trace.stderr)
        self.assertEqual(reported["lost_events"], sum(map(int, lost)))
        self.assertEqual(max((one["max_ns"] for one in reported["functions"]), default=0), max(ns, default=0))
        self.assertAlmostEqual(sum(one[2] for one in stats.values()),
                               sum(one["self_ns"] for one in reported["functions"]) / 1e9, places=6)
        n = len(reported["functions"])
        self.assertEqual(len(table.splitlines()), 1 + min(n, 30) + (n > 30))

    def test_golden(self):
        for case in conversion.cases("golden"):
            self.check(case)

    def test_invalid(self):
        for case in conversion.cases("invalid"):
            self.check(case)


class Made(unittest.TestCase):
    """What make.py makes is what is committed: it is the readable form of the captures."""

    def test_captures_are_what_their_scripts_make(self):
        for folder in "golden", "invalid":
            script = runpy.run_path(str(conversion.ROOT / "tests" / folder / "make.py"))
            makers = ({case.__name__: case for case in script["CASES"]} if folder == "golden" else
                      {name: make for name, (_, make) in script["RULES"].items()})
            self.assertEqual(sorted(makers), [case.name for case in conversion.cases(folder)])
            for name, make in makers.items():
                with self.subTest(name), tempfile.TemporaryDirectory() as directory:
                    path = Path(directory) / "run.pnr"
                    make(path)
                    self.assertEqual(contents(path), contents(conversion.ROOT / "tests" / folder / name / "run.pnr"))


def contents(path):
    """Files and what they hold. Data frames depend on the version of zstd: sizes of files may differ."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): (file.is_symlink(), file.suffix == ".zst" or file.read_bytes())
            for file in files}


if __name__ == "__main__":
    unittest.main()
