"""Prints which share of the lines of each C module the tests ran, by what gcov wrote: `./test coverage` calls it.

    python3 tests/coverage_report.py build/coverage [--missing]        --missing: also the lines that never ran
"""

import collections
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def counts(build):
    """{source: {line: how often it ran}}, for the sources of the C code, by all their objects."""
    objects = [str(path) for folder in ("format", "recorder", "convert", "tables") for path in sorted((build / folder).rglob("*.gcno"))]
    found = collections.defaultdict(collections.Counter)
    text = subprocess.run(["gcov", "--json-format", "--stdout", *objects], cwd=ROOT, capture_output=True, check=True).stdout
    for line in text.splitlines():
        for file in json.loads(line)["files"]:
            if not file["file"].startswith(("/", "tests/")):
                for one in file["lines"]:
                    found[file["file"]][one["line_number"]] += one["count"]
    return found


def ranges(lines):
    """The numbers of lines as text: those that follow one another as 3-7."""
    parts = []
    for line in sorted(lines):
        if parts and line == parts[-1][1] + 1:
            parts[-1][1] = line
        else:
            parts.append([line, line])
    return ", ".join(f"{begin}-{end}" if end > begin else str(begin) for begin, end in parts)


def main(build, *options):
    rows, n_all, n_run = [], 0, 0
    for source, lines in counts(pathlib.Path(build).resolve()).items():
        missing = [line for line, n in lines.items() if not n]
        rows.append((1 - len(missing) / len(lines), source, len(lines), ranges(missing)))
        n_all, n_run = n_all + len(lines), n_run + len(lines) - len(missing)
    for share, source, n, missing in sorted(rows):
        print(f"{share:7.1%} of {n:4} lines  {source}" + (f": {missing}" if options == ("--missing",) and missing else ""))
    print(f"{n_run / n_all:7.1%} of {n_all:4} lines")


if __name__ == "__main__":
    main(*sys.argv[1:])
