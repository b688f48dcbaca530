"""panopticon view: shows captures, and traces, in a viewer.

ui.perfetto.dev runs in the browser, and fetches a trace from 127.0.0.1:9001 when its address says so. Its content security
policy allows no other port. Each trace is converted into a temporary folder and served until it has been fetched once. No
other page can read it, as the answer allows one origin alone. The path of the trace contains a number that nobody can
guess; another user of the machine may see it in the command line of the browser, as long as the trace is served.
"""

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import urllib.parse

import panopticon_rec
from panopticon_rec import options

from . import SUBCOMMANDS, fail, find_converter

ROW = SUBCOMMANDS["view"]
ADDRESS, PORT = "127.0.0.1", 9001
PERFETTO = "https://ui.perfetto.dev"
ABOUT = (
    "PATH is a capture, such as `run.pnr`, or a trace that has been made of one (`.trace`, `.json`, `.pftrace`, "
    "`.perfetto-trace`, also with `.gz`), such as the parts that `panopticon convert --split` writes. Each is shown in "
    "a tab of its own. The other options are those of `panopticon convert`, for all captures.")
NAME = "panopticon view"                # in messages of the converter
NOT_HERE = {"output": "convert -o", "format": "convert --format", "split": "convert --split", "top": "top",
            "json": "top --json", "info": "info", "verify": "verify"}


def main(words):
    """View. Returns the exit status."""
    if any(word in ("-h", "--help") for word in words):
        return print_help("-h" in words)
    if "--version" in words:
        sys.stdout.write(f"panopticon {panopticon_rec.__version__}\n")
        return 0
    paths, viewer, others = parse(words)
    if not paths:
        fail("view what? Give a capture, such as run.pnr, or a trace")
    return show(paths, viewer, others)


def print_help(is_short):
    own = "\n".join(map(options.format_option, ROW.options))
    lines = [f"usage: panopticon view {ROW.usage}", "", own]
    if not is_short:
        lines = [lines[0], "", "Shows what was recorded in a viewer.", options.fill(ABOUT), "", own,
                 *(options.fill(row.more, " " * 8) for row in ROW.options)]
    sys.stdout.write("\n".join([*lines, "", "For captures also the options of panopticon convert, such as --from.", ""]))
    return 0


# ---- the command line ----

def parse(words):
    """Return (paths, viewer, options of the converter)."""
    paths, viewer, others = [], ROW.options[0].default, []
    arguments = find_arguments()
    words = iter(words)
    for word in words:
        if word == "--":
            paths += words
        elif word[:1] != "-":
            paths.append(word)
        elif word.partition("=")[0] == "--viewer":
            viewer = parse_viewer(word, words)
        else:
            others += take_option(word, words, arguments)
    return paths, viewer, others


def parse_viewer(word, words):
    _, equals, value = word.partition("=")
    try:
        return ROW.options[0].type.parse(value if equals else next(words, ""))
    except ValueError as error:
        fail(f"--viewer: {error}")


def take_option(word, words, arguments):
    """Return an option of the converter, with its argument if that is the next word. arguments: find_arguments()."""
    flag, equals, _ = word.partition("=")
    names = [name for name in arguments if name.startswith(flag)] if flag not in arguments else [flag]
    if word.startswith("--"):
        if len(names) == 1 and names[0][2:] in NOT_HERE:
            fail(f"{names[0]} is not for a viewer: panopticon {NOT_HERE[names[0][2:]]}")
        needs_more = len(names) == 1 and arguments[names[0]] and not equals
    else:
        if word[:2] == "-o":
            fail(f"-o is not for a viewer: panopticon {NOT_HERE['output']}")
        needs_more = len(word) == 2 and arguments.get(word, False)
    return [word, *(itertools.islice(words, 1) if needs_more else [])]       # the converter reports that it is missing


def find_arguments():
    """Return the options of the converter, as its help lists them: dict of flag to whether it takes an argument."""
    found = {}
    for line in subprocess.run([find_converter(), "-h"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
        if line.startswith("  "):
            left = line[:6].strip(" ,"), line[6:].split(" ", 1)[0]
            flag, equals, _ = left[1].partition("=")
            found.update({name: bool(equals) for name in (left[0], flag) if name})
    return found


# ---- viewers ----

def show(paths, viewer="perfetto", others=()):
    """Show captures and traces. others: options of the converter. Returns the exit status."""
    traces = [is_trace(path) for path in paths]
    if others and any(traces):
        fail(f"{others[0]} needs a capture: {paths[traces.index(True)]} has been converted already")
    with Ending(), tempfile.TemporaryDirectory(prefix="panopticon-") as folder:
        return (show_in_perfetto if viewer == "perfetto" else write_for_catapult)(paths, traces, others, folder)


class Ending:
    """Has SIGTERM and SIGHUP end the process as Ctrl-C does, so that temporary files are removed."""

    def __enter__(self):
        self._before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
        for number, action in self._before.items():
            if action == signal.SIG_DFL:
                signal.signal(number, self.end)

    def end(self, number, frame):
        """End once: another signal would interrupt the removal of the files."""
        for one in self._before:
            signal.signal(one, signal.SIG_IGN)
        sys.exit(128 + number)

    def __exit__(self, *exception):
        for number, action in self._before.items():
            signal.signal(number, action)


def is_trace(path):
    """Return whether the path is that of a trace; else it is a capture. Ends with a line when it is neither."""
    if os.path.isdir(path):
        return False                    # the converter reports what is no capture
    if not os.path.exists(path):
        fail(f"{path}: No such file or directory")
    if options.is_viewable(path):
        return True
    if path.endswith(".py"):
        fail(f"{path} is a program: record it first: panopticon record {path}")
    if path.endswith(options.COMPRESSED_SUFFIXES):
        fail(f"{path} is compressed in a way that viewers do not read: uncompress it first")
    fail(f"{path} is neither a capture nor a trace (.trace, .json, .pftrace)")


def convert(capture, others, output):
    """Convert a capture. Returns whether there is an output; the converter has reported what was wrong."""
    words = [NAME, "-o", output, *others, "--", os.path.abspath(capture)]
    done = subprocess.run(words, executable=find_converter(), cwd=os.path.dirname(output) or None, check=False)
    return done.returncode in (0, 1) and os.path.exists(output)     # the status is unknown where SIGCHLD is ignored


def write_for_catapult(paths, traces, others, folder):
    del folder
    for path, is_made in zip(paths, traces):
        output = os.path.abspath(path if is_made else os.path.splitext(path.rstrip("/"))[0] + ".trace")
        if is_made and not path.removesuffix(".gz").endswith((".trace", ".json")):
            fail(f"{path} is for Perfetto alone: give the capture")
        if not is_made and not convert(path, others, output):
            return 2
        print(f"panopticon: open chrome://tracing in Chrome or Chromium, press Load, and choose {output}", file=sys.stderr)
    return 0


def show_in_perfetto(paths, traces, others, folder):
    from . import trace_server
    files = {}                          # what follows the address in a URL: path
    for number, (path, is_made) in enumerate(zip(paths, traces), 1):
        name = os.path.basename(os.path.abspath(path))
        made = os.path.abspath(path)
        if not is_made:
            name = name.removesuffix(".pnr") + ".pftrace"
            os.mkdir(os.path.join(folder, str(number)))
            made = os.path.join(folder, str(number), name)
            if not convert(path, others, made):
                return 2
        files[f"/{os.urandom(8).hex()}/{urllib.parse.quote(os.fsencode(name))}"] = made
    try:
        server = trace_server.Server((ADDRESS, PORT), PERFETTO, files)
    except OSError as error:
        fail(f"{ADDRESS}:{PORT}: {error.strerror}: the only port that ui.perfetto.dev may read; end what uses it, such "
             "as another panopticon view or trace_processor")
    with server:
        open_tabs([f"{PERFETTO}/#!/?url=http://{ADDRESS}:{PORT}{path}" for path in files])
        server.serve_until_fetched()
    return 0


def open_tabs(addresses):
    """Open the addresses in the browser, and print them: with no browser at hand the user opens them."""
    is_open = has_browser() and all([open_tab(address) for address in addresses])
    report = sys.stderr.write
    report("panopticon: opened in the browser; ends when the trace has been read, or at Ctrl-C:\n" if is_open else
           "panopticon: open this in a browser; ends when the trace has been read, or at Ctrl-C:\n")
    for address in addresses:
        report(f"    {address}\n")
    if not is_open and "SSH_CONNECTION" in os.environ:
        here = os.environ["SSH_CONNECTION"].split()[2:3]
        report(f"    first, on the machine with the browser: ssh -N -L {PORT}:{ADDRESS}:{PORT} {' '.join(here)}\n")
    sys.stderr.flush()


def has_browser():
    """Return whether a browser can show something to the user: on a screen, and not one in a terminal."""
    if os.environ.get("BROWSER"):
        return True
    is_remote = "SSH_CONNECTION" in os.environ and not os.environ.get("DISPLAY")
    return not is_remote and (sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY"))))


def open_tab(address):
    import webbrowser
    try:
        return webbrowser.open_new_tab(address)
    except webbrowser.Error:
        return False
