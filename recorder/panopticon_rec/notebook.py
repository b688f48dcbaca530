"""The magic %%panopticon of IPython and Jupyter: records a cell, and shows its functions and where the trace is.

    %load_ext panopticon_rec

    %%panopticon [options]              # those of the recorder; -o NAME.pnr names the capture [cell.pnr]
    work()

The standard library is left out; --include 'asyncio.*' adds a part of it.

The first line of such a cell becomes a statement that begins the recording, which ends with the cell. So the rest is
run as any cell is: with `await`, its last value, its errors and its names. `%panopticon` records the rest of a cell.
"""

import html
import json
import os
import shlex
import subprocess
import sys
from urllib.parse import quote

from IPython.core.error import UsageError
from IPython.display import display

import panopticon_rec
from . import options

# What runs the cells and prints tracebacks, and is not shown; also the scripts with which it is started. What these
# packages use of the standard library looks like what a cell uses of it, so that is left out as well.
PACKAGES = ("IPython", "ipykernel", "traitlets", "tornado", "zmq", "jupyter_client", "comm", "matplotlib_inline",
            "dateutil", "psutil", "prompt_toolkit", "jedi", "pygments", "stack_data", "executing", "asttokens",
            "pure_eval")
SCRIPTS = ("*/ipykernel_launcher.py", "*/ipykernel/__main__.py", "*/IPython/__main__.py", "*/bin/ipython",
           "*/bin/ipython3")

CELLS = "*/ipykernel_[0-9]*/*", "<ipython-input-*"      # the files of cells, as Jupyter and IPython name them

FILTERS = (*(f"exclude {package}{rest}" for package in PACKAGES for rest in ("", ".*")),
           "exclude namedtuple_TokenInfo.*",            # made by the module tokenize, but is in no file
           *(f"exclude {script}" for script in SCRIPTS), *(f"include {cell}" for cell in CELLS))

N_ROWS = 30                             # of the table of functions


def load(shell):
    """Add the magic to an IPython shell."""
    magic = Magic(shell)
    shell.register_magic_function(magic.run, "line_cell", "panopticon")
    shell.input_transformers_cleanup.append(begin_with_statement)


def unload(shell):
    """Remove the magic again."""
    shell.input_transformers_cleanup.remove(begin_with_statement)
    for kind in "line", "cell":
        shell.magics_manager.magics[kind].pop("panopticon", None)


def begin_with_statement(lines):
    """Return the lines of a cell, of which the first has become a statement if it is the magic; but another cell magic
    must stay the first of its lines."""
    name, _, words = lines[0].strip().partition(" ") if lines else ("", "", "")
    if name != "%%panopticon" or "".join(lines[1:]).lstrip().startswith("%%"):
        return lines
    return [f"get_ipython().run_line_magic('panopticon', {words!r})\n", *lines[1:]]


# In a terminal IPython does not apply it to ask whether a cell is complete, which a lone statement would be.
begin_with_statement.has_side_effects = True


class Magic:
    """The magic of a shell, and the recording of the cell that runs."""

    def __init__(self, shell):
        self.shell, self.recorder, self.n_inner = shell, None, 0

    def run(self, line, cell=None):
        """Record what follows in this cell:

            %%panopticon [options of the recorder] [-o NAME.pnr]

        Afterwards the functions that took the most time are shown, and where the trace is."""
        if self.recorder:
            raise UsageError("this cell is being recorded already")
        if panopticon_rec.UNUSABLE:
            raise UsageError(panopticon_rec.UNUSABLE)
        try:
            keywords = options.parse_words(shlex.split(line), also=["output"])
            path = keywords.pop("output", "cell.pnr")
            if not path.endswith(".pnr"):
                raise options.UsageError("-o takes the name of a capture, which ends in .pnr")
            library = [] if keywords.get("mine") else ["no-stdlib"]     # it decides about libraries itself
            keywords["filters"] = [*library, *FILTERS, *keywords.get("filters", [])]
            recorder = panopticon_rec.Recorder(path, **keywords)
            self.watch(self.shell.events.register)
            self.recorder = recorder
            recorder.start()
        except (options.UsageError, ValueError, OSError) as error:
            self.forget()
            raise UsageError(f"%%panopticon: {error}") from None
        if cell is not None:
            self.shell.run_cell(cell)

    def watch(self, change):
        """Begin or end to learn where cells begin and end. change: register or unregister of the shell's events."""
        change("pre_run_cell", self.begin_inner)
        change("post_run_cell", self.end_cell)

    def forget(self):
        """Forget the recording. Returns its recorder, or None."""
        recorder, self.recorder, self.n_inner = self.recorder, None, 0
        if recorder:
            self.watch(self.shell.events.unregister)
        return recorder

    def begin_inner(self, info):
        self.n_inner += 1               # the cell runs one itself: run_cell()

    def end_cell(self, result):
        if self.n_inner:
            self.n_inner -= 1
            return
        recorder = self.forget()
        try:
            recorder.stop()
            display(Recorded(os.path.relpath(recorder.path)))
        except OSError as error:
            print(f"panopticon: {error}", file=sys.stderr)


class Recorded:
    """A cell that was recorded, as a notebook or a terminal shows it. path: of the capture."""

    def __init__(self, path):
        self.path, self.trace = path, path.removesuffix(".pnr") + ".pftrace"
        self.convert("-o", self.trace)

    def convert(self, *words):
        """Return what panopticon-convert prints. Raises OSError."""
        converter = panopticon_rec.find_converter()
        if not converter:
            raise FileNotFoundError(panopticon_rec.NO_CONVERTER)
        done = subprocess.run([converter, "-q", self.path, *words], capture_output=True, encoding="utf-8")
        if done.returncode not in (0, 1):
            raise OSError(done.stderr.strip())
        sys.stderr.write(done.stderr)
        return done.stdout

    def __repr__(self):
        return f"{self.convert('--top')}\n{self.trace} is the trace: panopticon view {shlex.quote(self.path)}"

    def _repr_html_(self):
        functions = json.loads(self.convert("--top", "--json"))["functions"]
        rows = "".join(map(format_row, functions[:N_ROWS]))
        more = len(functions) - N_ROWS
        return ("<table><thead><tr><th>self</th><th>total</th><th>calls</th><th style='text-align: left'>function</th>"
                f"</tr></thead><tbody>{rows}</tbody></table>"
                f"<p>{f'{more} more functions. ' if more > 0 else ''}"
                f"Trace: <a href='{quote(self.trace)}' download>{html.escape(self.trace)}</a>, "
                f"shown by <code>panopticon view {html.escape(shlex.quote(self.path))}</code> "
                "or at <a href='https://ui.perfetto.dev' target='_blank' rel='noopener'>ui.perfetto.dev</a></p>")


def format_row(function):
    """Return the row of a function in the table. function: an element of what --top --json prints."""
    source = f"{function['file']}:{function['line']}" if "file" in function else "a C function"
    return (f"<tr><td>{format_duration(function['self_ns'])}</td><td>{format_duration(function['total_ns'])}</td>"
            f"<td>{function['calls']:,}</td><td style='text-align: left' title='{html.escape(source)}'>"
            f"<code>{html.escape(function['name'])}</code></td></tr>")


def format_duration(ns):
    """Return a duration with its unit, in three digits."""
    for unit, name in (10**9, "s"), (10**6, "ms"), (10**3, "us"):
        if ns >= unit:
            return f"{ns / unit:.{max(0, 3 - len(str(ns // unit)))}f} {name}"
    return f"{ns} ns"
