"""panopticon_rec.open(): captures as tables with the Arrow PyCapsule interface. They are read by arrow_reader.py, which
shares no code with them, and compared with traces and profiles of the same captures; by pyarrow, polars and DuckDB
where these are installed."""

import collections
import inspect
import json
import os
import re
import subprocess
import sys
import threading
import unittest
from pathlib import Path

import e2e

sys.path.append(os.path.join(os.path.dirname(e2e.HERE), "format"))
sys.path.append(e2e.BUILD)

import arrow_reader  # noqa: E402  (where these are, is known only now)
from capture_writer import Capture, call, open_, return_  # noqa: E402

TESTS = Path(e2e.HERE).parent
GOLDEN = sorted((TESTS / "golden").glob("*/run.pnr"))
INVALID = sorted((TESTS / "invalid").glob("*/run.pnr"))
TABLES = "slices", "functions", "stacks", "counters", "flows"

# The interpreter that runs the tests has no sanitizer's runtime: they run again in one that has, see Sanitized.
IS_INSIDE = os.environ.get("TABLES_UNDER_SANITIZER") == "1"
if not e2e.IS_SANITIZED or IS_INSIDE:
    import panopticon_rec


@unittest.skipIf(e2e.IS_SANITIZED and not IS_INSIDE, "they run in an interpreter of their own")
class TablesCase(e2e.EndToEnd):
    def convert(self, path, *options):
        """What the converter writes of a capture to standard output."""
        done = subprocess.run([e2e.CONVERT, "-q", path, "-o", "-", *options], capture_output=True, timeout=60)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return done.stdout.decode()

    def events(self, path, *options):
        """The events of a capture's trace, times in nanoseconds."""
        events = json.loads(self.convert(path, *options))["traceEvents"]
        for event in events:
            event["ts"], event["dur"] = round(event["ts"] * 1000), round(event.get("dur", 0) * 1000)
        return events

    def quiet(self, path):
        """The capture, without the warnings of what is damaged in it."""
        import warnings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return panopticon_rec.open(path)

    def write_calls(self, name, functions, calls):
        """Write a capture of a thread in which main calls functions in turn, each for a microsecond."""
        path = self.path(name)
        with Capture(path) as capture:
            process = capture.process(7, command="app.py")
            main = process.function("__main__", "main", "app.py", 1)
            numbers = [process.function("m", f"f{i}", "m.py", i + 1) for i in range(functions)]
            thread = process.thread(1, 7001, "MainThread")
            records, at = [call(10, main)], 100
            for i in range(calls):
                number = numbers[i * functions // calls]
                records += [call(at, number), return_(at + 1000, number)]
                at += 2000
                if len(records) > 16000:
                    thread.block(records)
                    records = [open_(main)]
            thread.block([*records, return_(at, main)])
            process.end(at + 10)
        return path


@e2e.once
class Golden(TablesCase):
    """The golden captures: what the converter makes of them is checked elsewhere, without its code."""

    def test_slices(self):
        for path in GOLDEN:
            with self.subTest(path.parent.name):
                trace = [event for event in self.events(path, "--flows", "none", "--exact") if event["ph"] == "X"]
                flags = "exception", "unfinished", "begin_unknown", "exit_missing", "cut", "inexact"
                expected = collections.Counter(
                    (event["name"], event["cat"], event["ts"], event["dur"], event["pid"], event["tid"],
                     frozenset(flag for flag in flags if flag in event.get("args", {}))) for event in trace)
                rows = arrow_reader.rows_of(self.quiet(path).slices())
                found = collections.Counter(
                    (row["function"], row["kind"], row["begin_ns"], row["dur_ns"], row["pid"], row["tid"],
                     frozenset(flag for flag in flags if row[flag])) for row in rows)
                self.assertEqual(found, expected)

    def test_values(self):
        """Those that the program gave its spans."""
        path = TESTS / "golden" / "remarks" / "run.pnr"
        expected = [(event["ts"], event["args"]) for event in self.events(path, "--flows", "none")
                    if event["ph"] == "X" and "args" in event]
        for _, args in expected:
            for flag in "exception", "unfinished", "begin_unknown", "exit_missing":
                args.pop(flag, None)
        rows = arrow_reader.rows_of(self.quiet(path).slices(columns=["begin_ns", "values_json"]))
        found = [(row["begin_ns"], json.loads(row["values_json"])) for row in rows if row["values_json"]]
        self.assertGreater(len(found), 3)
        self.assertEqual(sorted(found, key=lambda one: one[0]),
                         sorted(((ts, args) for ts, args in expected if args), key=lambda one: one[0]))

    def test_depth_and_self(self):
        """They are those of the slices as they nest."""
        for path in GOLDEN:
            with self.subTest(path.parent.name):
                rows = arrow_reader.rows_of(self.quiet(path).slices())
                threads = collections.defaultdict(list)
                for row in rows:
                    threads[row["pid"], row["tid"]].append(row)
                for of_thread in threads.values():
                    of_thread.sort(key=lambda row: row["begin_ns"])
                    around, inside = [], collections.Counter()
                    for number, row in enumerate(of_thread):
                        while around and of_thread[around[-1]]["begin_ns"] + of_thread[around[-1]]["dur_ns"] <= \
                                row["begin_ns"]:
                            around.pop()
                        self.assertEqual(row["depth"], len(around))
                        if around:
                            inside[around[-1]] += row["dur_ns"]
                        around.append(number)
                    for number, row in enumerate(of_thread):
                        self.assertEqual(row["self_ns"], row["dur_ns"] - inside[number])

    def test_functions(self):
        keys = "calls", "primitive_calls", "total_ns", "self_ns", "mean_ns", "p50_ns", "p99_ns", "running_ns", \
            "suspended_ns", "kind"
        for path in GOLDEN:
            with self.subTest(path.parent.name):
                document = json.loads(self.convert(path, "--top", "--json"))
                expected = [(row["name"], row.get("file"), row.get("line"), row.get("estimated", False),
                             row.get("chains"), *map(row.get, keys), None if row.get("estimated") else row["max_ns"])
                            for row in document["functions"]]
                rows = arrow_reader.rows_of(self.quiet(path).functions())
                self.assertEqual([(row["function"], row["file"], row["line"], row["is_estimated"], row["flows"],
                                   *map(row.get, keys), row["max_ns"]) for row in rows], expected)

    def test_samples(self):
        """The columns are what the table of --top has; the slices of a function that calls none add up to it."""
        parts, n = ("known_ns", "ran_ns", "queued_ns", "waited_ns", "held_gil_ns"), 0
        for path in GOLDEN:
            with self.subTest(path.parent.name):
                document, capture = json.loads(self.convert(path, "--top", "--json")), self.quiet(path)
                expected = [(row["name"], *(row.get("sampled", {}).get("self", {}).get(part) or None for part in parts))
                            for row in document["functions"]]
                rows = arrow_reader.rows_of(capture.functions())
                self.assertEqual([(row["function"], *((row["self_" + part] or None) for part in parts)) for row in rows],
                                 expected)
                slices = arrow_reader.rows_of(capture.slices())
                for row in rows:
                    own = [one for one in slices if one["function"] == row["function"]]
                    if row["is_estimated"] or any(one["self_ns"] != one["dur_ns"] for one in own):
                        continue
                    for part in parts:
                        self.assertEqual(sum(one[part] or 0 for one in own), row["self_" + part] or 0)
                        n += row["self_" + part] is not None
                    self.assertEqual({one["known_ns"] is None for one in own if one["ran_ns"] is None} - {True}, set())
        self.assertGreater(n, 5)

    def test_stacks(self):
        """Their sums are those of the slices, stack by stack."""
        for path in GOLDEN:
            if path.parent.name.startswith("ledger"):
                continue                # estimates are no slices
            with self.subTest(path.parent.name):
                capture = self.quiet(path)
                stacks, found = {}, collections.Counter()
                for row in arrow_reader.rows_of(capture.stacks()):
                    around = stacks.get(row["parent_id"], (row["process"], row["thread"]))
                    stacks[row["id"]] = stack = *around, row["function"]
                    self.assertEqual(len(stack), row["depth"] + 3)
                    for key in "calls", "total_ns", "self_ns":
                        found[(*stack, key)] += row[key]
                expected = collections.Counter()
                open_at = {}
                rows = arrow_reader.rows_of(capture.slices())
                for row in sorted(rows, key=lambda row: (row["pid"], row["tid"], row["begin_ns"])):
                    above = open_at.setdefault((row["pid"], row["tid"]), [])
                    del above[row["depth"]:]
                    above.append(row["function"])
                    stack = row["process"], "greenlets" if row["is_greenlet"] else row["thread"], *above
                    for key, value in ("calls", 1), ("total_ns", row["dur_ns"]), ("self_ns", row["self_ns"]):
                        expected[(*stack, key)] += value
                self.assertEqual(+found, +expected)

    def test_counters(self):
        n = 0
        for path in GOLDEN:
            with self.subTest(path.parent.name):
                expected = [(event["ts"], event["name"], series, value) for event in self.events(path)
                            if event["ph"] == "C" and event.get("cat") == "label"
                            for series, value in event["args"].items()]
                rows = arrow_reader.rows_of(self.quiet(path).counters())
                self.assertEqual([(row["time_ns"], row["counter"], row["series"], row["value"]) for row in rows],
                                 expected)
                n += len(rows)
        self.assertGreater(n, 3)

    def test_flows(self):
        phases = {"s": "start", "t": "step", "f": "end"}
        n = 0
        for path in GOLDEN:
            with self.subTest(path.parent.name):
                expected = collections.Counter(
                    (event["ts"], event["id"], phases[event["ph"]], event["pid"], event["tid"],
                     event["cat"] == "creation")
                    for event in self.events(path, "--flows", "all,creation") if event["ph"] in phases)
                rows = arrow_reader.rows_of(self.quiet(path).flows())
                self.assertEqual(collections.Counter((row["time_ns"], row["flow"], row["phase"], row["pid"], row["tid"],
                                                      row["is_creation"]) for row in rows), expected)
                n += len(rows)
        self.assertGreater(n, 10)

    def test_selection(self):
        """Keywords mean what the converter's options of the same names do."""
        path = TESTS / "golden" / "remarks" / "run.pnr"
        for keywords, options in (({"from_": 1.5e-6, "to": "2us"}, ["--from", "1.5us", "--to", "2us"]),
                                  ({"include": "__main__.enter"}, ["--include", "__main__.enter"]),
                                  ({"include": ["__main__*"], "exclude": "__main__.main"},
                                   ["--include", "__main__*", "--exclude", "__main__.main"]),
                                  ({"thread": 7002}, ["--thread", "7002"]),
                                  ({"thread": ["worker"], "process": 7}, ["--thread", "worker"]),
                                  ({"min_duration": "100ns"}, ["--min-duration", "100ns"]),
                                  ({"min_duration": 1e-7}, ["--min-duration", "100ns"]),
                                  ({"include": "nothing"}, ["--include", "nothing"])):
            with self.subTest(keywords):
                trace = [event for event in self.events(path, "--flows", "none", *options) if event["ph"] == "X"]
                rows = arrow_reader.rows_of(self.quiet(path).slices(**keywords))
                self.assertEqual(sorted((row["begin_ns"], row["dur_ns"], row["tid"]) for row in rows),
                                 sorted((event["ts"], event["dur"], event["tid"]) for event in trace))

    def test_schema(self):
        """It is the same with and without a stream; units stand in names and in metadata."""
        capture = self.quiet(TESTS / "golden" / "remarks" / "run.pnr")
        for name in TABLES:
            table = getattr(capture, name)()
            fields, metadata = arrow_reader.schema_of(table)
            reader = arrow_reader.Reader(table)
            self.assertEqual([vars(field) for field in fields], [vars(field) for field in reader.fields])
            self.assertEqual(metadata, reader.metadata)
            self.assertEqual(table.columns, tuple(field.name for field in fields))
            self.assertEqual(metadata["panopticon.table"], name)
            self.assertEqual(metadata["panopticon.start_realtime_ns"], "1700000000000000000")
            for field in fields:
                self.assertEqual(field.metadata.get("unit"), "ns" if field.name.endswith("_ns") else None)
                self.assertTrue(field.metadata["description"])

    def test_documented(self):
        """docs/tables.md lists the columns as the schema describes them."""
        types = {"l": "int64", "i": "int32", "g": "float64", "b": "bool", "u": "string"}
        page = (TESTS.parent / "docs" / "tables.md").read_text(encoding="utf-8")
        capture = self.quiet(TESTS / "golden" / "remarks" / "run.pnr")
        for name in TABLES:
            section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
            found = [tuple(re.split(r" *\| ", line)[1:]) for line in section.splitlines() if line.startswith("| `")]
            fields, _ = arrow_reader.schema_of(getattr(capture, name)())
            self.assertEqual(found, [(f"`{field.name}`", "text" if field.dictionary else types[field.format],
                                      f"{field.metadata['description']} |") for field in fields])

    def test_signatures(self):
        """docs/tables.md has those of the methods."""
        from panopticon_rec import tables
        page = (TESTS.parent / "docs" / "tables.md").read_text(encoding="utf-8")
        lines = re.findall(r"^    panopticon_rec\.tables\.Capture\.(\w+)\((.*)\)$", page, re.M)
        self.assertEqual(tuple(name for name, _ in lines), TABLES)
        for name, text in lines:
            scope = {}
            exec(f"def described(self, {text}): pass", scope)
            self.assertEqual(inspect.signature(scope["described"]), inspect.signature(getattr(tables.Capture, name)))

    def test_columns(self):
        capture = self.quiet(TESTS / "golden" / "remarks" / "run.pnr")
        rows = arrow_reader.rows_of(capture.slices(columns=["function", "dur_ns"]))
        self.assertEqual(list(rows[0]), ["function", "dur_ns"])
        self.assertEqual(rows, [{"function": row["function"], "dur_ns": row["dur_ns"]}
                                for row in arrow_reader.rows_of(capture.slices())])
        self.assertEqual(list(arrow_reader.rows_of(capture.slices(columns="tid"))[0]), ["tid"])


class Streams(TablesCase):
    """How streams are read, and what becomes of one that is not read to its end."""

    def test_batches(self):
        """Of many rows: in bounded batches, whose texts are numbered alike in all."""
        path = self.write_calls("run.pnr", 400, 200_000)
        functions, n_rows, sizes, before = collections.Counter(), 0, [], []
        for columns in arrow_reader.Reader(panopticon_rec.open(path).slices(columns=["function", "dur_ns"])).batches():
            functions.update(columns["function"])
            sizes.append(len(columns["function"]))
        reader = arrow_reader.Reader(panopticon_rec.open(path).slices(columns=["function"]))
        while (array := reader.next_array()) is not None:
            texts = arrow_reader.read_texts(array.children[0].contents.dictionary.contents)
            self.assertEqual(texts[:len(before)], before)
            before = texts
            n_rows += array.length
            arrow_reader.release(array)
        self.assertEqual(n_rows, 200_001)
        self.assertEqual(functions, {"__main__.main": 1, **{f"m.f{i}": 500 for i in range(400)}})
        self.assertGreater(len(sizes), 2)
        self.assertLessEqual(max(sizes), 65_536 + 16_384)

    def test_early_stops(self):
        """A stream that is released early leaves nothing open, whether by its consumer or with its capsule."""
        path = self.write_calls("run.pnr", 3, 100_000)
        capture = panopticon_rec.open(path)
        before = os.listdir("/proc/self/fd")
        for number in range(50):
            reader = arrow_reader.Reader(getattr(capture, TABLES[number % len(TABLES)])())
            array = reader.next_array() if number % 2 else None
            if number % 3:
                reader.release()
            del reader
            if array:
                arrow_reader.release(array)
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_array_outlives_all(self):
        path = self.write_calls("run.pnr", 3, 10)
        reader = arrow_reader.Reader(panopticon_rec.open(path).slices())
        array = reader.next_array()
        reader.release()
        self.assertEqual(sorted(set(reader.columns_of(array)["name"])), ["f0", "f1", "f2", "main"])
        arrow_reader.release(array)

    def test_moved_child(self):
        """A consumer takes a column out of its batch."""
        path = self.write_calls("run.pnr", 3, 10)
        reader = arrow_reader.Reader(panopticon_rec.open(path).slices(columns=["name", "dur_ns"]))
        array = reader.next_array()
        moved = arrow_reader.Array.from_buffer_copy(array.children[0].contents)
        array.children[0].contents.release = type(array.release)()
        arrow_reader.release(array)
        self.assertEqual(set(arrow_reader.read_column(moved, reader.fields[0])), {"f0", "f1", "f2", "main"})
        arrow_reader.release(moved)

    def test_asked_twice(self):
        """Each stream is complete; two are read at the same time."""
        path = self.write_calls("run.pnr", 3, 100_000)
        table = panopticon_rec.open(path).slices(columns=["begin_ns"])
        one, two = arrow_reader.Reader(table).batches(), arrow_reader.Reader(table).batches()
        n = 0
        for a, b in zip(one, two, strict=True):
            self.assertEqual(a, b)
            n += len(a["begin_ns"])
        self.assertEqual(n, 100_001)

    def test_after_the_end(self):
        path = self.write_calls("run.pnr", 3, 10)
        reader = arrow_reader.Reader(panopticon_rec.open(path).functions())
        self.assertEqual(len(list(reader.batches())), 1)
        self.assertIsNone(reader.next_array())
        self.assertIsNone(reader.next_array())

    def test_other_threads(self):
        """Each batch is asked for by another thread."""
        path = self.write_calls("run.pnr", 3, 200_000)
        reader = arrow_reader.Reader(panopticon_rec.open(path).slices(columns=["begin_ns"]))
        lengths = []

        def read():
            array = reader.next_array()
            lengths.append(array.length if array else 0)
            if array:
                arrow_reader.release(array)

        while not lengths or lengths[-1]:
            thread = threading.Thread(target=read)
            thread.start()
            thread.join()
        self.assertEqual(sum(lengths), 200_001)

    def test_import_stays_cheap(self):
        """What reads tables is loaded when it is asked for."""
        done = e2e.run([e2e.PYTHON, "-c", "import sys, panopticon_rec; before = set(sys.modules); panopticon_rec.open; "
                        "print('panopticon_rec.tables' in before, 'panopticon_rec._tables' in sys.modules)"])
        self.assertEqual(done.out, "False False\n", done.err)


@e2e.once
class Several(TablesCase):
    def open(self, *paths):
        import warnings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return panopticon_rec.open(*paths)

    def test_rows(self):
        """Those of each capture, in the order of the captures."""
        capture = self.open(*GOLDEN)
        for name in TABLES:
            expected = [row for path in GOLDEN for row in arrow_reader.rows_of(getattr(self.quiet(path), name)())]
            self.assertEqual(arrow_reader.rows_of(getattr(capture, name)()), expected)
            self.assertNotIn("panopticon.capture", arrow_reader.schema_of(getattr(capture, name)())[1])
        self.assertEqual(capture.paths, tuple(map(str, GOLDEN)))

    def test_missing_and_damaged(self):
        """They are reported, and the others are read, also when one goes meanwhile."""
        one, two, three = (self.write_calls(f"{name}.pnr", 1, 10) for name in ("one", "two", "three"))
        with open(os.path.join(two, "process-7", "segment-1", "thread-1.zst"), "r+b") as file:
            file.seek(100)
            file.write(b"damaged")
        absent, text = self.path("absent.pnr"), self.path("text.pnr")
        Path(text).write_text("no capture")
        with self.assertWarnsRegex(UserWarning, "absent.pnr: cannot open the capture: No such file or directory"):
            capture = panopticon_rec.open(absent, one, two, text, three)
        self.assertFalse(capture.is_whole)
        table = capture.slices(columns=["capture"])
        self.assertEqual(collections.Counter(row["capture"] for row in arrow_reader.rows_of(table)), {one: 11, three: 11})
        for line in "absent.pnr: cannot open", "text.pnr: not a capture", "two.pnr/.*does not match":
            self.assertRegex("\n".join(capture.messages), line)
        os.rename(one, absent)
        os.rename(three, one)
        self.assertEqual({row["capture"] for row in arrow_reader.rows_of(table)}, {absent, one})
        for name in absent, one, two:
            os.rename(name, f"{name}.away")
        self.assertEqual(arrow_reader.rows_of(table), [])
        with self.assertRaisesRegex(ValueError, "absent.pnr: cannot open the capture"):
            self.open(absent, one)

    def test_selection(self):
        """A time counts from the start of each; one before the start of a capture selects nothing of it."""
        short, long = self.write_calls("short.pnr", 1, 10), self.write_calls("long.pnr", 1, 1000)
        capture = self.open(short, long)
        rows = arrow_reader.rows_of(capture.slices(from_="1ms", include="m.f0"))
        self.assertEqual({row["capture"] for row in rows}, {long})
        rows = arrow_reader.rows_of(capture.slices(to="-1ms", include="m.f0"))
        self.assertEqual({row["capture"] for row in rows}, {long})
        self.assertEqual(capture.messages, [f"{short}: --to is not after the start of the trace"])
        self.assertTrue(capture.is_whole)

    def test_one_is_open_at_a_time(self):
        """Open files and memory do not grow with the number of captures."""
        paths = [self.write_calls(f"{i}.pnr", 1, 100) for i in range(60)]
        before = len(os.listdir("/proc/self/fd"))
        reader, n_max = arrow_reader.Reader(self.open(*paths).slices(columns=["depth"])), 0
        while (array := reader.next_array()) is not None:
            arrow_reader.release(array)
            n_max = max(n_max, len(os.listdir("/proc/self/fd")))
        self.assertLess(n_max - before, 20)


@e2e.once
class BadInput(TablesCase):
    def test_no_capture(self):
        with self.assertRaises(FileNotFoundError):
            panopticon_rec.open(self.path("absent.pnr"))
        with self.assertRaisesRegex(ValueError, "not a capture"):
            panopticon_rec.open(self.directory)
        with self.assertRaises(ValueError) as raised:           # the reason of each
            panopticon_rec.open(self.path("absent.pnr"), self.directory)
        absent, other = str(raised.exception).split("\n")
        self.assertEqual(absent, f"{self.path('absent.pnr')}: cannot open the capture: No such file or directory")
        self.assertTrue(other.startswith(f"{self.directory}: not a capture"), other)

    def test_wrong_keywords(self):
        capture = panopticon_rec.open(self.write_calls("run.pnr", 1, 1))
        for keywords, error in (({"from_": "soon"}, "from_: soon: "), ({"min_duration": "1"}, "min_duration: 1: "),
                                ({"columns": ["begin"]}, "slices has no column begin"), ({"include": ""}, "include: ")):
            with self.subTest(keywords), self.assertRaisesRegex(ValueError, error):
                capture.slices(**keywords)
        with self.assertRaises(TypeError):
            capture.slices(begin=1)
        with self.assertRaises(TypeError):
            capture.slices(include=[3])

    def test_time_before_the_start(self):
        table = panopticon_rec.open(self.write_calls("run.pnr", 1, 1)).slices(to="-1h")
        with self.assertRaisesRegex(ValueError, "not after the start"):
            table.__arrow_c_stream__()

    def test_removed_meanwhile(self):
        path = self.write_calls("run.pnr", 1, 1)
        table = panopticon_rec.open(path).slices()
        os.rename(path, self.path("elsewhere.pnr"))
        with self.assertRaises(FileNotFoundError):
            table.__arrow_c_stream__()

    def test_damage(self):
        """What is damaged is named, as the converter names it; the rest is in the tables."""
        for path in INVALID:
            with self.subTest(path.parent.name):
                done = subprocess.run([e2e.CONVERT, "-q", path, "-o", "-", "--flows", "none"], capture_output=True,
                                      timeout=60)
                if done.returncode == 2:
                    with self.assertRaises((ValueError, OSError)):
                        capture = self.quiet(path)
                        arrow_reader.rows_of(capture.slices())
                    continue
                capture = self.quiet(path)
                rows = arrow_reader.rows_of(capture.slices())
                slices = [event for event in json.loads(done.stdout)["traceEvents"] if event["ph"] == "X"]
                self.assertEqual(len(rows), len(slices))
                lines = [line.removeprefix("panopticon-convert: ") for line in done.stderr.decode().splitlines()]
                self.assertEqual(sorted(capture.messages), sorted(set(lines)))


@e2e.once
class Consumers(TablesCase):
    """Where they are installed."""

    def test_pyarrow(self):
        try:
            import pyarrow
        except ImportError:
            self.skipTest("pyarrow is not installed")
        for path in GOLDEN:
            for name in TABLES:
                with self.subTest(f"{path.parent.name}: {name}"):
                    table = getattr(self.quiet(path), name)()
                    found = pyarrow.table(table)
                    found.validate(full=True)
                    self.assertEqual(found.to_pylist(), arrow_reader.rows_of(table))
        reader = pyarrow.RecordBatchReader.from_stream(
            panopticon_rec.open(self.write_calls("run.pnr", 400, 200_000)).slices())
        sizes = []
        for batch in reader:
            batch.validate(full=True)
            sizes.append(batch.num_rows)
        self.assertEqual(sum(sizes), 200_001)

    def test_polars(self):
        try:
            import polars
        except ImportError:
            self.skipTest("polars is not installed")
        frame = polars.DataFrame(panopticon_rec.open(self.write_calls("run.pnr", 400, 200_000)).slices())
        counts = dict(frame.group_by("function").len().iter_rows())
        self.assertEqual(counts, {"__main__.main": 1, **{f"m.f{i}": 500 for i in range(400)}})

    def test_duckdb(self):
        try:
            import duckdb
        except ImportError:
            self.skipTest("duckdb is not installed")
        slices = panopticon_rec.open(self.write_calls("run.pnr", 400, 200_000)).slices()
        rows = duckdb.sql("select function, count(*), sum(dur_ns) from slices where depth = 1 group by 1").fetchall()
        self.assertEqual({(name, n, int(ns)) for name, n, ns in rows}, {(f"m.f{i}", 500, 500_000) for i in range(400)})
        self.assertIsNotNone(slices)


@unittest.skipUnless(e2e.IS_SANITIZED and not IS_INSIDE, "only with a sanitizer")
class Sanitized(e2e.EndToEnd):
    def test_all(self):
        """All tests of this file, in an interpreter with the sanitizer's runtime."""
        done = e2e.run([e2e.PYTHON, "-m", "unittest", "-q", "test_tables"], cwd=e2e.HERE, timeout=500,
                       env={"TABLES_UNDER_SANITIZER": "1", "PANOPTICON_BUILD": e2e.BUILD,
                            "PANOPTICON_PYTHON": e2e.PYTHON, "PYTHONPATH": e2e.HERE})
        self.assertEqual(done.status, 0, done.err)


if __name__ == "__main__":
    unittest.main()
