"""panopticon convert -o x.parquet, panopticon sql: captures as Parquet files, and questions in SQL. What pyarrow and DuckDB
find, where they are installed, is compared with what arrow_reader.py reads."""

import collections
import csv
import datetime
import json
import os
import resource
import signal
import subprocess
import time
import unittest
from pathlib import Path

import arrow_reader
import e2e
from test_tables import GOLDEN, TablesCase  # (finds the next one)

from capture_writer import START_MONOTONIC_NS, START_REALTIME_NS, Capture, Clock, call, open_, return_

try:
    import pyarrow
    import pyarrow.parquet
except ImportError:
    pyarrow = None
try:
    import duckdb
except ImportError:
    duckdb = None

S = 10**9


class CommandCase(TablesCase):
    """Runs the command by the interpreter of the tests, which has the packages."""

    def command(self, *words, status=0, **more):
        done = subprocess.run([e2e.PYTHON, e2e.COMMAND, *words], cwd=self.directory, capture_output=True, timeout=120,
                              **more)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout.decode(), done.stderr.decode()

    def write_hours(self, name, pids, hours):
        """Write a capture whose processes call f once an hour, and are in main all the time."""
        path = self.path(name)
        with Capture(path) as capture:
            for pid in pids:
                process = capture.process(pid, command="app.py")
                main = process.function("__main__", "main", "app.py", 1)
                f = process.function("__main__", "f", "app.py", 2)
                thread, at = process.thread(1, pid, "MainThread"), hours * 3600 * S
                thread.block([call(10, main)])
                for hour in range(hours):
                    begin = hour * 3600 * S + 20
                    thread.block([open_(main), call(begin, f), return_(begin + 10, f)])
                thread.block([open_(main), return_(at, main)])
                process.end(at + 10)
        return path

    def names(self):
        """The names in the directory of the test, with those that are temporary."""
        return sorted(os.listdir(self.directory))


@unittest.skipIf(e2e.IS_SANITIZED, "pyarrow is not built with the sanitizer")
class Parquet(CommandCase):
    def setUp(self):
        super().setUp()
        if not pyarrow:
            self.skipTest("pyarrow is not installed")

    def read(self, name):
        return pyarrow.parquet.read_table(self.path(name)).to_pylist()

    def test_goldens(self):
        """A file has the rows of the table, and keeps names as dictionaries, compressed by zstd."""
        for path in GOLDEN:
            with self.subTest(path.parent.name):
                capture = self.quiet(path)
                rows = arrow_reader.rows_of(capture.slices())
                self.command("convert", str(path), "-o", "run.parquet", status=0 if capture.is_whole else 1)
                self.assertEqual(self.read("run.parquet"), rows)
                found = pyarrow.parquet.read_metadata(self.path("run.parquet"))
                self.assertEqual(found.num_rows, len(rows))
                for group in range(found.num_row_groups):
                    column = found.row_group(group).column(found.schema.names.index("function"))
                    self.assertEqual((column.compression, column.has_dictionary_page), ("ZSTD", True))

    def test_large(self):
        """Several row groups, whose dictionaries grow."""
        path = self.write_calls("run.pnr", 400, 600_000)
        _, err = self.command("convert", path, "-o", "run.parquet")
        self.assertRegex(err, r"^panopticon convert: 600001 slices: run.parquet, \d+ bytes\n$")
        found = pyarrow.parquet.read_metadata(self.path("run.parquet"))
        self.assertEqual((found.num_rows, found.num_row_groups <= 3), (600_001, True))
        counts = pyarrow.parquet.read_table(self.path("run.parquet"), columns=["function"])["function"].value_counts()
        self.assertEqual({one["values"]: one["counts"] for one in counts.to_pylist()},
                         {"__main__.main": 1, **{f"m.f{i}": 1500 for i in range(400)}})

    def test_selection(self):
        path = self.write_calls("run.pnr", 10, 1000)
        self.command("convert", "-q", path, "--output=run.parquet", "--include", "m.f3", "--from", "-1s")
        self.assertEqual({row["function"] for row in self.read("run.parquet")}, {"m.f3"})
        self.command("convert", "-q", path, "-orun.parquet", "--exclude", "m.*", "--include", "m.f3")
        self.assertEqual({row["function"] for row in self.read("run.parquet")}, {"__main__.main", "m.f3"})

    def test_folder(self):
        """A name that ends in a slash: a folder of processes and hours."""
        path = self.write_hours("run.pnr", (7, 8), 24)
        self.command("convert", path, "-o", "run.parquet/")
        rows = arrow_reader.rows_of(self.quiet(path).slices())
        self.assertEqual(len(rows), 2 * 25)
        expected = {}
        for row in rows:
            began = datetime.datetime.fromtimestamp((START_REALTIME_NS + row["begin_ns"]) // S, datetime.timezone.utc)
            expected.setdefault((row.pop("pid"), f"{began:%Y-%m-%dT%H}"), []).append(row)
        found = {}
        for folder, _, names in os.walk(self.path("run.parquet")):
            for name in names:
                pid, hour = (part.split("=")[1] for part in folder.split("/")[-2:])
                rows = pyarrow.parquet.ParquetFile(os.path.join(folder, name)).read().to_pylist()
                found.setdefault((int(pid), hour), []).extend(rows)
        self.assertEqual({key: sorted(map(str, rows)) for key, rows in found.items()},
                         {key: sorted(map(str, rows)) for key, rows in expected.items()})
        _, err = self.command("convert", path, "-o", "run.parquet/", status=2)
        self.assertIn("there is one already", err)
        self.assertEqual(self.names(), ["run.parquet", "run.pnr"])

    def test_large_capture(self):
        """A capture of a gigabyte becomes a folder, also without the slash."""
        path = self.write_calls("run.pnr", 1, 10)
        with open(os.path.join(path, "process-7", "other"), "wb") as file:
            file.truncate(1 << 30)
        self.command("convert", path, "-o", "run.parquet")
        self.assertTrue(os.path.isdir(self.path("run.parquet")))

    def test_several(self):
        """Of a damaged capture and one that is missing the rest is written."""
        self.write_calls("a.pnr", 1, 10)
        path = self.write_calls("b.pnr", 1, 10)
        with open(os.path.join(path, "process-7", "segment-1", "thread-1.zst"), "r+b") as file:
            file.seek(100)
            file.write(b"damaged")
        _, err = self.command("convert", "a.pnr", "b.pnr", "c.pnr", "-o", "run.parquet", status=1)
        self.assertEqual(len(self.read("run.parquet")), 11)
        self.assertIn("convert: c.pnr: cannot open the capture: No such file or directory\n", err)
        self.assertRegex(err, r"b\.pnr/.*does not match")
        self.assertEqual({row["capture"] for row in self.read("run.parquet")}, {"a.pnr"})

    def test_hours_of_several(self):
        """The hour is that of each capture's own clock."""
        self.write_hours("a.pnr", (7,), 2)
        clock = Clock(start_monotonic_ns=START_MONOTONIC_NS + 48 * 3600 * S)
        with Capture(self.path("b.pnr")) as capture:
            process = capture.process(7, clock=clock, command="app.py")
            f = process.function("__main__", "f", "app.py", 2)
            process.thread(1, 7, "MainThread").block([call(10, f), return_(20, f)])
            process.end(30)
        self.command("convert", "a.pnr", "b.pnr", "-o", "run.parquet/")
        hours = {name for _, folders, _ in os.walk(self.path("run.parquet")) for name in folders if "hour" in name}
        self.assertEqual(hours, {"hour=2023-11-14T22", "hour=2023-11-14T23", "hour=2023-11-16T22"})

    def test_disk_full(self):
        """Nothing is left under the name, nor under another."""
        path = self.write_calls("run.pnr", 400, 200_000)
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))     # noqa: E731
        for name in "run.parquet", "run.parquet/":
            _, err = self.command("convert", path, "-o", name, status=2, preexec_fn=limit)
            self.assertRegex(err, rf"^panopticon: convert: {name}: cannot write: .*File too large\n$")
            self.assertEqual(self.names(), ["run.pnr"])
        self.command("convert", path, "-o", "nowhere/run.parquet", status=2)

    def test_names_of_any_bytes(self):
        path = self.write_calls("run.pnr", 1, 10)
        self.command("convert", "-q", path, "-o", b"no\xffutf-8.parquet")
        self.command("convert", "-q", path, "-o", b"folder\xff.parquet/")
        os.rename(os.fsencode(self.path("")) + b"no\xffutf-8.parquet", self.path("run.parquet"))
        self.assertEqual(len(self.read("run.parquet")), 11)

    def test_killed(self):
        path = self.write_calls("run.pnr", 400, 400_000)
        process = subprocess.Popen([e2e.PYTHON, e2e.COMMAND, "convert", path, "-o", self.path("run.parquet")])
        while len(self.names()) < 2 and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(60), 128 + signal.SIGTERM)
        self.assertEqual(self.names(), ["run.pnr"])

    def test_later_version(self):
        _, err = self.command("convert", str(GOLDEN[0].parent / "nothing.pnr"), "-o", "run.parquet", status=2)
        self.assertEqual(self.names(), [])
        self.assertIn("nothing.pnr", err)


@unittest.skipIf(e2e.IS_SANITIZED, "DuckDB is not built with the sanitizer")
class Sql(CommandCase):
    def setUp(self):
        super().setUp()
        if not duckdb:
            self.skipTest("DuckDB is not installed")

    def ask(self, *words, status=0):
        return json.loads(self.command("sql", *words, "--json", status=status)[0])

    def test_goldens(self):
        """The rows of all tables, over two captures at a time."""
        for paths in zip(GOLDEN[::2], GOLDEN[1::2]):
            captures = [self.quiet(path) for path in paths]
            for name in "slices", "functions", "stacks", "counters", "flows":
                expected = [row for capture in captures for row in arrow_reader.rows_of(getattr(capture, name)())]
                status = 0 if all(capture.is_whole for capture in captures) else 1
                with self.subTest(f"{paths[0].parent.name}, {name}"):
                    self.assertEqual(self.ask(*map(str, paths), f"from {name}", status=status), expected)

    def test_figures(self):
        path = self.write_calls("run.pnr", 400, 20_000)
        rows = arrow_reader.rows_of(self.quiet(path).slices())
        calls = collections.Counter(row["function"] for row in rows)
        query = "select function, count(*) n, sum(dur_ns) ns from slices group by 1 order by 2 desc, 1"
        found = self.ask(path, query)
        self.assertEqual({row["function"]: row["n"] for row in found}, calls)
        self.assertEqual(sum(row["ns"] for row in found), sum(row["dur_ns"] for row in rows))
        out, _ = self.command("sql", path, query, "--csv")
        self.assertEqual([(name, int(n), int(ns)) for name, n, ns in list(csv.reader(out.splitlines()))[1:]],
                         [tuple(row.values()) for row in found])
        out, _ = self.command("sql", path, query)
        self.assertIn("401 rows", out)
        self.assertIn("m.f399", out)                            # a table that is no terminal's is whole
        self.assertEqual(self.ask(path, "select count(*) n from slices", "--include", "m.f7", "--from", "-1s"),
                         [{"n": calls["m.f7"]}])
        self.assertEqual(self.ask(path, "select count(*) n from slices a join slices b using (begin_ns)"),
                         [{"n": sum(n * n for n in collections.Counter(row["begin_ns"] for row in rows).values())}])
        self.assertEqual(self.ask(path, "select 1.5::decimal(9, 1) d, date '2026-01-02' t, null n, [1, 2] l where true"),
                         [{"d": 1.5, "t": "2026-01-02", "n": None, "l": [1, 2]}])
        self.assertEqual(self.ask(path, "select 1 where false"), [])

    def test_no_capture(self):
        """The reason of each is reported, a line each."""
        os.mkdir(self.path("empty.pnr"))
        _, err = self.command("sql", "absent.pnr", "empty.pnr", "select 1", status=2)
        self.assertRegex(err, r"\Apanopticon: sql: absent\.pnr: .*No such file.*\npanopticon: sql: empty\.pnr: not a capture.*\n\Z")

    def test_mistakes(self):
        path = self.write_calls("it's.pnr", 1, 10)
        self.assertEqual(self.ask(path, "select distinct capture from slices"), [{"capture": path}])
        for words, line in (([path], "give a capture and a query"), ([path, "selec"], "sql: Parser Error"),
                            ([path, "from nothing"], "nothing does not exist"),
                            (["nothing.pnr", "select 1"], "No such file or directory: 'nothing.pnr'"),
                            ([path, "select 1", "--from", "x"], "--from: x: not a time"),
                            ([path, "select 1", "--max-depth", "3"], "unrecognized arguments: --max-depth"),
                            ([path, "select 1", "--from"], "--from: expected one argument")):
            with self.subTest(words=words):
                out, err = self.command("sql", *words, status=2)
                self.assertEqual(out, "")
                self.assertIn(line, err)
        for options, shown in ([], ""), (["--json"], "[]\n"), (["--csv"], "\n"):
            self.assertEqual(self.command("sql", path, "", *options), (shown, ""))
        _, err = self.command("sql", path, "nothing.pnr", "select 1", status=1)
        self.assertIn("nothing.pnr", err)
        with open("/dev/full", "w") as full:
            done = subprocess.run([e2e.PYTHON, e2e.COMMAND, "sql", path, "from slices", "--csv"], stdout=full,
                                  stderr=subprocess.PIPE)
        self.assertEqual((done.returncode, done.stderr),
                         (2, b"panopticon: sql: standard output: cannot write: No space left on device\n"))


@unittest.skipIf(e2e.IS_SANITIZED, "the command runs the interpreter without the sanitizer")
class Missing(CommandCase):
    """A package that is not installed is named in one line."""

    def without(self, package, *words):
        (Path(self.directory) / package).mkdir()
        (Path(self.directory) / package / "__init__.py").write_text(f"raise ImportError('no {package}')")
        return self.command(*words, status=2, env={**os.environ, "PYTHONPATH": self.directory})[1]

    def test_pyarrow(self):
        path = self.write_calls("run.pnr", 1, 10)
        self.assertRegex(self.without("pyarrow", "convert", path, "-o", "run.parquet"),
                         r"^panopticon: convert: pyarrow is needed, and cannot be imported \(no pyarrow\): "
                         r".* -m pip install 'panopticon-rec\[parquet\]'\n$")

    def test_duckdb(self):
        path = self.write_calls("run.pnr", 1, 10)
        self.assertRegex(self.without("duckdb", "sql", path, "select 1"),
                         r"^panopticon: sql: DuckDB is needed, and cannot be imported \(no duckdb\): "
                         r".* -m pip install 'panopticon-rec\[sql\]'\n$")


if __name__ == "__main__":
    unittest.main()
