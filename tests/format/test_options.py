"""The options of both tools: what several places have about them is the same, and what they mean."""

import ast
import os
import re
import subprocess
import sys
import unittest

import conversion
from conversion import ROOT

sys.path.insert(0, str(ROOT / "docs"))
import generate

OPTIONS = generate.load_options()


def helped(flag):
    return subprocess.run([conversion.CONVERTER, flag], stdout=subprocess.PIPE, check=True, text=True).stdout


class Documentation(unittest.TestCase):
    def test_it_is_what_the_tables_say(self):
        for path, text in generate.outputs().items():
            with self.subTest(path=path):
                self.assertEqual(path.read_text(encoding="utf-8"), text, "run: python3 docs/generate.py")

    def test_help_has_all_options(self):
        """The program that was built knows those of convert/options.def."""
        rows = generate.converter().rows
        self.assertGreater(len(rows), 20)
        for flag in "-h", "--help":
            names = re.findall(r"^  (?:-\w,|   ) --([a-z-]+)", helped(flag), re.M)
            self.assertEqual(names, [row.name for row in rows])

    def test_short_help_fits_a_screen(self):
        for text in helped("-h"), OPTIONS.format_help(True):
            lines = text.splitlines()
            self.assertLessEqual(len(lines), 32)
            self.assertEqual([line for line in lines if len(line) > 79], [])

    def test_help_has_no_markup(self):
        for text in helped("--help"), helped("-h"), OPTIONS.format_help(False), OPTIONS.format_help(True):
            self.assertNotIn("`", text)

    def test_values_are_explained_with_the_same_words(self):
        self.assertEqual(generate.recorder().values, generate.converter().values)

    def test_shared_options_have_the_same_arguments(self):
        ours = {row.name: row for row in generate.recorder().rows}
        theirs = {row.name: row for row in generate.converter().rows}
        shared = ours.keys() & theirs.keys() - {"output"}
        self.assertEqual(shared, {"include", "exclude", "min-duration", "exceptions", "quiet", "help", "version"})
        for name in shared:
            self.assertEqual((ours[name].short, ours[name].argument, ours[name].default),
                             (theirs[name].short, theirs[name].argument, theirs[name].default), name)


    def test_subcommands_have_options_that_exist(self):
        """Those of the command `panopticon`: the man page and the completion have each subcommand, and its own options."""
        page = (ROOT / "docs/man/panopticon.1").read_text(encoding="utf-8")
        for name, tool in generate.subcommands().items():
            self.assertIn(f"\\fBpanopticon {name}\\fR", page)
            names = [row.name for row in tool.rows]
            self.assertEqual(len(names), len(set(names)), name)
            for shell in "bash", "zsh", "fish":
                text = (ROOT / f"docs/completion/panopticon.{shell}").read_text(encoding="utf-8")
                self.assertIn(name, text)
        self.assertEqual(set(OPTIONS.VIEWED_SUFFIXES), {suffix for name in ("catapult", "perfetto")
                                                        for suffix in generate.formats()[name]})


    def test_what_diff_selects(self):
        """The options of `panopticon diff` that select a part are those of the converter."""
        source = (ROOT / "command/diff/__init__.py").read_text(encoding="utf-8")
        names = ast.literal_eval(re.search(r"^SELECTION = (.*)$", source, re.M)[1])
        rows = generate.selection().rows
        self.assertEqual([*names], [row.name for row in rows if row.argument])
        self.assertEqual([row.name for row in rows if not row.argument], ["exact"])


class Once(unittest.TestCase):
    """What is known in two languages."""

    def test_suffixes(self):
        """What makes the recorder convert is what the converter writes."""
        suffixes = [suffix for pair in generate.formats().values() for suffix in pair]
        self.assertEqual(sorted(OPTIONS.CONVERTED_SUFFIXES), sorted(suffixes))
        output = (ROOT / "convert/write/output.c").read_text(encoding="utf-8")
        self.assertEqual(set(OPTIONS.COMPRESSED_SUFFIXES), set(re.findall(r'"(\.\w+)"', re.search(
            r"suffixes\[\] = \{.*?\}", output, re.S)[0])))
        row = next(row for row in generate.recorder().rows if row.name == "output")
        self.assertEqual(set(re.findall(r"`(\.[\w-]+)`", row.more)),
                         {*OPTIONS.CONVERTED_SUFFIXES, *OPTIONS.COMPRESSED_SUFFIXES})
        row = next(row for row in generate.converter().rows if row.name == "format")
        self.assertEqual(sorted(re.findall(r"`(\.[\w-]+)`", row.more)), sorted(suffixes))

    def test_keywords(self):
        """C code takes over each option of a recording."""
        text = (ROOT / "recorder/cpython/options.c").read_text(encoding="utf-8")
        self.assertEqual(re.findall(r'^    \{ "(\w+)", [A-Z]+,', text, re.M),
                         [name for name in OPTIONS.KEYWORDS if name not in OPTIONS.PRESETS])

    def test_version(self):
        package = (ROOT / "recorder/panopticon_rec/__init__.py").read_text(encoding="utf-8")
        version = re.search('^__version__ = "(.*?)"', package, re.M)[1]
        self.assertEqual(helped("--version"), f"panopticon-convert {version}\n")


class Values(unittest.TestCase):
    def test_quantities(self):
        """The converter's parser is checked with the same lines: tests/unit/test_quantity.c."""
        parsers = {"size": OPTIONS.parse_size, "duration": OPTIONS.parse_duration}
        text = (ROOT / "tests/format/quantities.txt").read_text(encoding="utf-8")
        rows = re.findall(r'^(\w+) +(".*?") +(\S+)$', text, re.M)
        self.assertEqual(len(rows), sum(line[:1] != "#" for line in text.splitlines()))
        for kind, text, wanted in rows:
            with self.subTest(kind=kind, text=text):
                if wanted == "-":
                    self.assertRaisesRegex(ValueError, f"is not a {kind}", parsers[kind], ast.literal_eval(text))
                else:
                    self.assertEqual(parsers[kind](ast.literal_eval(text)), int(wanted))

    def test_numbers(self):
        self.assertEqual(OPTIONS.parse_duration(0.25), 250_000_000)
        self.assertEqual(OPTIONS.parse_size(10), 10)
        for wrong in -1, float("nan"), float("inf"), 2**63:
            self.assertRaises(ValueError, OPTIONS.parse_size, wrong)
            self.assertRaises(ValueError, OPTIONS.parse_duration, wrong)

    def test_percentages(self):
        for value, millionths in (("3", 30_000), ("3%", 30_000), ("0.5%", 5_000), ("0.1", 1_000), ("1000", 10_000_000),
                                  ("1000%", 10_000_000), ("2.99999", 29_999), (3, 30_000), (0.5, 5_000),
                                  (1000.0, 10_000_000)):
            self.assertEqual(OPTIONS.parse_percent(value), millionths, value)
        for wrong in ("", "%", "0", "0%", "0.09", "1000.1", "1001%", "3 %", " 3", "3%%", "%3", "+3", "-3", "1e1", "3k",
                      "3ms", "three", "nan", "\u0663", 0, 0.03, -3, 1001, float("nan"), float("inf")):
            self.assertRaisesRegex(ValueError, "is not a percentage from 0.1 to 1000", OPTIONS.parse_percent, wrong)
        for wrong in "3%", "%":
            self.assertRaises(ValueError, OPTIONS.parse_size, wrong)
            self.assertRaises(ValueError, OPTIONS.parse_duration, wrong)

    def test_a_budget_is_handed_on(self):
        """By the capture's file `order`, to processes that join."""
        for given in {}, {"max_overhead": None}, {"max_overhead": "0.5%"}:
            options = OPTIONS.parse(given)
            fields = [field.partition("=")[::2] for field in OPTIONS.write(options)]
            self.assertEqual(OPTIONS.read(fields)["max_overhead"], 5_000 if given.get("max_overhead") else None)
        self.assertRaisesRegex(ValueError, "^--max-overhead: '3x' is not", OPTIONS.parse, {"max_overhead": "3x"}, "--")


class CommandLine(unittest.TestCase):
    """How the recorder takes words apart."""

    def parse(self, *words):
        given, kind, target, arguments = OPTIONS.parse_command_line(words)
        return {name: value for name, value in given.items() if value not in ([], "run.pnr")}, kind, target, arguments

    def test_programs(self):
        for words, expected in (
                (["a.py", "-q", "x"], ({}, OPTIONS.FILE, "a.py", ["-q", "x"])),
                (["-q", "--", "-a.py", "--"], ({"quiet": True}, OPTIONS.FILE, "-a.py", ["--"])),
                (["-", "-q"], ({}, OPTIONS.STDIN, "-", ["-q"])),
                (["-m", "mod", "-q"], ({}, OPTIONS.MODULE, "mod", ["-q"])),
                (["-mmod", "-q"], ({}, OPTIONS.MODULE, "mod", ["-q"])),
                (["-c", "pass", "-q", "x", "-q"], ({"quiet": True}, OPTIONS.COMMAND, "pass", ["x", "-q"])),
                (["-c", "pass", "-q", "--", "-q"], ({"quiet": True}, OPTIONS.COMMAND, "pass", ["-q"])),
                (["-c", "pass", "-h"], ({}, OPTIONS.COMMAND, "pass", ["-h"])),
                (["-c", "pass", "--output=x"], ({}, OPTIONS.COMMAND, "pass", ["--output=x"])),
        ):
            self.assertEqual(self.parse(*words), expected, words)

    def test_spellings(self):
        for words in (["-q", "-o", "x"], ["-qox"], ["-qo", "x"], ["--quiet", "--output=x"], ["--output", "x", "-q"],
                      ["-o", "y", "-q", "-o=x"[:2], "x"]):
            self.assertEqual(self.parse(*words, "a.py")[0], {"quiet": True, "output": "x"}, words)
        self.assertEqual(self.parse("-o", "-", "a.py")[0], {"output": "-"})
        self.assertEqual(self.parse("--output=-x", "a.py")[0], {"output": "-x"})

    def test_lists(self):
        given = self.parse("--no-stdlib", "--include", "a*", "--exclude=b", "--snapshot-on", "USR1",
                           "--snapshot-on=exception", "a.py")[0]
        self.assertEqual(given, {"filters": ["no-stdlib", "include a*", "exclude b"],
                                 "snapshot_on": ["USR1", "exception"]})

    def test_mistakes(self):
        for words, text in ((["-x", "a.py"], "-x"), (["--out", "a.py"], "--out"), (["--quiet=1", "a.py"], "--quiet"),
                            (["-o"], "-o PATH"), (["-o", "-q", "a.py"], "-o PATH"), ([], "nothing to run"),
                            (["-m"], "nothing to run"),
                            (["-c", "pass", "-o"], "-o PATH"), (["--on-overflow"], "--on-overflow block|discard")):
            with self.assertRaises(OPTIONS.UsageError) as caught:
                self.parse(*words)
            self.assertIn(text, str(caught.exception))


class Recording(unittest.TestCase):
    """The options of a recording."""

    def test_defaults(self):
        found = OPTIONS.for_recorder(OPTIONS.parse({}))
        known = {"c_calls": False, "exceptions": False, "gc": False, "engine": None, "filters": [], "min_duration": 0, "start_paused": False,
                 "max_size": 0, "last": 0, "on_overflow": 0, "follow": 2, "snapshot_on": [], "toggle_on": None}
        self.assertEqual({name: found[name] for name in known}, known)

    def test_the_old_names_mean_the_same(self):
        for new, old in (({"on_overflow": "discard"}, {"when_full": "drop"}),
                         ({"on_overflow": "block"}, {"when_full": "wait"})):
            self.assertEqual(OPTIONS.parse(old), OPTIONS.parse(new))
        given = OPTIONS.parse_command_line(["--when-full", "drop", "a.py"])[0]
        self.assertEqual(given["on_overflow"], "drop")

    def test_mine_is_the_first_rule_and_means_c_calls(self):
        rule = f"mine {os.getcwd()}"
        for given, filters, c_calls in (
                ({"mine": True}, [rule], True), ({"mine": False}, [], False), ({"mine": None}, [], False),
                ({"mine": True, "c_calls": False}, [rule], False),
                ({"filters": ["exclude a"], "mine": True}, [rule, "exclude a"], True)):
            found = OPTIONS.parse(given)
            self.assertEqual((found["filters"], bool(found["c_calls"])), (filters, c_calls))
        given = OPTIONS.parse_command_line(["--no-stdlib", "--mine", "a.py"])[0]
        self.assertEqual((given["mine"], given["filters"]), (True, ["no-stdlib"]))

    def test_mistakes(self):
        for given, error, text in (({"bogus": None}, TypeError, "bogus"),
                                   ({"on_overflow": "x"}, ValueError, "on_overflow: 'x'"),
                                   ({"engine": "x"}, ValueError, "engine: 'x'"),
                                   ({"last": "5"}, ValueError, "last: '5'"),
                                   ({"snapshot_on": ["USR1", "USR2"]}, ValueError, "one signal"),
                                   ({"snapshot_on": "USR1", "toggle_on": "SIGUSR1"}, ValueError, "'SIGUSR1'"),
                                   ({"filters": ["x"]}, ValueError, "'x' is not a filter")):
            self.assertRaisesRegex(error, re.escape(text), OPTIONS.parse, given)
        self.assertRaisesRegex(ValueError, "--last: '5'", OPTIONS.parse, {"last": "5"}, "--")

    def test_children_get_the_same(self):
        for given in ({}, {"mine": True}, {"engine": "monitoring", "filters": ["no-stdlib", "exclude \udce9=*"], "last": "1.5us"},
                      {"c_calls": True, "follow": "fork", "snapshot_on": ["exception", "USR2"], "toggle_on": "USR1",
                       "on_overflow": "discard", "max_size": "1.5G", "last": 0.5, "start_paused": True}):
            options = OPTIONS.parse(given)
            fields = [field.partition("=")[::2] for field in OPTIONS.write(options)]
            self.assertEqual(OPTIONS.read(fields), options)
            self.assertRaises(LookupError, OPTIONS.read, fields[1:])
        self.assertRaises(ValueError, OPTIONS.read, [("c_calls", "x"), *fields[1:]])


if __name__ == "__main__":
    unittest.main()
