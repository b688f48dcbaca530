"""What is muted, by specs/capture-format.md, section 4.1: the independent reader and the checker make of the golden
captures with a ledger, and of the invalid ones, what is written here by hand. None of this uses the converter.

States are written as `1230 tiny`: from 1,230 ns on tiny is muted; `(tiny)`: in a window; `tiny:c`: only its calls of C
functions; `-`: nothing; `?`: not known. The first has no time. A slice is `name[begin,end]`, with flags in one letter."""

import math
import re
import unittest

import capture_reader as reader
import conversion
import ledger_checker
import trace_checker
from capture_writer import START_MONOTONIC_NS as START

FLAGS = {"begin_unknown": "?", "exit_missing": "m", "unfinished": "u", "exception": "e",
         "noticed_late": "l", "flow_incomplete": "i"}
RECORDED = {                            # by golden capture: the states of each process, and its slices
    "ledger": (["-; 1230 tiny; 5000 (tiny); 6000 tiny; 7000 -"],
               "main[1000,8000] tiny[1100,1150] tiny[1200,1260] tiny[3500,4000]l? tiny[5100,5200] tiny[7100,7200]"),
    "ledger_windows": (
        ["-; 1300 tiny; 1600 (tiny); 1900 tiny; 2100 main:c tiny; 3000 tiny; 3300 (tiny); 3400 (tiny work); "
         "3600 tiny work"],
        "main[1000,4000] tiny[1100,2000] tiny[1200,1800] work[1500,1750] tiny[1600,1700]l? tiny[1850,1950] len[2010,2020] "
        "len[3100,3200]e work[3350,3380] work[3450,3500] main[1250,9000] tiny[1260,1400] tiny[1620,1630]"),
    "ledger_flows": (
        ["-; 1300 numbers; 2000 (numbers); 2500 numbers; 3000 -; 3750 numbers; 3800 -; 4150 numbers; 4200 -; 4800 numbers; "
         "4900 -"],
        "main[1000,5000] numbers[1100,1200] numbers[1250,1400] other[1450,1500] numbers[2100,2200]i numbers[2210,2220]i "
        "numbers[2300,2400] numbers[3100,3200]i numbers[3300,3400] other[3500,3600] numbers[3900,4000] numbers[4100,4300] "
        "numbers[4400,4500] numbers[4600,4700] numbers[4800,4850]i numbers[4900,4950]i"),
    "ledger_evicted": (
        ["?; 3000 (tiny work:c); 3200 tiny work:c; 4000 work:c"],
        "main[2000,5000]? other[2100,2200] other[2300,2400] other[3100,3150] other[3400,3500] tiny[4100,4200]"),
    "ledger_window_cut": (["?; 2000 (tiny); 2500 tiny"], "main[2000,5000]? tiny[2100,2200]"),
    "ledger_killed": (
        ["-; 1300 tiny; 2000 (tiny)", "-; 1300 tiny; 1350 tiny work", "?"],
        "main[1000,2151]u tiny[1100,1200] tiny[2100,2150] main[1000,2502]u tiny[1100,1200] main[2500,2501]u "
        "main[2000,2502]u? main[2500,2501]u"),
    "ledger_finished": (["-"], "main[1000,1201]u tiny[1100,1200]"),
    "ledger_lost": (["-; 1200 tiny; 1300 tiny work; 1400 ?; 2000 tiny; 2500 -; 3000 work; 3100 ?; 3900 -"],
                    "main[1000,8000] tiny[1100,1150]"),
    "ledger_without_effect": (["-; 1200 tiny; 2000 (tiny); 2500 tiny; 4000 -; 5000 work; 5500 1234 work; "
                               "6000 tiny"], "main[1000,8000]"),
    "ledger_of_each": (["-; 1200 tiny", "-", None],
                       "main[1000,8000] tiny[1100,1150] main[2000,8000]? tiny[2100,2150] main[1000,2000]"),
}
INVALID = {                             # by capture: its states, and how many records are skipped
    "ledger_records_in_a_thread": ("-; 1200 tiny", {"misplaced": 6}),
    "ledger_with_records_of_a_thread": ("-; 1200 tiny; 2000 -", {"misplaced": 4}),
    "ledger_with_other_frames": ("-; 1200 tiny; 7000 -", {"misplaced": 4}),
    "ledger_muted_inside": ("-; 1200 tiny; 3000 -", {"misplaced": 2}),
    "ledger_twice": ("-; 1200 tiny", {"misplaced": 2}),
    "ledger_ticks_back": ("-; 2500 tiny; 3000 -", {"time back": 1}),
    "ledger_block_missing": ("-; 1200 tiny; 2000 ?; 5600 (other tiny); 6000 other tiny; 7000 other", {}),
    "ledger_block_damaged": ("-; 1200 tiny; 2000 ?; 5600 (other tiny); 6000 other tiny; 7000 other", {}),
    "ledger_first_block_damaged": (
        "?; 3000 tiny; 4000 other tiny; 5000 (other tiny); 6000 other tiny; 7000 other", {}),
    "ledger_last_block_damaged": ("-; 1200 tiny; 4000 other tiny; 5000 (other tiny); 5500 ?", {}),
    "ledger_cut_off": ("-; 1200 tiny; 4000 other tiny; 5000 (other tiny); 5500 ?", {}),
    "ledger_file_is_a_link": ("?", {}),
    "ledger_entry_damaged": ("?", {"misplaced": 9}),
    "ledger_chunk_damaged": ("-; 1200 tiny; 2000 ?", {}),
}


def describe(process):
    """The states of a process in that form; None: no ledger. What begins and ends at the same time was never there."""
    if not process.ledger:
        return None
    parts, name = [], {number: function.name for number, function in process.functions.items()}
    for begin, end, state in process.ledger.spans():
        if begin == end:
            continue
        names = sorted(f"{name.get(number, number)}{':c' * what}" for number, what in state.muted or ())
        text = "?" if state.muted is None else " ".join(names) or "-"
        text = f"({text})" if state.is_window else text
        parts.append(text if begin == -math.inf else f"{begin - START} {text}")
    return "; ".join(parts)


def slices(expected):
    return [f"{slice.name.split('.')[-1]}[{slice.begin},{slice.end}]" + "".join(sorted((FLAGS[flag] for flag in slice.flags), reverse=True))
            for slice in sorted(expected.slices, key=lambda slice: (slice.where, slice.begin))]


class Golden(unittest.TestCase):
    def captures(self):
        return [(case.name, reader.read(case.path / "run.pnr")) for case in conversion.ledgers("golden")]

    def test_all_are_here(self):
        self.assertEqual(sorted(RECORDED), [case.name for case in conversion.ledgers("golden")])

    def test_states(self):
        for name, capture in self.captures():
            with self.subTest(name):
                self.assertEqual([report for report in capture.reports if report.is_damage], [])
                self.assertEqual([describe(process) for process in capture.processes], RECORDED[name][0])
                self.assertEqual([process.skipped for process in capture.processes], [{}] * len(capture.processes))

    def test_slices(self):
        for name, capture in self.captures():
            with self.subTest(name):
                self.assertEqual(slices(trace_checker.Expected(capture)), RECORDED[name][1].split())

    def test_the_ledger_is_no_thread(self):
        for name, capture in self.captures():
            names = trace_checker.Expected(capture).names
            self.assertLessEqual({value for (*_, what), value in names.items() if what == "thread_name"},
                                 {"MainThread", "worker"})

    def test_nothing_muted_is_entered(self):
        for name, capture in self.captures():
            with self.subTest(name):
                self.assertEqual([found for process in capture.processes for found in reader.find_muted_entries(process)], [])

    def test_flows_do_not_go_on_where_a_function_was_muted(self):
        expected = {name: [[slice.begin for slice in flow.slices] for flow in trace_checker.Expected(capture).flows]
                    for name, capture in self.captures()}
        self.assertEqual({name: flows for name, flows in expected.items() if flows}, {
            "ledger_flows": [[1450, 3500], [2100, 2300], [3100, 3300], [4100, 4400]],
            "ledger_evicted": [[3100, 3400]]})

    def test_creations(self):
        for name, capture in self.captures():
            creations = trace_checker.Expected(capture).creations
            self.assertEqual([(one.ns, one.made.begin) for one in creations],
                             [(4090, 4100)] if name == "ledger_flows" else [])

    def test_costs(self):
        costs = {name: [(ticks - START, *cost) for process in capture.processes if process.ledger
                        for ticks, *cost in process.ledger.costs] for name, capture in self.captures()}
        self.assertEqual(costs["ledger"], [(5000, 4000, 202), (6000, 1000, 67)])
        self.assertEqual(costs["ledger_windows"], [(1600, 600, 200), (1900, 300, 300), (3300, 1400, 90),
                                                   (3600, 300, 40), (4500, 900, 2**32 - 1)])

    def test_an_entry_of_a_muted_function_is_found(self):
        case, = (case for case in conversion.ledgers("golden") if case.name == "ledger")
        process, = reader.read(case.path / "run.pnr").processes
        records = process.threads[1].blocks[0].records
        for at, is_muted in (1229, False), (1230, False), (1231, True), (4999, True), (5000, False), (5500, False), \
                (6001, True), (7000, False):
            records[:] = [(START + at, reader.CALL, 0, 2)]
            self.assertEqual(len(list(reader.find_muted_entries(process))), is_muted, at)


class Recorder(unittest.TestCase):
    """What ledger_checker finds in what a recorder wrote."""

    def test_golden_captures_are_as_a_recorder_writes_them(self):
        for case in conversion.ledgers("golden"):
            problems = ledger_checker.check(case.path / "run.pnr")
            with self.subTest(case.name):
                if case.name != "ledger_without_effect":
                    self.assertEqual(problems, [])
                    continue
                self.assertEqual([re.sub("^.* s: ", "", line) for line in problems], [
                    "__main__.tiny is muted again", "no COST comes before a WINDOW or WINDOW_END",
                    "a window begins in a window", "no COST comes before a WINDOW or WINDOW_END",
                    "no COST comes before a WINDOW or WINDOW_END", "a window ends outside of a window",
                    "no COST comes before a WINDOW or WINDOW_END", "__main__.tiny is admitted again",
                    "__main__.work is admitted again", "[unknown function 1234] is muted",
                    "a block's MUTED records are [(2, 0), (2, 0)], but muted are [(3, 0), (1234, 0)]"])

    def problems(self, change):
        """Of the golden capture `ledger`, the records of whose thread were changed."""
        process, = reader.read(conversion.ROOT / "tests/golden/ledger/run.pnr").processes
        change(process.threads[1].blocks[0].records)
        return [re.sub("^.* s: ", "", line) for line in ledger_checker.check_process(process)]

    def test_entries_and_exits(self):
        tiny = 2
        for change, problem in (
                (lambda records: records.insert(5, (START + 2000, reader.CALL, 0, tiny)),
                 ["thread 1: __main__.tiny, which is muted, is entered (kind 1)"]),
                (lambda records: records.insert(5, (START + 2000, reader.RETURN, 0, tiny)),
                 ["thread 1: __main__.tiny is left, but open are __main__.main"]),
                (lambda records: records.pop(6),
                 ["thread 1: the list is __main__.tiny, but open are __main__.main",
                  "thread 1: __main__.main is left, but open are none"])):
            self.assertEqual(self.problems(change), problem)


class Invalid(unittest.TestCase):
    def test_states(self):
        self.assertEqual(sorted(INVALID), [case.name for case in conversion.ledgers("invalid")])
        for case in conversion.ledgers("invalid"):
            with self.subTest(case.name):
                process, = reader.read(case.path / "run.pnr").processes
                self.assertEqual((describe(process), process.skipped), INVALID[case.name])

    def test_status(self):
        for case in conversion.ledgers("invalid"):
            with self.subTest(case.name):
                capture = reader.read(case.path / "run.pnr")
                anomalous = any(capture.processes[0].skipped[what] for what in
                                ("misplaced", "time back"))
                is_damaged = anomalous or any(report.is_damage for report in capture.reports)
                self.assertEqual(int(is_damaged), case.status())


if __name__ == "__main__":
    unittest.main()
