"""panopticon diff: captures of which every figure is known, written here; noise of which is known what is in it."""

import contextlib
import io
import json
import os
import random
import sys
import unittest
from pathlib import Path

import e2e

sys.path.append(os.path.join(os.path.dirname(e2e.HERE), "format"))
sys.path.append(e2e.BUILD)

from capture_writer import LABEL, Capture, call, remark, return_  # noqa: E402  (where it is, is known only now)
from panopticon_rec.command.diff import captures, comparison, matching, noise, output  # noqa: E402

COMMAND = e2e.COMMAND
US = 1000


@unittest.skipIf(e2e.IS_SANITIZED, "the command runs the interpreter without the sanitizer")
@e2e.once
class Diff(e2e.EndToEnd):
    def capture(self, name, calls, **properties):
        """Write a capture in which main calls functions. calls: list of ((module, name, file, line), durations in ns)."""
        path = self.path(name)
        with Capture(path) as capture:
            process = capture.process(7, command="app.py", **properties)
            main = process.function("__main__", "main", "app.py", 1)
            records, at = [call(10, main)], 12
            for function, durations in calls:
                number = process.function(*function)
                for ns in durations:
                    records += [call(at, number), return_(at + ns, number)]
                    at += ns + 2       # main runs for that long
            process.thread(1, 7001, "MainThread").block([*records, return_(at + 5, main)])
            process.end(at + 10)
        return path

    def diff(self, *words, status=0):
        done = e2e.run([COMMAND, "diff", *words], cwd=self.directory)
        self.assertEqual(done.status, status, done.err)
        return done

    def document(self, *words, status=0):
        return json.loads(self.diff("--json", *words, status=status).out)

    def by_name(self, *words):
        return {row["name"]: row for row in self.document(*words)["functions"]}

    def test_figures(self):
        """Those of each function before, after, and their difference. Lines have moved."""
        self.capture("a.pnr", [(("m", "f", "m.py", 5), [10, 20, 30]), (("m", "old", "m.py", 9), [7])])
        self.capture("b.pnr", [(("m", "f", "m.py", 50), [10, 60, 50, 40]), (("m", "new", "m.py", 9), [8])])
        document = self.document("a.pnr", "b.pnr")
        rows = {row["name"]: row for row in document["functions"]}
        self.assertEqual([row["name"] for row in document["functions"]], ["m.f", "m.new", "m.old", "__main__.main"])
        expected = {"calls": (3, 4), "self_ns": (60, 160), "total_ns": (60, 160), "mean_ns": (20, 40), "p50_ns": (20, 40),
                    "p99_ns": (30, 60), "max_ns": (30, 60)}
        self.assertEqual({key: rows["m.f"][key] for key in expected},
                         {key: {"before": one, "after": other, "difference": other - one}
                          for key, (one, other) in expected.items()})
        self.assertEqual((rows["m.f"]["file"], rows["m.f"]["line"]), ("m.py", 50))
        self.assertTrue(rows["m.new"]["new"] and rows["m.old"]["gone"])
        self.assertEqual(rows["m.new"]["self_ns"], {"before": 0, "after": 8, "difference": 8})
        self.assertEqual(rows["m.new"]["max_ns"], {"before": None, "after": 8, "difference": None})
        self.assertEqual(document["self_ns"], {"before": 67 + 15, "after": 168 + 17, "difference": 103})
        self.assertIn("the noise is not known", document["notes"][0])

    def test_equals_top(self):
        """The figures are those of --top --json, for each golden capture."""
        golden = os.path.join(os.path.dirname(os.path.dirname(e2e.HERE)), "tests", "golden")
        n = 0
        for name in sorted(os.listdir(golden)):
            path = os.path.join(golden, name, "run.pnr")
            top = e2e.run([e2e.CONVERT, path, "--top", "--json", "-q"])
            if top.status or not json.loads(top.out)["functions"]:
                continue
            functions = json.loads(top.out)["functions"]
            rows = {(row["name"], row.get("file"), row.get("line"), row["kind"]): row
                    for row in self.document(path, path)["functions"]}
            for function in functions:
                key = function["name"], function.get("file"), function.get("line"), function["kind"]
                if function.get("estimated") or f"~{function['name']}" in {one["name"] for one in functions}:
                    continue
                for figure in "calls", "self_ns", "total_ns", "mean_ns", "p50_ns", "p99_ns", "max_ns", "suspended_ns":
                    one = rows[key].get(figure, {"before": None, "after": None, "difference": None})
                    value = function.get(figure)
                    self.assertEqual(one, {"before": value, "after": value, "difference": None if value is None else 0})
                n += 1
        self.assertGreater(n, 20)

    def noisy(self, name, chance, slowed=1.0):
        """Write a capture of 30 functions, all of whose durations are noise of some percent, and of outliers."""
        calls = []
        run = chance.gauss(1, 0.02)
        for i in range(30):
            own = run * chance.gauss(1, 0.02) * (5 if chance.random() < 0.03 else 1) * (slowed if i == 11 else 1)
            calls.append((("m", f"f{i}", "m.py", i), [max(1, round((3 + i) * US * own * chance.gauss(1, 0.05)))
                                                      for _ in range(10)]))
        return self.capture(name, calls)

    def test_noise(self):
        """One function is slower by 10 %, in 20 runs a side: it is first, and its figure right. No other is reported."""
        chance = random.Random(1)
        before = [self.noisy(f"a{i}.pnr", chance) for i in range(20)]
        after = [self.noisy(f"b{i}.pnr", chance, 1.1) for i in range(20)]
        document = self.document("--before", *before, "--after", *after)
        rows = document["functions"]
        self.assertEqual(rows[0]["name"], "m.f11")
        self.assertEqual([row["name"] for row in rows if row.get("exceeds_noise")], ["m.f11"])
        figure = rows[0]["self_ns"]
        self.assertLess(figure["difference_low"], 14 * US * 10 * 0.1)
        self.assertGreater(figure["difference_high"], 14 * US * 10 * 0.1)
        self.assertLess(abs(figure["difference"] - 14 * US * 10 * 0.1), 14 * US * 10 * 0.03)
        self.assertEqual(document["notes"], [])
        done = self.diff("--fail-above", "5%", "--before", *before, "--after", *after, status=1)
        self.assertIn("slower by more than 5 %: m.f11", done.err)
        self.assertEqual(done.err.count("\n"), 1)
        self.assertIn("!", next(line for line in done.out.splitlines() if "m.f11" in line))
        self.diff("--fail-above", "15%", "--before", *before, "--after", *after)

    def test_fail_above_one_capture(self):
        self.capture("a.pnr", [(("m", "f", "m.py", 5), [100 * US]), (("m", "small", "m.py", 9), [10])])
        self.capture("b.pnr", [(("m", "f", "m.py", 5), [104 * US]), (("m", "small", "m.py", 9), [100])])
        self.diff("a.pnr", "b.pnr", "--fail-above", "5%")
        done = self.diff("a.pnr", "b.pnr", "--fail-above=3", status=1)
        self.assertIn("m.f:5: total 100us -> 104us, +4.0%", done.err)
        self.diff("b.pnr", "a.pnr", "--fail-above=3")

    def test_folded(self):
        self.capture("a.pnr", [(("m", "f", "m.py", 5), [10 * US]), (("m", "old", "m.py", 6), [4 * US])])
        self.capture("b.pnr", [(("m", "f", "m.py", 5), [30 * US])])
        self.diff("a.pnr", "b.pnr", "-o", "diff.folded")
        with open(self.path("diff.folded"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "__main__.main;m.f 10 30\n__main__.main;m.old 4 0\n")
        self.diff("a.pnr", "b.pnr", "-o", "diff.txt", status=2)
        self.diff("a.pnr", "b.pnr", "-o", "none/diff.folded", status=2)

    def compare(self, *sides):
        """Return the comparison of captures, as the command reads them."""
        return comparison.Comparison(*([captures.read(e2e.CONVERT, path, []) for path in side] for side in sides), "self")

    def test_folded_of_a_capture_that_is_gone(self):
        """It is reported, and there is no file: the mean of the others is another one."""
        found = self.compare([self.capture("a.pnr", [])], [self.capture("b.pnr", []), self.capture("c.pnr", [])])
        os.rename(self.path("c.pnr"), self.path("elsewhere.pnr"))
        with contextlib.redirect_stderr(io.StringIO()) as err, self.assertRaises(SystemExit) as raised:
            output.write(self.path("diff.folded"), e2e.CONVERT, found, [], "start")
        self.assertEqual(raised.exception.code, 2)
        self.assertRegex(err.getvalue(), r"c\.pnr: .*No such file(.|\n)*diff\.folded: the captures cannot be converted\n$")
        self.assertEqual([name for name in os.listdir(self.directory) if "pnr" not in name], [])

    def paths_in_tree(self, *sides):
        """Return the stacks of the page: dict of their names to the times before and after."""
        found, paths, times = self.compare(*sides), [], {}
        for parent, which, *totals in output.lines_of(output.tree(found)):
            name = which if isinstance(which, str) else found.rows[which].name
            paths.append((*(paths[parent] if parent >= 0 else ()), name))
            times[paths[-1]] = totals
        return times

    def test_tree(self):
        """It has the figures of the table, which are those of one reading: a capture may grow, or go."""
        before = self.capture("a.pnr", [(("m", "f", "m.py", 5), [10])])
        after = self.capture("b.pnr", [(("m", "f", "m.py", 5), [30]), (("m", "new", "m.py", 6), [4])])
        found = self.compare([before], [after])
        for name in "a.pnr", "b.pnr":
            os.rename(self.path(name), self.path(f"{name}.away"))
        root = output.tree(found)
        process, = root.children.values()
        main, = next(iter(process.children.values())).children.values()
        self.assertEqual({found.rows[which].name: node.totals for which, node in main.children.items()},
                         {"m.f": [10, 30], "m.new": [0, 4]})

    def test_processes_of_the_tree(self):
        """Where each capture has one process, it is one, whatever the commands; else only where the command is the same."""
        def write(name, *commands):
            with Capture(self.path(name)) as capture:
                for pid, command in enumerate(commands, 7):
                    process = capture.process(pid, command=command)
                    main = process.function("__main__", "main", "app.py", 1)
                    process.thread(1, pid, "MainThread").block([call(10, main), return_(30, main)])
                    process.end(40)
            return self.path(name)
        one, two, three = (write(f"{name}.pnr", f"{name}/app.py") for name in ("one", "two", "three"))
        both, again = write("both.pnr", "one/app.py", "other/app.py"), write("again.pnr", "one/app.py")
        rest = "MainThread", "__main__.main"
        for sides, expected in (
                (([one], [two]), {"one/app.py \u2192 two/app.py": [20, 20]}),
                (([one], [again]), {"one/app.py": [20, 20]}),
                (([one, two], [three, three]), {"one/app.py, two/app.py \u2192 three/app.py": [20, 20]}),
                (([one, again], [two]), {"one/app.py \u2192 two/app.py": [20, 20]}),
                (([both], [again]), {"one/app.py": [20, 20], "other/app.py": [20, 0]}),
                (([one], [both]), {"one/app.py": [20, 20], "other/app.py": [0, 20]})):
            with self.subTest(sides):
                self.assertEqual({path[0]: times for path, times in self.paths_in_tree(*sides).items() if path[1:] == rest},
                                 expected)

    def test_timeline(self):
        """All slices of both captures, in two processes; no id occurs in both."""
        golden = os.path.join(os.path.dirname(os.path.dirname(e2e.HERE)), "tests", "golden")
        for name in "generators", "tasks", "forked", "smallest":
            path = os.path.join(golden, name, "run.pnr")
            self.diff(path, path, "-o", "both.trace", "--json")
            one, both = json.loads(e2e.run([e2e.CONVERT, path, "-q", "-o", "-"]).out), self.read_trace("both.trace")
            n = len(one["traceEvents"])
            self.assertEqual(len(both["traceEvents"]), 2 * n)
            for key in "pid", "id":
                ids = [{event[key] for event in part if key in event}
                       for part in (both["traceEvents"][:n], both["traceEvents"][n:])]
                self.assertTrue(ids[0].isdisjoint(ids[1]) and len(ids[0]) == len(ids[1]), key)
            for before, event in zip(one["traceEvents"], both["traceEvents"][n:]):
                self.assertEqual([event.get(key) for key in ("ph", "ts", "dur")],
                                 [before.get(key) for key in ("ph", "ts", "dur")])
                if event["name"] == "process_name":
                    self.assertEqual(event["args"]["name"], f"after: {before['args']['name']}")
                elif event["ph"] == "X":
                    self.assertEqual(event["name"], before["name"])
                    self.assertEqual(both["stackFrames"].get(str(event.get("sf"))),
                                     one["stackFrames"].get(str(before.get("sf"))))

    def test_align(self):
        """The first instant of that name is at the same time."""
        for name, at in ("a.pnr", 1000), ("b.pnr", 71_000):
            with Capture(self.path(name)) as capture:
                process = capture.process(7)
                main, ready = process.function("__main__", "main"), process.function("", "ready", "", 0, kind=LABEL)
                process.thread(1, 7001, "MainThread").block(
                    [call(10, main), *remark("INSTANT", at, ready), *remark("INSTANT", at + 500, ready),
                     return_(100_000, main)])
                process.end(100_010)
        times = {}
        for align in "start", "mark:ready":
            self.diff("a.pnr", "b.pnr", "-o", "both.trace", "--align", align)
            events = self.read_trace("both.trace")["traceEvents"]
            times[align] = sorted(round(event["ts"] * 1000) for event in events if event["name"] == "ready")
        self.assertEqual(times, {"start": [1000, 1500, 71_000, 71_500],
                                 "mark:ready": [71_000, 71_000, 71_500, 71_500]})
        self.diff("a.pnr", "b.pnr", "-o", "both.pftrace")
        self.diff("a.pnr", "b.pnr", "-o", "both.trace", "--align", "mark:other", status=2)
        self.diff("a.pnr", "b.pnr", "-o", "both.trace", "--align", "wall", status=2)

    def read_trace(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return json.load(file)

    def test_selection(self):
        """The converter's options that select a part are for both sides."""
        self.capture("a.pnr", [(("m", "f", "m.py", 5), [10]), (("n", "g", "n.py", 5), [10])])
        self.assertEqual({*self.by_name("a.pnr", "--include", "n", "a.pnr")}, {"n.g"})
        self.assertEqual({*self.by_name("a.pnr", "--from", "-20ns", "a.pnr")}, {"n.g", "__main__.main"})
        done = self.diff("a.pnr", "a.pnr", "--include", "none", status=2)
        self.assertIn("nothing is left to compare", done.err)

    def test_bad_input(self):
        """What cannot be read is reported, and the rest is compared."""
        for name in "abcd":
            self.capture(f"{name}.pnr", [(("m", "f", "m.py", 5), [10])])
        done = self.diff("--before", "a.pnr", "none.pnr", "--after", "c.pnr", "d.pnr", status=3)
        self.assertIn("none.pnr", done.err)
        self.assertIn("captures that are missing or damaged are left out: 1 of 2, before", done.err)
        damaged, = Path(self.path("b.pnr")).glob("**/thread-1.zst")
        damaged.write_bytes(damaged.read_bytes()[:-8] + b"damaged!")
        done = self.diff("--before", "a.pnr", "b.pnr", "--after", "c.pnr", "d.pnr", "--fail-above=5", status=3)
        self.assertIn("captures that are missing or damaged are left out: 1 of 2, before", done.err)
        self.assertIn("no function differs", done.out)
        done = self.diff("b.pnr", "c.pnr", status=3)
        self.assertIn("b.pnr: a part of it is damaged or missing", done.out)
        self.assertIn("there is no capture to compare: after", self.diff("a.pnr", "none.pnr", status=2).err)
        for words in [], ["a.pnr"], ["a.pnr", "b.pnr", "c.pnr"], ["--before", "a.pnr"], ["a.pnr", "b.pnr", "--by", "x"], \
                ["a.pnr", "b.pnr", "--fail-above", "x"], ["a.pnr", "b.pnr", "--none"]:
            done = self.diff(*words, status=2)
            self.assertNotIn("Traceback", done.err)
        self.capture("other.pnr", [(("m", "f", "m.py", 5), [10])], python="3.99", max_overhead="30000")
        notes = self.document("a.pnr", "other.pnr")["notes"]
        self.assertTrue(any("different versions of Python: 3.11.2 before, 3.99 after" in note for note in notes), notes)
        self.capture("late.pnr", [(("m", "f", "m.py", 5), [10])], max_overhead="30000", unseen_ns="31000000")
        self.assertIn("late.pnr: calls of muted functions of up to 31.0 ms may be missing: looks for slow calls came late",
                      self.document("other.pnr", "late.pnr")["notes"])

    def test_control_characters(self):
        """A name in a capture does not control the terminal."""
        self.capture("a.pnr", [(("m", "f\x1b[31m", "m.py", 5), [10])])
        self.capture("b.pnr", [(("m", "f\x1b[31m", "m.py", 5), [20])])
        self.assertIn("m.f?[31m:5", self.diff("a.pnr", "b.pnr").out)


@e2e.once
class Noise(unittest.TestCase):
    def test_false_alarms(self):
        """Of tables in which nothing differs, fewer than 5 % have any function that exceeds the noise."""
        for n, n_tables in (4, 400), (9, 60):
            chance, alarms = random.Random(n), 0
            for _ in range(n_tables):
                rows = []
                for _ in range(12):
                    values = [chance.gauss(100, 5) * (10 if chance.random() < 0.2 else 1) for _ in range(2 * n)]
                    rows.append((values[:n], values[n:]))
                alarms += min(noise.probabilities(rows)) < noise.ALPHA
            self.assertLess(alarms / n_tables, 0.05 + 2 * (0.05 * 0.95 / n_tables) ** 0.5)

    def test_too_few(self):
        self.assertEqual([noise.can_exceed(*n) for n in ((1, 1), (1, 30), (3, 3), (4, 4), (3, 5), (20, 20))],
                         [False, False, False, True, True, True])

    def test_large_difference(self):
        rows = [([100, 101, 99, 100], [200, 201, 199, 202]), ([5, 6, 7, 5], [6, 5, 5, 7])]
        p = noise.probabilities(rows)
        self.assertAlmostEqual(p[0], 2 / 70)
        self.assertGreater(p[1], 0.3)

    def test_interval(self):
        self.assertEqual(noise.interval([1, 2, 3, 4], [11, 12, 13, 14]), (7, 13))


@e2e.once
class Matching(unittest.TestCase):
    def match(self, before, after):
        """before, after: (name, file, line)."""
        pairs = matching.match(*([(name, "python", file, line) for name, file, line in side] for side in (before, after)))
        return sorted(tuple(tuple((one[2], one[3]) for one in side) for side in pair) for pair in pairs)

    def test_moved(self):
        self.assertEqual(self.match([("m.f", "/old/m.py", 5)], [("m.f", "/new/n.py", 9)]),
                         [((("/old/m.py", 5),), (("/new/n.py", 9),))])

    def test_several_files(self):
        self.assertEqual(self.match([("t.f", "/a/x/t.py", 1), ("t.f", "/a/y/t.py", 2)],
                                    [("t.f", "/b/y/t.py", 3), ("t.f", "/b/x/t.py", 4)]),
                         [((("/a/x/t.py", 1),), (("/b/x/t.py", 4),)), ((("/a/y/t.py", 2),), (("/b/y/t.py", 3),))])

    def test_lambdas(self):
        """They match in their order; if one was added, all are one row."""
        before = [("m.<lambda>", "m.py", 1), ("m.<lambda>", "m.py", 5)]
        self.assertEqual(self.match(before, [("m.<lambda>", "m.py", 15), ("m.<lambda>", "m.py", 11)]),
                         [((("m.py", 1),), (("m.py", 11),)), ((("m.py", 5),), (("m.py", 15),))])
        self.assertEqual(self.match(before, [*before, ("m.<lambda>", "m.py", 3)]),
                         [((("m.py", 1), ("m.py", 5)), (("m.py", 1), ("m.py", 3), ("m.py", 5)))])
