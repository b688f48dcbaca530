"""The command line of the package `panopticon` 0.0.4, carried out by panopticon_rec."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

from panopticon.post import flatten


def parse_command_line():
    parser = argparse.ArgumentParser(prog="panopticon",
                                     description="Records a Python program: a trace for chrome://tracing")
    parser.add_argument("-o", "--output", help="where the trace goes [standard error]")
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("-c", "--command", help="run Python statements")
    group.add_argument("path", nargs="?", help="run a file")
    group.add_argument("-f", "--flatten", metavar="TRACE", help="make all innermost slices of a trace equally wide")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="arguments of the program")
    return parser.parse_args()


def record(trace, words):
    """Return the command that records a program into a trace, by this interpreter with its flags."""
    *flags, last = sys.orig_argv[1:len(sys.orig_argv) - len(sys.argv)] or ["-m"]
    flags += [last[:-1]] if last != "-m" else []        # -B of -Bm
    return [sys.executable, *flags, "-m", "panopticon_rec", "-q", "--c-calls", "--follow", "none", "-o", trace, *words]


def main():
    given = parse_command_line()
    if given.flatten:
        text = json.dumps(flatten(trace_file=given.flatten))
        if given.output:
            with open(given.output, "w", encoding="utf-8") as file:
                file.write(text)
        else:
            print(text)
        return 0
    words = [given.path, *given.arguments] if given.path else ["-c", given.command, "--", *given.arguments]
    if given.output and given.output.endswith((".trace", ".json")):
        os.execv(sys.executable, record(given.output, words))
    with tempfile.TemporaryDirectory() as folder:
        trace = os.path.join(folder, "run.trace")
        status = subprocess.call(record(trace, words))
        if os.path.exists(trace):
            destination = given.output or 2     # standard error
            with open(trace, "rb") as file, open(destination, "wb", closefd=destination != 2) as output:
                shutil.copyfileobj(file, output)
    return status


sys.exit(main())
