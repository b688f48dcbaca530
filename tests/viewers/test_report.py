"""The page of `panopticon report`, opened as a file without a network: what it shows is what --top --json and the
folded stacks of the same capture have. That of `panopticon diff`: captures whose differences are known. `scons report` bundles its libraries (tests/viewers/run)."""

import collections
import json
import os
import re
import shutil
import subprocess
import sys
import unittest

import browser
import captures
from captures import BUILD, HERE, ROOT
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

sys.path.append(str(ROOT / "tests/format"))
import capture_writer as w              # noqa: E402
import test_estimates                   # noqa: E402

BUNDLE = BUILD / "panopticon_rec/command/report/bundle.js"
UNITS = {"ns": 1, "\u00b5s": 10**3, "ms": 10**6, "s": 10**9}
MIN_WIDTH = 1.5

# Reads the bars: the names from the root to each, its left end, width, text, and role.
BARS = """
    const path = d => d ? [...path(d.parent), d.data.name] : [];
    return [...document.querySelectorAll("#graph g")].map(bar => [path(bar.__data__), bar.getBoundingClientRect().x,
        Number(bar.querySelector("rect").getAttribute("width")), bar.getAttribute("aria-label"),
        bar.getAttribute("role")]);
    """


def command(*words, **options):
    return subprocess.run([BUILD / "bin/panopticon", "report", *words], capture_output=True, text=True, timeout=100,
                          **options)


def converted(capture, *options):
    return subprocess.run([BUILD / "panopticon-convert", "-q", capture.path, *options, "-o", "-"], check=True,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=100).stdout


def nanoseconds(text):
    """The middle of what a time with three digits stands for, and how far off it may be."""
    if text == "0":
        return 0, 0
    number, unit = text.split(" ")
    digits = len(number.partition(".")[2])
    return float(number) * UNITS[unit], 0.500001 * UNITS[unit] / 10**digits


@unittest.skipUnless(BUNDLE.exists(), "scons report bundles the libraries of the page")
class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.page = browser.shared()
        cls.driver = cls.page.driver
        cls.driver.execute_cdp_cmd("Network.enable", {})
        cls.set_offline(True)
        cls.addClassCleanup(cls.set_offline, False)

    @classmethod
    def set_offline(cls, is_offline):
        cls.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {
            "offline": is_offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})

    def open(self, capture, *options, status=0, view=""):
        path = captures.new_directory() / "out.html"
        finished = command(capture.path, "-o", path, *options)
        self.assertEqual(finished.returncode, status, finished.stderr)
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.page.go(f"{path.as_uri()}#{view}")
        return path

    def tearDown(self):
        self.assertEqual(self.driver.get_log("browser"), [])
        self.assertEqual(self.page.run("return performance.getEntriesByType('resource').length"), 0)

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def press(self, *keys):
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def show(self, view):
        """Clicks the tab."""
        self.one(f"#tab-{view}").click()
        self.page.run(f"await until(() => !document.getElementById('{view}').hidden)")

    def rows(self, view):
        """The texts of the cells that the table has drawn, by field."""
        return self.page.run("""
            const view = document.getElementById(given[0]);
            await until(() => view.querySelector(".tabulator-row, .tabulator-placeholder"));
            await new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)));
            return [...view.querySelectorAll(".tabulator-row")].map(row => Object.fromEntries(
                [...row.querySelectorAll(".tabulator-cell")].map(
                    cell => [cell.getAttribute("tabulator-field"), cell.innerText])));
            """, view)

    def all_rows(self, view, *fields):
        """All rows of the table in their order, also those that are not drawn."""
        self.rows(view)
        rows = self.page.run("""
            const table = library.Tabulator.findTable(`#${given[0]} .table`)[0];
            return table.getData("active").map(row => given[1].map(field => row[field] ?? null));""", view, fields)
        return [tuple(row) for row in rows]

    def search(self, term):
        field = self.one("#term")
        field.clear()
        field.send_keys(term or " ")
        self.page.run("await new Promise(done => setTimeout(done, 300))")

    def bars(self):
        self.page.run("await new Promise(done => setTimeout(done, 600))")       # the transition
        return {tuple(path): (x, width, label) for path, x, width, label, role in self.page.run(BARS)
                if self.assertEqual(role, "treeitem") is None}

    def widths(self):
        """The width of all bars with the same path: functions of one name, such as two lambdas, are bars of their own."""
        sums = collections.Counter()
        for path, _, width, _, _ in self.page.run(BARS):
            sums[tuple(path)] += width
        return sums

    # ---- the functions

    def test_functions(self):
        for capture in captures.recorded(ROOT / "examples/demo.py"), captures.recorded(HERE / "programs/generators.py"):
            functions = json.loads(converted(capture, "--top", "--json"))["functions"]
            self.open(capture)
            self.show("functions")
            fields = "name", "calls", "self_ns", "total_ns", "mean_ns", "max_ns", "suspended_ns", "file"
            self.assertEqual(self.all_rows("functions", *fields),
                             [tuple(one.get(field) for field in fields) for one in functions])
            drawn = self.rows("functions")
            self.assertGreater(len(drawn), 10)
            for row, one in zip(drawn, functions):
                self.assertEqual((row["name"], row["calls"]), (one["name"], f"{one['calls']:,}"))
                for field in "self_ns", "total_ns", "mean_ns", "max_ns":
                    value, error = nanoseconds(row[field])
                    self.assertAlmostEqual(value, one[field], delta=error)

    def test_sort(self):
        self.open(captures.recorded(ROOT / "examples/demo.py"), view="functions")
        for field, is_text in ("calls", False), ("name", True), ("max_ns", False):
            for _ in range(2):
                self.rows("functions")
                self.one(f"#functions .tabulator-col[tabulator-field={field}]").click()
                values = [value for value, in self.all_rows("functions", field)]
                direction = self.one(f"#functions .tabulator-col[tabulator-field={field}]").get_attribute("aria-sort")
                self.assertIn(direction, ("ascending", "descending"))
                if not is_text:
                    self.assertEqual(values, sorted(values, reverse=direction == "descending"))
                    self.assertEqual(self.rows("functions")[0].keys() >= {"calls", "max_ns"}, True)
        heading = self.one("#functions .tabulator-col[tabulator-field=calls]")
        heading.send_keys(Keys.ENTER)                           # by the keyboard
        values = [value for value, in self.all_rows("functions", "calls")]
        self.assertEqual(values, sorted(values, reverse=True))

    def test_search(self):
        capture = captures.recorded(ROOT / "examples/demo.py")
        functions = json.loads(converted(capture, "--top", "--json"))["functions"]
        self.open(capture, view="functions")
        for term in "RECIPE", "asyncio/base_events", "no such function":
            self.search(term)
            found = [one["name"] for one in functions
                     if term.lower() in f"{one['name']} {one.get('file', '')}".lower()]
            self.assertEqual([name for name, in self.all_rows("functions", "name")], found)
            self.assertEqual(bool(found), "such" not in term)
        self.search("")
        self.assertEqual(len(self.all_rows("functions", "name")), len(functions))

    def test_a_name_leads_to_the_flame_graph(self):
        capture = captures.recorded(ROOT / "examples/demo.py")
        self.open(capture, view="functions")
        self.search("__main__.recipe")
        self.rows("functions")
        button = self.one("#functions .tabulator-row .tabulator-cell[tabulator-field=name] button")
        name = button.text
        button.click()
        self.assertIn("match", self.one("#frame").text)
        filled = self.page.run("return [...document.querySelectorAll('#graph g')].filter("
                               "bar => bar.querySelector('rect').getAttribute('fill') === 'var(--found)')"
                               ".map(bar => bar.__data__.data.name)")
        self.assertLessEqual(set(filled), {name})
        # the time in the bars that match, which may be nested
        stacks = [line.rpartition(" ") for line in converted(capture, "--format=folded").splitlines()]
        expected = sum(int(n) for stack, _, n in stacks if name in stack.split(";"))
        value, error = nanoseconds(re.search(r"([\d.]+ \S+) in them", self.one("#frame").text)[1])
        self.assertAlmostEqual(value, expected * 1000, delta=error + 500 * len(stacks))

    # ---- the flame graph

    def expected_bars(self, capture):
        """Total time by the names of a stack, from the folded stacks, and how far off it may be."""
        totals, roundings = collections.Counter(), collections.Counter()
        for line in converted(capture, "--format=folded").splitlines():
            stack, _, n = line.rpartition(" ")
            frames = stack.split(";")
            for depth in range(len(frames) + 1):
                totals[tuple(frames[:depth])] += int(n)
                roundings[tuple(frames[:depth])] += 1
        return totals, roundings

    def test_flame_graph(self):
        capture = captures.recorded(ROOT / "examples/demo.py")          # two threads: a level of the folded stacks
        self.open(capture)
        totals, _ = self.expected_bars(capture)
        bars, width = self.bars(), self.page.run("return document.getElementById('graph').clientWidth")
        self.assertGreater(len(bars), 50)
        sums = collections.Counter()
        for path, bar_width in self.widths().items():
            names = tuple(name.replace(" ", "_") if depth > 1 else name for depth, name in enumerate(path))[1:]
            sums[names] += bar_width
            self.assertTrue(bars[path][2].startswith(path[-1]))
        for names, found in sums.items():
            self.assertAlmostEqual(found, width * totals[names] / totals[()], delta=1 + 0.01 * found, msg=names)
        missing = [names for names, total in totals.items()
                   if names not in sums and width * total / totals[()] > MIN_WIDTH * 1.2 + 1]
        self.assertEqual(missing, [])

    def test_zoom(self):
        self.open(captures.recorded(ROOT / "examples/demo.py"))
        before, width = self.bars(), self.page.run("return document.getElementById('graph').clientWidth")
        path = max((path for path in before if path[-1].startswith("__main__")), key=lambda path: before[path][1])
        self.page.run("""
            const path = d => d ? [...path(d.parent), d.data.name] : [];
            [...document.querySelectorAll("#graph g")].find(bar => path(bar.__data__).join() === given[0].join())
                .dispatchEvent(new MouseEvent("click", { bubbles: true }));""", path)
        zoomed = self.bars()
        self.assertAlmostEqual(zoomed[path][1], width)
        self.assertEqual({one[:len(path)] for one in zoomed if len(one) > len(path)}, {path})
        scale = width / before[path][1]
        for one in zoomed.keys() & before.keys():
            if len(one) > len(path):
                self.assertAlmostEqual(zoomed[one][1], before[one][1] * scale, delta=0.01 * zoomed[one][1] + 0.01)
        self.one("#graph g[tabindex='0']").send_keys(Keys.ESCAPE)
        self.assertEqual({path: bar[1] for path, bar in self.bars().items()},
                         {path: bar[1] for path, bar in before.items()})

    def test_keyboard(self):
        self.open(captures.recorded(ROOT / "examples/demo.py"))
        bars = self.bars()
        focused = "return document.activeElement.__data__.data.name"
        self.one("#graph g[tabindex='0']").send_keys(Keys.ARROW_DOWN)
        self.assertEqual(self.page.run(focused), "MainThread")
        self.press(Keys.ARROW_RIGHT)
        self.assertEqual(self.page.run(focused), "oven")
        self.assertIn("oven", self.one("#frame").text)
        self.press(Keys.ARROW_UP, Keys.ARROW_DOWN, Keys.ENTER)
        zoomed = self.bars()
        self.assertEqual(zoomed.keys() & {path for path in bars if path[1:2] == ("oven",)}, set())
        tab = self.one("#tab-flame")
        tab.send_keys(Keys.ARROW_RIGHT)
        self.page.run("await until(() => !document.getElementById('functions').hidden)")
        self.one("body").send_keys("/")
        self.assertEqual(self.page.run("return document.activeElement.id"), "term")

    # ---- other views

    def test_views(self):
        capture = captures.recorded(HERE / "programs/threads.py")
        report = json.loads(converted(capture, "--format=report"))
        self.open(capture)
        self.show("calls")
        self.assertEqual(self.all_rows("calls", "ns", "begin_ns"),
                         [(one["ns"], one["begin_ns"]) for one in report["calls"]])
        self.show("threads")
        self.assertEqual({name for name, in self.all_rows("threads", "name")},
                         {"MainThread", "one", "two", "three", "after", "daemon"})
        self.assertEqual(len(self.rows("threads")), 6)
        self.show("tasks")
        self.assertIn("No event loop", self.one("#tasks .tabulator-placeholder").text)
        self.show("capture")
        self.assertIn("Nothing", self.one("#missing").text)
        self.assertIn("threads.py", self.one("#processes").text)
        self.show("flame")
        self.assertTrue(self.bars())

    def test_tasks(self):
        self.open(captures.recorded(ROOT / "examples/demo.py"), view="tasks")
        names = collections.Counter(row["name"] for row in self.rows("tasks"))
        trace, _ = captures.recorded(ROOT / "examples/demo.py").convert("out.trace", "--tasks")
        events = json.loads(trace.read_text())["traceEvents"]
        self.assertEqual(names, collections.Counter(event["name"] for event in events if event["ph"] == "b" and
                                                    event["name"] != "[running]"))

    def test_estimates(self):
        """Rows of muted functions are marked, and the page says with what, and why."""
        path = captures.new_directory() / "run.pnr"
        with w.Capture(path) as capture:
            test_estimates.Program(capture, 1).run(2000)
        self.open(captures.Capture(path), view="functions")
        rows = {row["name"]: row for row in self.rows("functions")}
        self.assertTrue(rows["app.leaf"]["max_ns"])
        self.assertEqual(rows["~app.leaf"]["max_ns"], "")       # it is not known
        self.assertGreater(int(rows["~app.leaf"]["calls"].replace(",", "")), 1000)
        self.assertIn("estimated", self.one("#functions .estimates").text)
        self.show("flame")
        self.assertIn("estimated", self.one("#flame .estimates").text)
        labels = {path[-1]: label for path, (_, _, label) in self.bars().items()}
        self.assertIn("estimated", labels["~app.leaf"])
        self.assertNotIn("estimated", labels["app.work"])
        self.show("capture")
        self.assertIn("3 % of the CPU time", self.one("#missing").text)
        self.assertEqual(self.one("#state").get_attribute("class"), "good")
        self.open(captures.recorded(ROOT / "examples/demo.py"))
        self.assertEqual(self.one("#flame .estimates").text, "")

    def test_late_looks(self):
        """Calls that no look saw in time may be missing: the page does not say that nothing was lost."""
        path = captures.new_directory() / "run.pnr"
        with w.Capture(path) as capture:
            for pid, unseen_ns in (7, "31000000"), (8, "44000000"), (9, "0"):
                process = capture.process(pid, unseen_ns=unseen_ns)
                main = process.function("__main__", "main", "a.py", 1)
                process.thread(1, pid, "MainThread").block([w.call(10, main), w.return_(20, main)])
                process.end(30)
        self.open(captures.Capture(path), view="capture")
        self.assertIn("Calls of muted functions of up to 44.0 ms may be missing", self.one("#missing").text)
        self.assertEqual((self.one("#state").text, self.one("#state").get_attribute("class")), ("1 note", ""))

    def test_missing(self):
        for name, text, status, is_bad in (("unrecorded_and_lost", "lost by the recorder", 0, True),
                                           ("evicted", "older events were evicted", 0, False),
                                           ("min_duration", "The recorder left out calls shorter than", 0, True)):
            with self.subTest(name):
                self.open(captures.Capture(ROOT / "tests/golden" / name / "run.pnr"), status=status, view="capture")
                self.assertIn(text, self.one("#missing").text)
                self.assertEqual(self.one("#state").get_attribute("class") == "bad", is_bad)
        capture = captures.recorded(ROOT / "examples/demo.py")
        self.open(capture, "--exclude", "asyncio*", view="capture")
        self.assertIn("--exclude asyncio*", self.one("#missing").text)
        self.open(capture, "--thread=nobody")
        self.assertIn("no calls", self.one("#graph").text)
        self.show("functions")
        self.assertEqual(self.rows("functions"), [])

    def test_hostile_names(self):
        attack = "<img src=x onerror='window.hacked=1'>"
        names = [attack, "</script><script>window.hacked=1</script>", "<!--<script>", "]]>&amp;\u2028\u2029",
                 "{{data}}", "__proto__", "constructor", "\ud800", "a\0b", "\U0001f9f5",
                 'x" onmouseover="window.hacked=1', "$&", ""]
        path = captures.new_directory() / f"{attack.replace('/', '')}.pnr"
        with w.Capture(path) as capture:
            process = capture.process(7, command=f"{attack}</title>", filters=f"exclude {attack}", stopped=attack)
            functions = [process.function(name, name, name, 1, w.COROUTINE if i == 0 else w.PLAIN)
                         for i, name in enumerate(names)]
            run = process.function("asyncio.events", "Handle._run", "e.py", 1)
            thread = process.thread(1, 7, attack)
            at, records = 10_000, [w.call(5, run), w.start(6, functions[0], 9), w.finish(9000, functions[0], 9),
                                   w.return_(9001, run)]
            for function in functions[1:]:
                records += [w.call(at, function), w.return_(at + 9000, function)]
                at += 10_000
            thread.block(records)
            process.end(at)
        self.open(captures.Capture(path), "--include", "*", f"--exclude={attack}zzz")
        shown = [re.sub("[\0\ud800-\udfff]", "\ufffd", name) for name in names]
        full = {f"{name}.{name}" if name else "" for name in shown} | {"asyncio.events.Handle._run"}
        self.assertLessEqual(full - {f"{shown[0]}.{shown[0]}"}, {path[-1] for path in self.bars()} | {""})
        for view in "functions", "calls", "threads", "tasks", "capture", "flame":
            self.show(view)
            if view in ("functions", "calls"):
                self.assertEqual({name for name, in self.all_rows(view, "name")}, full)
        self.assertIn(attack, self.page.run("return document.title"))
        self.assertEqual(self.page.run("return [typeof hacked, document.images.length, document.scripts.length]"),
                         ["undefined", 0, 3])

    # ---- the page of a comparison

    def compare(self, *words, view=""):
        """Opens the page of `panopticon diff`. Returns what that printed."""
        path = captures.new_directory() / "diff.html"
        finished = subprocess.run([BUILD / "bin/panopticon", "diff", *words, "-o", path, "--json"],
                                  capture_output=True, text=True, timeout=100)
        self.assertEqual(finished.returncode, 0, finished.stderr)
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.page.go(f"{path.as_uri()}#{view}")
        return json.loads(finished.stdout)

    def write_calls(self, command, calls, name="run.pnr"):
        """Writes a capture of a process in which main calls functions: (name, microseconds). It takes 10 us itself, and 1 for each."""
        path = captures.new_directory() / name
        with w.Capture(path) as capture:
            process = capture.process(7, command=command)
            numbers = [process.function("__main__", "main", "a.py", 1),
                       *(process.function("m", name, "m.py", i + 1) for i, (name, _) in enumerate(calls))]
            at, records = 6_000, [w.call(1_000, numbers[0])]
            for number, (_, us) in zip(numbers[1:], calls):
                records += [w.call(at, number), w.return_(at + 1000 * us, number)]
                at += 1000 * us + 1000
            process.thread(1, 7, "MainThread").block([*records, w.return_(at + 5_000, numbers[0])])
            process.end(at + 6_000)
        return path

    def test_comparison(self):
        before = self.write_calls("one/app.py", [("f", 100), ("old", 50), ("same", 40)])
        after = self.write_calls("two/app.py", [("f", 300), ("new", 20), ("same", 40)])
        printed = self.compare(before, after, view="functions")
        fields = "name", "fate", "self_ns_before", "self_ns_after", "self_ns_difference", "calls_difference"
        rows = self.all_rows("functions", *fields)
        self.assertEqual(rows, [("m.f", "", 100_000, 300_000, 200_000, 0), ("m.old", "gone", 50_000, 0, -50_000, -1),
                                ("m.new", "new", 0, 20_000, 20_000, 1), ("__main__.main", "", 13_000, 13_000, 0, 0),
                                ("m.same", "", 40_000, 40_000, 0, 0)])
        self.assertEqual([row[0] for row in rows], [row["name"] for row in printed["functions"]])
        drawn = {row["name"]: row for row in self.rows("functions")}
        self.assertEqual([drawn["m.old"][field] for field in fields[2:]], ["50.0 \u00b5s", "0", "\u221250.0 \u00b5s", "\u22121"])
        self.assertEqual(self.page.run("return [...document.querySelectorAll('main > section')].map(one => one.id)"),
                         ["flame", "functions", "capture"])
        self.assertIn("203 \u00b5s before", self.one("#summary").text)
        self.show("flame")
        bars, width = self.bars(), self.page.run("return document.getElementById('graph').clientWidth")
        root = "one/app.py \u2192 two/app.py", "MainThread", "__main__.main"      # the one process of each side
        self.assertEqual(set(bars), {root[:1], root[:2], root, *((*root, f"m.{name}") for name in ("f", "old", "new", "same"))})
        for path, us in {root: 423, (*root, "m.f"): 300, (*root, "m.old"): 50, (*root, "m.new"): 20}.items():
            self.assertAlmostEqual(bars[path][1], width * us / 423, delta=1)
        self.assertEqual(bars[(*root, "m.f")][2], "m.f, 100 \u00b5s before, 300 \u00b5s after, +200 \u00b5s, +200 %")
        fills = dict(self.page.run("""return [...document.querySelectorAll("#graph g")].map(
            bar => [bar.__data__.data.name, bar.querySelector("rect").getAttribute("fill")])"""))
        self.assertEqual({name: fills[f"m.{name}"].split(",")[0] for name in ("f", "old", "new", "same")},
                         {"f": "hsla(4", "old": "hsla(212", "new": "hsla(4", "same": "var(--plain)"})
        self.assertGreater(*(float(fills[f"m.{name}"].rstrip(")").split(",")[3]) for name in ("f", "new")))
        self.search("m.old")
        self.assertIn("1 bar matches", self.one("#frame").text)
        self.show("capture")
        self.assertIn("the noise is not known", self.one("#missing").text)
        self.assertIn(str(before), self.one("#origin").text)

    def test_estimates_of_a_comparison(self):
        """Functions with calls that were not recorded have ~, in the table and the bars, and the page says what it means."""
        before, after = captures.new_directory() / "run.pnr", captures.new_directory() / "run.pnr"
        for path, n in (before, 2000), (after, 3000):
            with w.Capture(path) as capture:
                test_estimates.Program(capture, 1).run(n)
        names = {("~" if row.get("estimated") else "") + row["name"]
                 for row in self.compare(before, after, view="functions")["functions"]}
        self.assertLessEqual({"~app.leaf", "app.work"}, names)
        self.assertEqual({name for name, in self.all_rows("functions", "name")}, names)
        self.assertIn("in part estimated", self.one("#functions .estimates").text)
        self.search("~app.leaf")
        self.assertEqual(self.all_rows("functions", "name"), [("~app.leaf",)])
        self.search("")
        self.show("flame")
        self.assertIn("in part estimated", self.one("#flame .estimates").text)
        self.assertLessEqual({"~app.leaf", "app.work"}, {path[-1] for path in self.bars()})
        self.assertEqual(self.page.run("return document.querySelectorAll('.estimates').length"), 2)

    def test_comparison_of_several(self):
        """The bars are the means of a side, and ! is at what exceeds the noise."""
        sides = [[self.write_calls("app.py", [("f", us + i), ("g", 500)]) for i in range(4)] for us in (100, 200)]
        printed = self.compare("--before", *sides[0], "--after", *sides[1], view="functions")
        self.assertEqual(self.all_rows("functions", "name", "fate")[0], ("m.f", "!"))
        self.assertEqual(len(printed["before"]), 4)
        self.assertIn("1 difference exceeds the noise", self.one("#summary").text)
        self.show("flame")
        labels = {path[-1]: label for path, (_, _, label) in self.bars().items()}
        self.assertTrue(labels["m.f"].startswith("m.f, 102 \u00b5s before, 202 \u00b5s after, +100 \u00b5s"), labels["m.f"])

    def test_comparison_of_recorded(self):
        """Of a capture with itself nothing differs; of another program all is new or gone."""
        demo = captures.recorded(ROOT / "examples/demo.py").path
        self.compare(demo, demo)
        self.assertEqual(self.page.run("""return [...new Set([...document.querySelectorAll("#graph rect")].map(
            bar => bar.getAttribute("fill")))]"""), ["var(--plain)"])
        printed = self.compare(demo, captures.recorded(HERE / "programs/generators.py").path, "--include", "__main__*",
                               view="functions")
        fates = collections.Counter(fate for fate, in self.all_rows("functions", "fate"))
        self.assertEqual(fates["gone"], sum(row.get("gone", False) for row in printed["functions"]))
        self.assertGreater(min(fates["new"], fates["gone"]), 3)

    def test_comparison_with_hostile_names(self):
        attack = "<img src=x onerror='window.hacked=1'>"
        names = [attack, "</script><script>window.hacked=1</script>", "<!--<script>", "{{data}}", "__proto__", "$&"]
        paths = [self.write_calls(f"{attack}{side}</title>", [(name, us) for name in names],
                                  f"{attack.replace('/', '')}.pnr") for side, us in (("a", 10), ("b", 20))]
        self.compare(*paths, f"--exclude={attack}zzz")
        self.assertLessEqual({f"m.{name}" for name in names}, {path[-1] for path in self.bars()})
        for view in "functions", "capture", "flame":
            self.show(view)
        self.show("functions")
        self.assertLessEqual({f"m.{name}" for name in names}, {name for name, in self.all_rows("functions", "name")})
        self.assertIn(attack, self.page.run("return document.title"))
        self.assertEqual(self.page.run("return [typeof hacked, document.images.length, document.scripts.length]"),
                         ["undefined", 0, 3])

    def test_dark(self):
        path = self.open(captures.recorded(ROOT / "examples/demo.py"))
        brightness = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
        for scheme, is_dark in ("dark", True), ("light", False):
            self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia",
                                        {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
            self.page.go(path.as_uri())
            self.assertEqual(max(self.page.run(brightness)) < 64, is_dark)

    def test_ten_thousand_functions(self):
        """And more stacks than the page has bars for."""
        n, path = 10_000, captures.new_directory() / "run.pnr"
        with w.Capture(path) as capture:
            process = capture.process(7, command="many.py")
            functions = [process.function(f"m{i % 100}", f"f{i}", "many.py", i) for i in range(n)]
            thread, at = process.thread(1, 7, "MainThread"), 10
            for start in range(0, n, 500):
                records = []
                for outer in range(start, start + 500):
                    records.append(w.call(at, functions[outer]))
                    for inner in range(8):
                        at += 100
                        records += [w.call(at, functions[(outer * 7 + inner * 31) % n]),
                                    w.return_(at + 60, functions[(outer * 7 + inner * 31) % n])]
                    at += 100
                    records.append(w.return_(at, functions[outer]))
                thread.block(records)
            process.end(at)
        self.open(captures.Capture(path))
        loaded = self.page.run("return performance.getEntriesByType('navigation')[0].loadEventEnd")
        print(f"{n} functions: loaded in {loaded:.0f} ms", file=sys.stderr)
        self.assertIn("shortest or deepest stacks", self.one(".undrawn").text)
        self.show("functions")
        self.assertEqual(len(self.all_rows("functions", "name")), n)
        self.assertLess(len(self.rows("functions")), 200)       # only those in sight are drawn
        self.search("f9999")
        self.assertEqual(self.all_rows("functions", "name"), [("m99.f9999",)])


@unittest.skipUnless(BUNDLE.exists(), "scons report bundles the libraries of the page")
class Command(unittest.TestCase):
    def setUp(self):
        self.folder = captures.new_directory()
        shutil.copytree(captures.recorded(ROOT / "examples/demo.py").path, self.folder / "run.pnr")

    def test_output(self):
        finished = command("run.pnr", cwd=self.folder)
        self.assertEqual((finished.returncode, finished.stdout), (0, ""))
        self.assertRegex(finished.stderr,
                         r"\Apanopticon: run\.html, \d\.\d MB: open it in a browser, it needs no network\n\Z")
        self.assertEqual(sorted(os.listdir(self.folder)), ["run.html", "run.pnr"])
        text = (self.folder / "run.html").read_text(encoding="utf-8")
        self.assertTrue(text.startswith("<!DOCTYPE html>"))
        finished = command("run.pnr/", "-o", "-", cwd=self.folder)
        self.assertEqual((finished.returncode, finished.stdout, finished.stderr), (0, text.replace("\r", ""), ""))
        finished = command("-q", "run.pnr", "--output=a b.html", "--from", "1ms", "--max-depth=3", cwd=self.folder)
        self.assertEqual((finished.returncode, finished.stdout, finished.stderr), (0, "", ""))
        self.assertLess((self.folder / "a b.html").stat().st_size, len(text.encode()))

    def test_one_file(self):
        """Nothing in it refers to another one."""
        command("run.pnr", cwd=self.folder)
        text = (self.folder / "run.html").read_text(encoding="utf-8")
        self.assertEqual(re.findall(r"<(?:link|script|img|iframe)[^>]*(?:src|href)", text), [])
        self.assertIn("default-src 'none'", text)
        for licence in "Apache License", "Oli Folkerd", "Mike Bostock":
            self.assertIn(licence, text)

    def test_failures(self):
        for words, status, message in (
                (["none.pnr"], 2, ": none.pnr"), ([], 2, ": no capture given"),
                (["run.pnr", "--top"], 2, "exclude each other"), (["run.pnr", "--from=x"], 2, "--from"),
                (["."], 2, ""),
                (["run.pnr", "-o", "/no/such/folder/x.html"], 2, "panopticon report: /no/such/folder/x.html: cannot write: No"),
                (["run.pnr", "-o", "run.pnr"], 2, "panopticon report: run.pnr: cannot write: Is a")):
            with self.subTest(words):
                finished = command(*words, cwd=self.folder)
                self.assertEqual(finished.returncode, status, finished.stderr)
                self.assertIn(message, finished.stderr)
                self.assertEqual(len(finished.stderr.splitlines()), 1, finished.stderr)
                self.assertEqual(os.listdir(self.folder), ["run.pnr"])
        shutil.copytree(ROOT / "tests/golden/unrecorded_and_lost/run.pnr", self.folder / "lost.pnr")
        self.assertEqual(command("lost.pnr", cwd=self.folder).returncode, 0)

    def test_help(self):
        finished = command("--help")
        self.assertEqual((finished.returncode, finished.stderr), (0, ""))
        self.assertIn("panopticon report CAPTURE", finished.stdout)

    def test_without_a_bundle(self):
        """As after a plain `scons` without npm."""
        build = self.folder / "build"
        shutil.copytree(BUILD / "bin", build / "bin", symlinks=True)
        shutil.copytree(BUILD / "panopticon_rec", build / "panopticon_rec", ignore=shutil.ignore_patterns("bundle.js"))
        shutil.copy(BUILD / "panopticon-convert", build)
        finished = subprocess.run([build / "bin/panopticon", "report", "run.pnr"], cwd=self.folder, capture_output=True,
                                  text=True)
        self.assertEqual((finished.returncode, finished.stdout), (2, ""))
        self.assertRegex(finished.stderr, r"\Apanopticon report: bundle\.js is missing here: run `scons report`.*\n\Z")


if __name__ == "__main__":
    unittest.main()
