"""panopticon diff: compares two captures, or several of each side, function by function (docs/diff.md).

panopticon-convert adds up each capture (captures.py). Functions of the two sides are matched (matching.py) and compared
(comparison.py), also with the noise (noise.py); table.py prints that. output.py writes files of both sides.
"""

import argparse
import json
import shutil
import sys

import panopticon_rec

from .. import SUBCOMMANDS, fail, find_converter
from . import captures, comparison, output, table

ROW = SUBCOMMANDS["diff"]
SLOWER, NOTHING, IN_PART = 1, 2, 3      # exit statuses
ABOUT = """Compares captures function by function: calls and times before, after, and the difference. With several
captures a side it reports which differences exceed the noise. Options of panopticon-convert that select a part of a
capture work here, too, for all captures: --from, --to, --process, --thread, --include, --exclude, --min-duration,
--max-depth, --exact."""
EXIT_STATUS = """Exit status: 0 all was compared; 1 with --fail-above, a function is slower; 2 nothing was compared;
3 compared, but a capture is missing or damaged."""
# The options of the converter that select a part, all with a value, besides --exact.
SELECTION = ("from", "to", "process", "thread", "include", "exclude", "min-duration", "max-depth")


def main(words):
    """Run the subcommand. Returns its exit status."""
    options = parse(words)
    before, after = paths_of(options)
    converter = find_converter()
    sides, is_whole = read_sides(converter, (before, after), options.selection or [])
    found = comparison.Comparison(*sides, options.by)
    if not found.rows:
        fail("diff: nothing is left to compare: the options leave out all functions")
    print_text(json.dumps(comparison.as_document(found), indent=1) + "\n" if options.json else
               table.text_of(found, terminal_columns()))
    if options.output:
        output.write(options.output, converter, found, options.selection or [], options.align)
    return judge(found, options.fail_above) or (0 if is_whole else IN_PART)


# ---- the command line ----

def parse(words):
    parser = argparse.ArgumentParser("panopticon diff", f"panopticon diff {ROW.usage}", ABOUT, epilog=EXIT_STATUS,
                                     allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"panopticon {panopticon_rec.__version__}")
    parser.add_argument("captures", nargs="*", metavar="CAPTURE", help=argparse.SUPPRESS)
    for row in ROW.options:
        flags = [*([f"-{row.short}"] if row.short else []), f"--{row.name}"]
        how = {"help": row.help.replace("%", "%%")}
        if not row.type.argument:
            parser.add_argument(*flags, action="store_true", **how)
        elif row.type.is_list:
            parser.add_argument(*flags, nargs="+", default=[], metavar=row.type.argument.rstrip("."), **how)
        else:
            parser.add_argument(*flags, type=checked(row.type.parse), default=row.default, metavar=row.type.argument, **how)
    for name in SELECTION:
        parser.add_argument(f"--{name}", dest="selection", action="append", type=f"--{name}={{}}".format,
                            help=argparse.SUPPRESS)
    parser.add_argument("--exact", dest="selection", action="append_const", const="--exact", help=argparse.SUPPRESS)
    return parser.parse_intermixed_args(list(join_values(words)))


def join_values(words):
    """Yield the words, with each option that selects a part and its value as one: argparse takes `-5s` for an option."""
    words = iter(words)
    for word in words:
        value = next(words, None) if word.removeprefix("--") in SELECTION and word.startswith("--") else None
        yield word if value is None else f"{word}={value}"


def checked(parse_one):
    """Return a parser of a value whose message argparse shows."""
    def parse_value(value):
        try:
            return parse_one(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return parse_value


def paths_of(options):
    """Return the paths before and after, or end with a line."""
    if not options.captures and options.before and options.after:
        return options.before, options.after
    if len(options.captures) == 2 and not options.before and not options.after:
        return options.captures[:1], options.captures[1:]
    fail("diff: give two captures, or several a side: --before A B C --after D E F")


# ---- the comparison ----

def read_sides(converter, paths, selection):
    """Return (the captures of each side, whether all are whole), or end with a line when a side has none. What is damaged
    is not compared with what is whole: it has fewer calls. So it is left out, unless its side has no other capture."""
    sides = [[captures.read(converter, path, selection) for path in side] for side in paths]
    for side, name in zip(sides, ("before", "after")):
        if not any(side):
            fail(f"diff: there is no capture to compare: {name}")
    chosen = [[capture for capture in side if capture and capture.is_whole] or list(filter(None, side)) for side in sides]
    for side, all_of_it, name in zip(chosen, sides, ("before", "after")):
        if len(side) < len(all_of_it):
            sys.stderr.write(f"panopticon diff: captures that are missing or damaged are left out: "
                             f"{len(all_of_it) - len(side)} of {len(all_of_it)}, {name}\n")
    return chosen, all(capture and capture.is_whole for side in sides for capture in side)


def judge(found, limit):
    """Return SLOWER after reporting which functions are slower than the limit, in millionths of what they were; else 0."""
    slower = found.slower(limit / 1e6) if limit is not None else []
    for row in slower:
        figure = row.figures["total"]
        sys.stderr.write(f"panopticon diff: slower by more than {limit / 1e4:g} %: {table.name_of(row)}: total "
                         f"{table.format_value('total', figure.before)} -> {table.format_value('total', figure.after)}, "
                         f"{table.format_rise(figure)}\n")
    return SLOWER if slower else 0


def print_text(text):
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


def terminal_columns():
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
