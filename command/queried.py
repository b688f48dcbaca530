"""What the subcommands share that read tables of captures (docs/tables.md): options that select a part, and packages that
may be missing."""

import argparse
import importlib
import sys
import warnings

import panopticon_rec
from panopticon_rec import tables

from . import fail

# The options of the converter that tables have, too, and how a table calls them.
SELECTION = {"from": "from_", "to": "to", "process": "process", "thread": "thread", "include": "include",
             "exclude": "exclude", "min-duration": "min_duration"}


class Parser(argparse.ArgumentParser):
    """A parser of a subcommand: its words, and the options that select a part of a capture. Those are in `selection`,
    (keyword, text) in the order in which they were given. A mistake is reported in one line."""

    def __init__(self, name, usage, about):
        super().__init__(f"panopticon {name}", f"panopticon {name} {usage}", about, allow_abbrev=False)
        self.add_argument("--version", action="version", version=f"panopticon {panopticon_rec.__version__}")
        for option, keyword in SELECTION.items():
            self.add_argument(f"--{option}", dest="selection", action="append", default=[], help=argparse.SUPPRESS,
                              type=lambda text, keyword=keyword: (keyword, text))

    def error(self, message):
        fail(f"{self.prog.split()[1]}: {message} (try --help)")

    def parse(self, words):
        return self.parse_intermixed_args(list(join_values(words)))


def join_values(words):
    """Yield the words, with each option that selects a part and its value as one: argparse takes `-5s` for an option."""
    words = iter(words)
    for word in words:
        is_option = word.startswith("--") and word[2:] in SELECTION
        value = next(words, None) if is_option else None
        yield word if value is None else f"{word}={value}"


def import_package(subcommand, package, name, extra):
    """Import a package that need not be installed, or end with a line. package: how Python calls it. name: how people
    do. extra: the extra of panopticon-rec that has it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        fail(f"{subcommand}: {name} is needed, and cannot be imported ({error}): "
             f"{sys.executable} -m pip install 'panopticon-rec[{extra}]'")


def open_captures(subcommand, paths):
    """Open captures as one, or end with the reasons, a line each, when none can be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")             # `messages` has them, too
        try:
            return panopticon_rec.open(*paths)
        except (ImportError, OSError, ValueError) as error:
            fail(*(f"{subcommand}: {line}" for line in str(error).split("\n")))


def report_findings(subcommand, capture):
    """Report what was found to be damaged or missing. Returns the exit status: 0, or 1 when a part could not be read."""
    name = f"panopticon {subcommand}"
    for line in capture.messages:
        sys.stderr.write(f"{name}: {line}\n")
    return 0 if capture.is_whole else 1


def table_of(capture, name, selection, columns=None):
    """Return a table of a capture, or end with a line. selection: (keyword, text) of each option."""
    try:
        return tables.Table(capture, name, columns, selection)
    except ValueError as error:
        keyword, _, problem = str(error).partition(":")
        option = next((option for option, one in SELECTION.items() if one == keyword), keyword)
        fail(f"--{option}:{problem}")
