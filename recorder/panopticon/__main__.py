"""The command line of the package `panopticon` 0.0.4, carried out by panopticon_rec."""

import argparse
import json
import os
import sys
import tempfile

import panopticon_rec
from panopticon.post import flatten
from panopticon_rec.command import child, fail


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


def record(output, words):
    """Return the command that records a program into a capture or a trace, by this interpreter with its flags."""
    *flags, last = sys.orig_argv[1:len(sys.orig_argv) - len(sys.argv)] or ["-m"]
    flags += [last[:-1]] if last != "-m" else []        # -B of -Bm
    return [sys.executable, *flags, "-m", "panopticon_rec", "-q", "--c-calls", "--follow", "none", "-o", output, *words]


def main():
    given = parse_command_line()
    if given.flatten:
        return write_flattened(given.flatten, given.output)
    words = [given.path, *given.arguments] if given.path else ["-c", given.command, "--", *given.arguments]
    if given.output and given.output.endswith((".trace", ".json")):
        os.execv(sys.executable, record(given.output, words))
    try:
        output = open(given.output or os.dup(2), "w", encoding="utf-8")
    except OSError as error:
        fail(f"{given.output or 'standard error'}: {error.strerror}")
    with tempfile.TemporaryDirectory(prefix="panopticon-") as folder:
        capture = os.path.join(folder, "run.pnr")
        status = child.run(sys.executable, record(capture, words))
        if os.path.exists(capture):     # else the program was not run, and it is reported why
            write_trace(capture, output, given.output)
    return child.end_as(status)


def write_trace(capture, output, name):
    """Write the trace of a capture to an open file. A failure leaves the exit status to the program."""
    try:
        with output:
            output.write(panopticon_rec.convert(capture))
    except OSError as error:
        sys.stderr.write(f"panopticon: {name or 'standard error'}: cannot write: {error.strerror or error}\n")


def write_flattened(trace, output):
    try:
        text = json.dumps(flatten(trace_file=trace))
    except (ValueError, LookupError, TypeError):
        fail(f"{trace}: not a trace")
    except OSError as error:
        fail(f"{trace}: {error.strerror}")
    try:
        with open(output or os.dup(1), "w", encoding="utf-8") as file:
            print(text, file=file)
    except OSError as error:
        fail(f"{output or 'standard output'}: {error.strerror}")
    return 0


sys.exit(main())
