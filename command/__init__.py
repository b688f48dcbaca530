"""The command `panopticon`: its subcommands, each a row of SUBCOMMANDS.

    panopticon record app.py            # python3 -m panopticon_rec app.py
    panopticon convert run.pnr          # panopticon-convert run.pnr

A subcommand that is another program's work becomes that program (os.execv), so that it has its process id, signals and
terminal. What only one subcommand needs is imported when it runs: this module costs the start of each recording.
"""

import io
import os
import sys

import _signal
import panopticon_rec
from panopticon_rec.options import DURATION, FLAG, OTHER, OUTPUT, PATH, PERCENT, SIZE, SPACE, Option, Type, choice


def printable(text):
    """Return a text without what a terminal would obey, as in a thread's name: that becomes Python's escape sequences."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def fail(*texts):
    """End with status 2 and a line for each text."""
    for text in texts:
        sys.stderr.write(f"panopticon: {printable(str(text))}\n")
    sys.exit(2)


def become(program, words):
    """Become a program. words: its argv. The signals that Python ignores have their default action again."""
    for number in _signal.SIGPIPE, _signal.SIGXFSZ:
        _signal.signal(number, _signal.SIG_DFL)
    try:
        os.execv(program, words)
    except OSError as error:
        fail(f"{program}: {error.strerror}")


def find_converter():
    """Return the path of panopticon-convert, or end with a line."""
    return panopticon_rec.find_converter() or fail(panopticon_rec.NO_CONVERTER)


# ---- how subcommands run ----

def as_converter(name, *options):
    """Return a function that becomes panopticon-convert with these options before the words of the command line. It reports
    under the name of the subcommand."""
    return lambda words: become(find_converter(), [f"panopticon {name}", *options, *words])


def as_module(name, function="main"):
    """Return a function that imports the module of this name in this package, and calls its function."""
    return lambda words: getattr(__import__(f"{__name__}.{name}", fromlist=[function]), function)(words)


def as_conversion(name):
    """Return a function that becomes panopticon-convert, or writes Parquet when the name of the output says so."""
    def run(words):
        for before, word in zip(["", *words], words):
            is_output = before in ("-o", "--output") or word.startswith(("-o", "--output="))
            if is_output and word.rstrip("/").endswith(".parquet"):
                return as_module("parquet")(words)
        return as_converter(name)(words)
    return run


# ---- the table ----

RECORDER, CONVERTER, SELECTION = "recorder", "converter", "selection"


def parse_compared(path):
    if not path.endswith((".folded", ".html", ".trace", ".json", ".pftrace")):
        raise ValueError(f"{path!r} does not end in .folded, .html, .trace or .pftrace")
    return path


def parse_align(text):
    kind, _, name = text.partition(":")
    if text != "start" and not (kind == "mark" and name):
        raise ValueError(f"{text!r} is not start or mark:NAME")
    return text


class Subcommand:
    """A row of the table.

    help: what it does, a few words. usage: what follows its name. run: the function that takes the words after the name and
    returns the exit status. takes: whose options it has, RECORDER, CONVERTER, SELECTION (those of the converter that select
    a part of a capture) or None. options: its own, each a row as in panopticon_rec.options. From all this come the man page
    and the completion, too (docs/generate.py).
    """

    def __init__(self, help, usage, run, takes=CONVERTER, options=()):
        self.help, self.usage, self.run, self.takes, self.options = help, usage, run, takes, options


LIBRARY = Option("library", PATH, None, OTHER, "where panopticon_rec for that Python is",
                 "The folder that holds the package, such as the `site-packages` of the process's environment, as the process "
                 "names it.", shown="this one, or the process's")

CAPTURES = Type(str, "CAPTURE...", str, is_list=True)
COMPARED = Type(parse_compared, "FILE", str)
ALIGNED = Type(parse_align, "HOW", str)
METRICS = choice("self", "total", "calls", "mean", "p50", "p99", "max", "suspended", kept_as=str)
VIEWERS = choice("perfetto", "catapult", kept_as=str)
PIDS = Type(int, "PID", is_list=True)

SUBCOMMANDS = {
    "record": Subcommand(
        "record a Python program", "[options] (FILE | SCRIPT | -m MODULE | -c COMMAND | -) [ARGS]", as_module("record"),
        RECORDER, [Option("view", FLAG, False, OUTPUT, "open the trace at the end of the program",
                          "As `panopticon view` does. The exit status is still that of the program.")]),
    "attach": Subcommand(
        "record a running process", "PID [options]", as_module("attach"), RECORDER,
        [Option("for", DURATION, None, SPACE, "end the recording after DURATION", "Else Ctrl-C ends it, or "
                "`panopticon detach`, or the end of the process.", shown="no limit"), LIBRARY]),
    "detach": Subcommand(
        "end what attach records", "PID [options]", as_module("attach", "detach"), None, [LIBRARY]),
    "view": Subcommand(
        "show a capture, or a trace, in a viewer", "PATH... [options]", as_module("view"),
        options=[Option("viewer", VIEWERS, "perfetto", OUTPUT, "which viewer",
                        "`perfetto` is ui.perfetto.dev, in the browser. `catapult` is `chrome://tracing`: a file for it is "
                        "written next to the capture.")]),
    "ctl": Subcommand(
        "ask running processes what they record, and change it", "CAPTURE COMMAND [GLOB | TEXT] [options]",
        as_module("ctl"), None,
        [Option("process", PIDS, (), OUTPUT, "only this process", "Can be given several times. Without it: all processes."),
         Option("watch", FLAG, False, OUTPUT, "show the status anew every second", "For `status`. Ctrl-C ends it."),
         Option("json", FLAG, False, OUTPUT, "print JSON", "With `--watch`: a line every second."),
         Option("output", PATH, None, OUTPUT, "where the snapshot goes",
                "For `snapshot`. When a capture is there already, the next free name is taken.", short="o",
                shown="run-snapshot.pnr"),
         Option("last", DURATION, None, OUTPUT, "evict data older than DURATION", "For `limits`. 0s: any age is kept."),
         Option("max-size", SIZE, None, OUTPUT, "evict the oldest data beyond SIZE",
                "For `limits`. SIZE counts all processes of the capture. 0: any size is kept.")]),
    "convert": Subcommand("convert a capture to a trace, or to Parquet", "CAPTURE... [-o FILE] [options]",
                          as_conversion("convert")),
    "merge": Subcommand("convert captures of several machines to one trace", "CAPTURE... -o FILE [options]",
                        as_conversion("merge")),
    "report": Subcommand("write a capture as one HTML page", "CAPTURE [-o FILE] [options]", as_module("report")),
    "top": Subcommand("print the functions that took the most time", "CAPTURE [options]", as_converter("top", "--top")),
    "diff": Subcommand(
        "compare captures, function by function", "(BEFORE AFTER | --before CAPTURE... --after CAPTURE...) [options]",
        as_module("diff"), SELECTION,
        options=[Option("before", CAPTURES, (), OUTPUT, "captures of one side, as many as there are"),
                 Option("after", CAPTURES, (), OUTPUT, "captures of the other side",
                        "With 4 or more a side, the differences that exceed the noise are found."),
                 Option("by", METRICS, "self", OUTPUT, "what is compared, and sorted by"),
                 Option("json", FLAG, False, OUTPUT, "print all functions with all figures, as JSON"),
                 Option("output", COMPARED, None, OUTPUT, "also write all captures as one file",
                        "`.folded`: differential folded stacks for flamegraph.pl, which draws in red what has grown. "
                        "`.html`: a page with these and all figures, in the style of `panopticon report`. "
                        "`.trace`, `.json`, `.pftrace`: one timeline of all captures.", short="o"),
                 Option("align", ALIGNED, "start", OUTPUT, "what is at the same time in all captures",
                        "For one timeline. `start`: their starts. `mark:NAME`: their first instant or span of that name."),
                 Option("fail-above", PERCENT, None, OUTPUT, "exit with status 1 if a function is slower",
                        "That is when its total time has risen by more than PERCENT of what it was and is 1 % of all or "
                        "more. With 4 or more captures a side, the difference must also exceed the noise.")]),
    "sql": Subcommand(
        "ask captures a question in SQL", "CAPTURE... QUERY [options]", as_module("sql"), None,
        [Option("json", FLAG, False, OUTPUT, "print JSON: a list of objects"),
         Option("csv", FLAG, False, OUTPUT, "print CSV, with the names of the columns")]),
    "info": Subcommand("print what is in a capture", "CAPTURE [options]", as_converter("info", "--info")),
    "verify": Subcommand("read all of a capture and report damage", "CAPTURE [options]",
                         as_converter("verify", "--verify")),
}


# ---- the command line ----

def format_help():
    return "\n".join(["usage: panopticon SUBCOMMAND [options] ...", "",
                      *(f"  {name:<10} {row.help}" for name, row in SUBCOMMANDS.items()), "",
                      "panopticon SUBCOMMAND --help describes each.", ""])


class StandardOutput(io.FileIO):
    """Standard output, whose errors have its name."""

    NAME = "standard output"

    def __init__(self):
        super().__init__(1, "w", closefd=False)

    def write(self, data):
        try:
            return super().write(data)
        except OSError as error:
            error.filename = self.NAME
            raise


def open_output():
    """Return a stream of text to standard output, with its encoding and what becomes of characters that this does not have."""
    raw = StandardOutput()
    return io.TextIOWrapper(io.BufferedWriter(raw), sys.stdout.encoding, sys.stdout.errors, line_buffering=raw.isatty())


def discard_output():
    """Write nothing more to standard output: what is still in its buffer cannot be written."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def main():
    """Run the command line. Returns the exit status. What goes wrong is reported in a line, also that nobody reads the output
    or that the disk is full."""
    sys.stdout = sys.stdout and open_output()
    for stream in "stdout", "stderr":
        if not getattr(sys, stream):    # closed; a program that takes this one's place finds it so, too
            setattr(sys, stream, open(os.devnull, "w"))
        if getattr(sys, stream).errors in ("strict", "surrogateescape"):        # not what PYTHONIOENCODING asks for
            getattr(sys, stream).reconfigure(errors="backslashreplace")         # a path may be any bytes
    name, *words = sys.argv[1:] or ["--help"]
    try:
        try:
            return run(name, words)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 128 + _signal.SIGINT
    except OSError as error:
        why, where = error.strerror or error, error.filename
        if where == StandardOutput.NAME:
            discard_output()
            where += ": cannot write"
        fail(f"{name}: {where}: {why}" if where else f"{name}: {why}")


def run(name, words):
    """Run a subcommand. Returns its exit status. Raises OSError when standard output cannot be written."""
    if name in ("-h", "--help"):
        sys.stdout.write(format_help())
        return 0
    if name == "--version":
        sys.stdout.write(f"panopticon {panopticon_rec.__version__}\n")
        return 0
    if name not in SUBCOMMANDS:
        is_program = name[:1] != "-" and (os.path.exists(name) or name.endswith(".py"))
        hint = f"to record a program: panopticon record {name}" if is_program else "try --help"
        fail(f"there is no subcommand {name} ({hint})")
    return SUBCOMMANDS[name].run(words)
