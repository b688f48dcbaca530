"""Asks captures questions in SQL: `panopticon sql run.pnr "select ..."` (docs/tables.md).

DuckDB reads the tables of panopticon_rec.open(), each time when a query needs it, batch by batch.
"""

import csv
import itertools
import json
import shutil
import sys

from . import SUBCOMMANDS, fail
from .queried import Parser, import_package, open_captures, report_findings, table_of

ROW = SUBCOMMANDS["sql"]
ABOUT = """Asks captures a question in SQL, by DuckDB. The tables are slices, functions, stacks, counters and flows. Options that
select a part of the captures work here, too: --from, --to, --process, --thread, --include, --exclude, --min-duration."""

TABLES = "slices", "functions", "stacks", "counters", "flows"
OF_FUNCTIONS = "include", "exclude", "min_duration"     # keywords that counters do not have
MANY = 1 << 30                                          # rows or columns: all


def main(words):
    """Run the subcommand. Returns its exit status: 0, or 1 when a part of the captures could not be read."""
    parser = Parser("sql", ROW.usage, ABOUT)
    parser.add_argument("words", nargs="*", help="CAPTURE... QUERY")
    for row in ROW.options:
        parser.add_argument(f"--{row.name}", action="store_true", help=row.help)
    options = parser.parse(words)
    if len(options.words) < 2:
        fail("sql: give a capture and a query: panopticon sql run.pnr \"select function, calls from functions\"")
    duckdb = import_package("sql", "duckdb", "DuckDB", "sql")
    capture = open_captures("sql", options.words[:-1])
    connection = duckdb.connect()
    try:
        for name in TABLES:
            add_table(connection, capture, name, options.selection)
        (print_json if options.json else print_csv if options.csv else print_table)(connection, options.words[-1])
    except duckdb.Error as error:
        fail(f"sql: {error}")
    return report_findings("sql", capture)


def add_table(connection, capture, name, selection):
    selection = [one for one in selection if name != "counters" or one[0] not in OF_FUNCTIONS]
    connection.register(name, table_of(capture, name, selection))


def print_table(connection, query):
    is_terminal = sys.stdout.isatty()
    result = connection.sql(query)
    if result is not None:              # not of every statement
        result.show(max_width=shutil.get_terminal_size().columns if is_terminal else MANY,
                    max_rows=40 if is_terminal else MANY)


def execute(connection, query):
    """Return the names of the columns, and an iterator of the rows, which are not all in memory. A query that is no statement
    has neither."""
    result = connection.execute(query)
    if result is None or result.description is None:
        return [], iter(())
    return [column[0] for column in result.description], itertools.chain.from_iterable(
        iter(lambda: result.fetchmany(10_000), []))


def print_json(connection, query):
    """Print a list of objects, a line each."""
    names, rows = execute(connection, query)
    separator = "[\n"
    for row in rows:
        sys.stdout.write(separator + json.dumps(dict(zip(names, row)), default=as_json))
        separator = ",\n"
    sys.stdout.write("[]\n" if separator == "[\n" else "\n]\n")


def as_json(value):
    """Return what stands for a value that JSON does not have: a number for a decimal, else its text."""
    return float(value) if type(value).__name__ == "Decimal" else str(value)


def print_csv(connection, query):
    names, rows = execute(connection, query)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
