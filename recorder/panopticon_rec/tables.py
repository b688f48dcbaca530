"""Captures as tables, which pyarrow, polars, DuckDB, pandas and others read: docs/tables.md.

    capture = panopticon_rec.open("run.pnr")
    slices = capture.slices(include="myapp*")
    duckdb.sql("from slices select function, count(*) group by function")

What takes part is the Arrow PyCapsule interface, which needs no package.
"""

import os
import warnings

__all__ = ["Capture", "Table", "open"]


def open(path, *others):
    """Open a capture, or several as one, for their tables.

    path, others: of the captures, str or path-like. Returns a Capture. Warns of what in it cannot be read (UserWarning),
    and of each of several captures that cannot.

    Raises OSError when the only capture cannot be read. Raises ValueError when it is no capture, or a later version wrote
    it, or when none of several can be read; then a line for each says why. Raises ImportError when this interpreter cannot
    load the reader.
    """
    capture = Capture(path, *others)
    for line in capture.messages:
        warnings.warn(line, stacklevel=2)
    return capture


class Capture:
    """A capture that lies on disk, or several; open() makes it.

    paths: of the captures, tuple of str. path: the first one. Each table reads them anew, each time when it is read, one
    after another: of a program that still runs a later reading gives more. Their times count from the start of their own
    capture.

    The keywords of the methods select a part, as the options of panopticon-convert of the same names do. from_, to:
    seconds from the start of the trace, or text such as "20ms", "-5s" or "2026-11-26T08:00:01.5Z". process, thread: an
    id or a name, or several. include, exclude: a pattern of functions, or several; exclude decides where both match.
    min_duration: seconds, or text such as "20us". columns: names of columns, in the order in which they are wanted;
    None: all. The methods return a Table. They raise ValueError for what is no such time, pattern or column.
    """

    def __init__(self, path, *others):
        try:
            from . import _tables       # here, so that what only describes the interface needs no build
        except ImportError as error:
            raise ImportError(f"captures cannot be read here: {error}") from None
        self._reader = _tables
        self.paths = tuple(map(os.fspath, (path, *others)))
        self._findings = _tables.open(self.paths)

    def __repr__(self):
        return f"panopticon_rec.open({', '.join(map(repr, self.paths))})"

    @property
    def path(self):
        """The path of the capture, of the first of several."""
        return self.paths[0]

    @property
    def messages(self):
        """What in the captures has been found to be damaged or missing until now, list of str. What is found while a
        table is read is here afterwards."""
        return self._reader.findings(self._findings)

    @property
    def is_whole(self):
        """Whether no damage has been found until now, bool. Of the messages some report no damage."""
        return self._reader.is_whole(self._findings)

    def slices(self, *, from_=None, to=None, process=None, thread=None, include=None, exclude=None, min_duration=None,
               columns=None):
        """Return the slices, a row each: when, how long, which function, in which thread."""
        return Table(self, "slices", columns, dict(
            from_=from_, to=to, process=process, thread=thread, include=include, exclude=exclude,
            min_duration=min_duration).items())

    def functions(self, *, from_=None, to=None, process=None, thread=None, include=None, exclude=None,
                  min_duration=None, columns=None):
        """Return the functions, a row each, with the times of their calls: what `panopticon-convert --top` prints."""
        return Table(self, "functions", columns, dict(
            from_=from_, to=to, process=process, thread=thread, include=include, exclude=exclude,
            min_duration=min_duration).items())

    def stacks(self, *, from_=None, to=None, process=None, thread=None, include=None, exclude=None, min_duration=None,
               columns=None):
        """Return the different stacks, a row each, with the times of their calls: what a flame graph shows."""
        return Table(self, "stacks", columns, dict(
            from_=from_, to=to, process=process, thread=thread, include=include, exclude=exclude,
            min_duration=min_duration).items())

    def counters(self, *, from_=None, to=None, process=None, thread=None, columns=None):
        """Return the numbers that the program reported by panopticon_rec.counter(), a row each."""
        return Table(self, "counters", columns,
                     dict(from_=from_, to=to, process=process, thread=thread).items())

    def flows(self, *, from_=None, to=None, process=None, thread=None, include=None, exclude=None, min_duration=None,
              columns=None):
        """Return where flows pass slices, a row each: which slices belong to one generator, coroutine or request."""
        return Table(self, "flows", columns, dict(
            from_=from_, to=to, process=process, thread=thread, include=include, exclude=exclude,
            min_duration=min_duration).items())


class Table:
    """A table of a capture, which is read each time when its stream is asked for, batch by batch.

    columns: their names, tuple of str.
    """

    def __init__(self, capture, name, columns, selection):
        """selection: pairs of a keyword and its value, as the methods of Capture have them. Of include and exclude the
        last one that matches decides."""
        self._reader, self._name = capture._reader, name
        wanted = None if columns is None else tuple(listed(columns))
        self._query = capture._findings, capture.paths, name, tuple(write_options(selection)), wanted
        self._reader.check(*self._query)
        self.columns = self._reader.columns(name) if wanted is None else wanted

    def __repr__(self):
        return f"<{self._name} of {', '.join(map(repr, self._query[1]))}: {', '.join(self.columns)}>"

    def __arrow_c_stream__(self, requested_schema=None):
        """Return a capsule with a new ArrowArrayStream. requested_schema is not followed: the consumer converts."""
        return self._reader.stream(*self._query)

    def __arrow_c_schema__(self):
        """Return a capsule with the ArrowSchema."""
        return self._reader.schema(*self._query)


IDS, GLOBS, TIMES = ("process", "thread"), ("include", "exclude"), ("from_", "to", "min_duration")


def listed(value):
    """Return the items of a value of which there may be several, or one alone."""
    return [value] if isinstance(value, (str, int)) else value


def write_options(selection):
    """Yield the name and the text of each option that is given. Raises TypeError."""
    for name, value in selection:
        if value is not None:
            for item in [value] if name in TIMES else listed(value):
                yield name, write_option(name, item)


def write_option(name, item):
    if isinstance(item, str):
        return item
    if name in IDS and isinstance(item, int):
        return str(item)
    if name in TIMES and isinstance(item, (int, float)):
        return f"{item:.9f}s"
    raise TypeError(f"{name} cannot be {item!r}")
