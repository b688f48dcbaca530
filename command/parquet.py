"""Writes the slices of captures as Parquet: `panopticon convert run.pnr -o run.parquet` (docs/tables.md).

pyarrow writes what panopticon_rec.open() reads, a row group at a time: memory does not grow with the capture.
"""

import datetime
import os
import sys

from . import fail
from .files import completed
from .queried import Parser, import_package, open_captures, report_findings, table_of

ABOUT = """Writes the slices of a capture as a Parquet file. A large capture, or a name that ends in a slash, becomes a
folder with files for each process and hour. Options that select a part of the capture work here, too: --from, --to,
--process, --thread, --include, --exclude, --min-duration."""

ROW_GROUP = 1 << 18             # rows, or slightly more: some 20 MB of memory
LARGE = 1 << 30                 # bytes of the captures from which on there is a folder
MAX_OPEN = 8                    # files of a process that are written at a time: slices end in the order of time

HOUR_NS = 3600 * 10**9


def main(words):
    """Run the subcommand. Returns its exit status: 0, or 1 when a part could not be converted."""
    parser = Parser("convert", "CAPTURE... -o FILE.parquet [options]", ABOUT)
    parser.add_argument("captures", nargs="+", metavar="CAPTURE")
    parser.add_argument("-o", "--output", metavar="FILE.parquet", help="where to write")
    parser.add_argument("-q", "--quiet", action="store_true", help="no summary; warnings are still shown")
    options = parser.parse(words)
    pyarrow = import_package("convert", "pyarrow", "pyarrow", "parquet")
    import_package("convert", "pyarrow.parquet", "pyarrow", "parquet")
    capture = open_captures("convert", options.captures)
    kind = Folder if options.output.endswith("/") or sum(map(size_of, options.captures)) >= LARGE else File
    if kind is Folder and os.path.lexists(options.output.rstrip("/")):
        fail(f"convert: {options.output}: there is one already")
    try:
        with completed(options.output.rstrip("/")) as temporary:
            reader = open_stream(pyarrow, table_of(capture, "slices", options.selection))
            writer = kind(pyarrow, temporary, reader.schema)
            write_slices(pyarrow, writer, reader)
            writer.close()
    except OSError as error:
        fail(f"convert: {options.output}: cannot write: {error.strerror or error}")
    if not options.quiet:
        sys.stderr.write(f"panopticon convert: {writer.n_rows} slices: {options.output}, {size_of(options.output)} bytes\n")
    return report_findings("convert", capture)


def size_of(path):
    """Return the bytes of a file, or of all files of a folder."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names
               if os.path.isfile(os.path.join(folder, name)))


def write_slices(pyarrow, writer, reader):
    """Give the batches to a writer, in pieces of about a row group."""
    batches, n = [], 0
    for batch in read_batches(reader):
        batches.append(batch)
        n += batch.num_rows
        if n >= ROW_GROUP:
            writer.write(unified(pyarrow, batches))
            batches, n = [], 0
    if batches:
        writer.write(unified(pyarrow, batches))


def open_stream(pyarrow, table):
    try:
        return pyarrow.RecordBatchReader.from_stream(table)
    except (OSError, ValueError) as error:
        fail(f"convert: {error}")


def read_batches(reader):
    """Yield the batches, or end with a line: a failure to read is none to write."""
    while True:
        try:
            yield reader.read_next_batch()
        except StopIteration:
            return
        except (OSError, ValueError, MemoryError) as error:
            fail(f"convert: {error}")


def unified(pyarrow, batches):
    """Return batches as one table. Its dictionaries are the same in all of it: so they are dictionaries in the file."""
    return pyarrow.Table.from_batches(batches).unify_dictionaries().combine_chunks()


class File:
    """One file with all slices."""

    def __init__(self, pyarrow, path, schema):
        self._file = ParquetFile(pyarrow, path, schema)
        self.n_rows = 0

    def write(self, table):
        self.n_rows += table.num_rows
        self._file.write_table(table)

    def close(self):
        self._file.close()


class ParquetFile:
    """A file of Parquet that is written. Python opens it, as pyarrow takes no path that is not UTF-8."""

    def __init__(self, pyarrow, path, schema):
        self._file = open(path, "xb")
        self._writer = pyarrow.parquet.ParquetWriter(self._file, schema, compression="zstd")

    def write_table(self, table):
        """Write a table as one row group. Raises OSError."""
        self._writer.write_table(table, row_group_size=table.num_rows)

    def close(self):
        self._writer.close()
        self._file.close()


class Folder:
    """A folder with a folder for each process and hour: pid=70/hour=2026-11-26T08/slices-1.parquet. The hour is that in
    which a slice begins, in UTC. As in other data of this kind, pid is no column of the files."""

    def __init__(self, pyarrow, path, _):
        self._pyarrow, self._path = pyarrow, path
        self._open = {}                 # (pid, hour) to [file, rows that are not yet written, how many]; the last used last
        self._n_files = {}              # (pid, hour) to how many files there have been
        self._pid = None
        self.n_rows = 0
        os.mkdir(path)

    def write(self, table):
        """Distribute the rows. Memory: MAX_OPEN row groups."""
        compute = __import__("pyarrow.compute").compute
        self.n_rows += table.num_rows
        starts = compute.fill_null(table["start_realtime_ns"], 0)
        hours = compute.divide(compute.add(table["begin_ns"], starts), HOUR_NS)
        table = table.append_column("hour", hours)
        keys = table.group_by(["pid", "hour"], use_threads=False).aggregate([]).to_pylist()
        for key in keys:
            pid, hour = key["pid"], key["hour"]
            rows = table.filter(compute.and_(compute.equal(table["pid"], pid), compute.equal(hours, hour)))
            self._add((pid, hour), rows.drop_columns(["pid", "hour"]))

    def close(self):
        self._close_all()

    def _add(self, key, rows):
        if key[0] != self._pid:         # processes come one after another
            self._close_all()
            self._pid = key[0]
        one = self._open.pop(key, None) or [self._new_file(key, rows.schema), [], 0]
        self._open[key] = one
        one[1].append(rows)
        one[2] += rows.num_rows
        if one[2] >= ROW_GROUP:
            self._write_rows(one)
        if len(self._open) > MAX_OPEN:
            self._close(next(iter(self._open)))

    def _new_file(self, key, schema):
        pid, hour = key
        began = datetime.datetime.fromtimestamp(hour * 3600, datetime.timezone.utc)
        folder = os.path.join(self._path, f"pid={pid}", f"hour={began:%Y-%m-%dT%H}")
        os.makedirs(folder, exist_ok=True)
        self._n_files[key] = number = self._n_files.get(key, 0) + 1
        return ParquetFile(self._pyarrow, os.path.join(folder, f"slices-{number}.parquet"), schema)

    def _write_rows(self, one):
        table = self._pyarrow.concat_tables(one[1]).unify_dictionaries().combine_chunks()
        one[0].write_table(table)
        one[1], one[2] = [], 0

    def _close(self, key):
        one = self._open.pop(key)
        if one[1]:
            self._write_rows(one)
        one[0].close()

    def _close_all(self):
        for key in list(self._open):
            self._close(key)
