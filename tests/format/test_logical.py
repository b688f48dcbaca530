"""--logical: times are positions in the order of begins and ends. specs/trace-mapping.md, section 12."""

import unittest
from collections import defaultdict

import conversion
import test_selection
from capture_writer import (LAST, PAUSED, Capture, c_call, c_return, call, create, finish, open_, resume, return_, start,
                            unwind, yield_)
from test_selection import convert, events

PLACE = 1000


class Captures(test_selection.Test):
    def test_all_calls_are_of_the_same_width(self):
        def fill(process, thread, f, g, h, gen):
            thread.block([call(1000, f), call(1001, g), return_(900_000, g), call(900_000, g), unwind(900_000, g),
                          c_call(950_000, h), c_return(950_001, h), return_(999_000, f)])
            process.end(10**6)
        self.make(fill)
        self.expect(("--logical", "f[1000,8000] g[2000,3000] g[4000,5000]e h[6000,7000]"))

    def test_the_order_is_that_of_all_threads(self):
        def fill(process, thread, f, g, h, gen):
            other = process.thread(2, 7002, "Other")
            thread.block([call(1000, f), call(5000, g)], end=6500)
            thread.block([open_(f), open_(g), return_(9000, g), return_(10_000, f)], begin=9000, flags=PAUSED)
            other.block([call(2000, f), call(6000, g), return_(7000, g)], begin=500, end=20_000, flags=LAST)
            process.end(60_000)
        self.make(fill)
        paused = "[recording was paused]"
        # what is open where a thread ends is left after the thread's last record
        self.expect(("--logical", f"f[1000,9000] g[3000,8000] {paused}@7000 1/f[2000,6000]u 1/g[4000,5000]"),
                    # begins and ends that are not shown have no position
                    ("--logical --thread=7001", f"f[1000,5000] g[2000,4000] {paused}@3000"),
                    ("--logical --thread=7002", "f[1000,4000]u g[2000,3000]"),
                    ("--logical --exclude=m.g", f"f[1000,5000] {paused}@4000 1/f[2000,3000]u"),
                    ("--logical --max-depth=1 --thread=7001", f"f[1000,3000] {paused}@2000"))

    def test_flows(self):
        def fill(process, thread, f, g, h, gen):
            thread.block([call(1000, f), create(1100, gen, 9), start(2000, gen, 9), yield_(3000, gen, 9),
                          resume(4000, gen, 9), call(4000, g), return_(4000, g), finish(4000, gen, 9),
                          return_(5000, f)])
            process.end(9000)
        self.make(fill)
        self.expect(("--logical", "f[1000,8000] gen[2000,3000] s1@2001 gen[4000,7000] f1@4001 g[5000,6000]"))

    def test_what_is_made_has_no_position(self):
        def fill(process, thread, f, g, h, gen):
            thread.block([call(10_000, f), *(create(20_000, gen, i) for i in range(1, 2000)), start(30_000, gen, 9),
                          yield_(40_000, gen, 9), resume(50_000, gen, 9), finish(60_000, gen, 9), return_(70_000, f)])
            process.end(80_000)
        self.make(fill)
        self.expect(("--logical --flows=none", "f[1000,6000] gen[2000,3000] gen[4000,5000]"),
                    ("--logical --flows=all,creation", "f[1000,6000] S1@1002 gen[2000,3000] F1@2001 s2@2001 "
                                                       "gen[4000,5000] f2@4001"))

    def test_windows_are_those_of_the_clock(self):
        def fill(process, thread, f, g, h, gen):
            thread.block([call(1000, f), call(2000, g), return_(3000, g), call(4000, h), return_(5000, h),
                          call(6000, g), return_(8000, g), return_(9000, f)])
            process.end(12_000)
        self.make(fill)
        self.expect(("--logical --from=2500ns", "f[1000,8000]c g[2000,3000]c h[4000,5000] g[6000,7000]"),
                    ("--logical --from=3500ns --to=7000ns", "f[1000,6000]c h[2000,3000] g[4000,5000]c"),
                    # so are lengths; what is left out has no place
                    ("--logical --min-duration=1001ns", "f[1000,4000] g[2000,3000]"),
                    ("--logical --min-duration=1us", "f[1000,8000] g[2000,3000] h[4000,5000] g[6000,7000]"))

    def test_a_recorded_minimum(self):
        def fill(process, thread, f, g, h, gen):
            thread.block([open_(f), call(2000, g), call(2100, h), return_(2200, h), return_(2500, g), start(2600, gen, 9),
                          yield_(2700, gen, 9), call(3000, h), return_(5000, h), return_(9000, f)], begin=1000)
            process.end(12_000)
        self.make(fill, min_duration_ns=1000)
        self.expect(("--logical", "f[1000,4000]o h[2000,3000]"))

    def test_a_position_that_another_thread_needs_is_left_empty(self):
        def fill(process, thread, f, g, h, gen):
            thread.block([call(1000, f), call(2000, g), return_(2500, g), return_(9000, f)])
            process.thread(2, 7002, "Other").block([call(2200, h), return_(8000, h)])
            process.end(12_000)
        self.make(fill, min_duration_ns=1000)
        self.expect(("--logical", "f[1000,5000] 1/h[3000,4000]"))

    def test_a_process_begins_where_its_parent_was(self):
        with Capture(self.path) as capture:
            for pid, parent, begin in (7, 1, 0), (8, 7, 5000), (9, 7, 2500), (10, 9, 2600), (11, 6, 2000), (12, 7, 10**6):
                process = capture.process(pid, parent_pid=parent, start_monotonic_ns=5 * 10**12 + begin)
                f = process.function("m", f"f{pid}")
                process.thread(1, pid, "MainThread").block(
                    [record for i in range(1, 5) for record in (call(1000 * i + begin, f), return_(1000 * i + begin + 1, f))])
                process.end(9000 + begin)
        begins = {event["pid"]: event["ts"] for event in reversed(events(convert(self.path, "--logical")))
                  if event["ph"] == "X"}
        # 7 had 8 begins and ends at 5000, 4 at 2500; 9 had none yet at 2600, and began at 4
        self.assertEqual(begins, {7: 1000, 8: 9000, 9: 5000, 10: 5000, 11: 1000, 12: 9000})

    def test_refused(self):
        self.make(lambda process, *rest: process.end(1000))
        for option in "--format=folded", "--format=pstats", "--top", "--info", "--verify":
            run = convert(self.path, "--logical", option)
            self.assertEqual(run.returncode, 2)
            self.assertIn("--logical", run.stderr)


class AnyCapture(unittest.TestCase):
    """The same slices as without the option, and their begins and ends in the same order."""

    def threads(self, run):
        """The slices of each thread, and all begins and ends with where they are."""
        slices, times = defaultdict(list), []
        for event in events(run):
            if event["ph"] == "X":
                where, begin, end = (event["pid"], event["tid"]), event["ts"], event["ts"] + event["dur"]
                slices[where].append((begin, end, event["name"], tuple(event.get("args", {}))))
                times += [(begin, where), (end, where)]
        for row in slices.values():
            row.sort()
        return slices, sorted(times)

    def test_golden_and_invalid_ones(self):
        for case in [*conversion.cases("golden"), *conversion.cases("invalid")]:
            run = convert(case.path / "run.pnr", "--logical")
            with self.subTest(case.name):
                self.assertEqual(run.returncode, case.status())
                if run.returncode == 2 or case.name == "min_duration":      # whose times are a nanosecond apart
                    continue
                self.check(convert(case.path / "run.pnr", "--exact"), run)

    def check(self, clock, logical):
        (a_slices, _), (b_slices, b_times) = self.threads(clock), self.threads(logical)
        self.assertEqual(a_slices.keys(), b_slices.keys())
        for where, row in a_slices.items():
            self.assertEqual([slice[2:] for slice in row], [slice[2:] for slice in b_slices[where]])
            self.assertEqual(self.order(row), self.order(b_slices[where]))
        places = {(at, where[0]) for at, where in b_times}
        self.assertEqual(len(places), len(b_times))             # no two of a process are at one
        self.assertEqual({at % PLACE for at, _ in places} | {0}, {0})

    def order(self, row):
        return [i for _, i in sorted(time for i, (begin, end, *_) in enumerate(row) for time in ((begin, i), (end, i)))]


if __name__ == "__main__":
    unittest.main()
