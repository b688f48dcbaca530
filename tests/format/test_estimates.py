"""What is estimated of muted functions, compared with programs of which all is known: made up here, call by call, with
and without a record of each."""

import json
import random
import subprocess
import unittest

import capture_writer
import conversion
from capture_writer import ADMIT, CALL, COST, MUTE, RETURN, WINDOW, WINDOW_END

EVENT_COST_NS = 50
EVENTS_BETWEEN = {(CALL, RETURN): 0.65, (RETURN, CALL): 1.35}      # of trace-mapping.md, section 14.1; else 1


class Program:
    """A thread that runs, and its recorder. What is muted has no record, and costs no time, except in windows."""

    def __init__(self, capture, seed, muted=("leaf", "inner"), window_rounds=(100, 10)):
        self.random = random.Random(seed)
        self.process = capture.process(7, max_overhead="3", event_cost_ns=str(EVENT_COST_NS))
        self.numbers = {name: self.process.function("app", name) for name in ("main", "work", "leaf", "inner")}
        self.thread, self.ledger = self.process.thread(1, 7, "MainThread"), self.process.ledger(2)
        self.muted, self.window_rounds = muted, window_rounds
        self.now, self.is_muted, self.in_window = 0, False, False
        self.records, self.open, self.notes = [], [], []
        self.last_kind = None
        self.calls, self.self_ns = dict.fromkeys(self.numbers, 0), dict.fromkeys(self.numbers, 0)   # the truth
        self.unrecorded = dict.fromkeys(self.numbers, 0)

    def event(self, kind, number):
        if len(self.records) == 10_000:
            self.flush()
        self.now += round(EVENT_COST_NS * EVENTS_BETWEEN.get((self.last_kind, kind), 1))
        self.last_kind = kind
        self.records.append((self.now, kind, 0, number))

    def flush(self):
        self.thread.block(self.records)
        self.records = [capture_writer.open_(number) for number in self.open]

    def spend(self, name, begin, end):
        ns = self.random.randrange(begin, end)
        self.now += ns
        self.self_ns[name] += ns

    def call(self, name, *body):
        is_recorded = name not in self.muted or not self.is_muted or self.in_window
        self.calls[name] += 1
        self.unrecorded[name] += not is_recorded
        if is_recorded:
            self.event(CALL, self.numbers[name])
            self.open.append(self.numbers[name])
        for step in body:
            step()
        if is_recorded:
            self.event(RETURN, self.numbers[name])
            self.open.pop()

    def note(self, kind, number=0, frame=0):
        self.notes.append((self.now, kind, frame, number))

    def mute(self, kind=MUTE):
        for name in self.muted:
            self.note(kind, self.numbers[name])
        self.is_muted = kind == MUTE

    def window(self, is_begin):
        self.note(COST, 30_000, 1_000_000)
        self.note(WINDOW if is_begin else WINDOW_END, len(self.muted))
        self.in_window = is_begin

    def round(self):
        self.spend("main", 500, 1500)
        self.call("work", *[self.call_leaf] * 5)

    def call_leaf(self):
        self.spend("work", 100, 300)
        self.call("leaf", lambda: self.spend("leaf", 50, 150), self.call_inner)

    def call_inner(self):
        if self.random.random() < 0.5:
            self.call("inner", lambda: self.spend("inner", 50, 100))

    def run(self, n):
        def rounds():
            for i in range(n):
                at = i % self.window_rounds[0]
                if i == 200:
                    self.mute()
                if i >= 300 and at in (0, self.window_rounds[1]):
                    self.window(at == 0)
                self.round()
            if self.in_window:
                self.window(False)
        self.call("main", rounds)
        self.flush()
        self.ledger.block(self.notes)
        self.process.end(self.now)


class Phases(Program):
    """main calls leaf again and again after it has called work, and more seldom after it has called inner. Each window has
    one of the two phases."""

    def __init__(self, capture, seed):
        super().__init__(capture, seed, muted=("leaf",), window_rounds=(101, 1))
        self.n_rounds = self.reported = 0

    def window(self, is_begin):
        self.note(COST, 0, self.now - self.reported)
        self.reported = self.now
        self.note(WINDOW if is_begin else WINDOW_END, len(self.muted))
        self.in_window = is_begin

    def round(self):
        self.n_rounds += 1
        is_dense = self.n_rounds % 2
        self.call("work" if is_dense else "inner")
        for _ in range(100 if is_dense else 30):
            self.spend("main", *(50, 150) if is_dense else (1000, 2000))
            self.call("leaf", lambda: self.spend("leaf", 50, 150))


class Estimates(conversion.CaptureCase):
    def convert(self, *options):
        run = subprocess.run([conversion.CONVERTER, "-q", self.capture, "-o", "-", *options], capture_output=True,
                             timeout=60)
        self.assertEqual((run.returncode, run.stderr), (0, b""))
        return run.stdout.decode()

    def top(self, *options):
        functions = json.loads(self.convert("--top", "--json", *options))["functions"]
        return {function["name"]: function for function in functions}

    def record(self, n=5000, **how):
        with capture_writer.Capture(self.capture) as capture:
            program = Program(capture, 1, **how)
            program.run(n)
        return program

    def test_calls_and_times(self):
        program = self.record()
        top = self.top()
        for name in program.muted:
            estimated = top[f"~app.{name}"]
            with self.subTest(name=name):
                self.assertTrue(estimated["estimated"])
                self.assertAlmostEqual(estimated["calls"], program.unrecorded[name],
                                       delta=0.05 * program.unrecorded[name])
                share = program.unrecorded[name] / program.calls[name]
                self.assertAlmostEqual(estimated["self_ns"], program.self_ns[name] * share,
                                       delta=0.1 * program.self_ns[name])

    def test_time_is_the_callers(self):
        self.record(1000)
        top, exact = self.top(), self.top("--exact")
        self.assertFalse([name for name in exact if name.startswith("~")])
        self.assertEqual(sum(one["self_ns"] for one in top.values()), sum(one["self_ns"] for one in exact.values()))
        hidden = sum(one["self_ns"] for name, one in top.items() if name.startswith("~"))
        self.assertEqual(exact["app.work"]["self_ns"] - top["app.work"]["self_ns"], hidden)
        for name, one in exact.items():
            self.assertEqual((top[name]["calls"], top[name]["total_ns"]), (one["calls"], one["total_ns"]))

    def test_never_called_in_windows(self):
        """A caller that makes no muted call in windows hides nothing."""
        self.record(1000)
        self.assertFalse([stack for stack in self.convert("--format=folded").splitlines()
                          if stack.startswith("app.main;~")])

    def test_rare_calls(self):
        """The base of a pair counts the windows before its first call, too."""
        class Rare(Program):
            def call_inner(self):
                if self.random.random() < 0.02:
                    self.call("inner", lambda: self.spend("inner", 50, 100))
        with capture_writer.Capture(self.capture) as capture:
            program = Rare(capture, 2)
            program.run(10_000)
        calls = self.top()["~app.inner"]["calls"]
        self.assertAlmostEqual(calls, program.unrecorded["inner"], delta=0.4 * program.unrecorded["inner"])

    def test_admitted_function_hides_nothing(self):
        with capture_writer.Capture(self.capture) as capture:
            program = Program(capture, 3)
            def rounds():
                program.mute()
                for i in range(400):
                    if i in (100, 110):
                        program.window(i == 100)
                    if i == 200:
                        program.mute(ADMIT)
                    program.round()
            program.call("main", rounds)
            program.flush()
            program.ledger.block(program.notes)
            program.process.end(program.now)
        estimated = self.top()["~app.leaf"]["calls"]
        self.assertAlmostEqual(estimated, program.unrecorded["leaf"], delta=0.2 * program.unrecorded["leaf"])

    def test_a_part_of_the_time(self):
        program = self.record()
        middle = f"{program.now // 2}ns"
        halves = [self.top(*part)["~app.leaf"]["calls"] for part in (["--from", middle], ["--to", middle])]
        whole = self.top()["~app.leaf"]["calls"]
        self.assertAlmostEqual(sum(halves), whole, delta=2)
        self.assertGreater(min(halves), whole / 3)

    def test_any_number_of_jobs(self):
        self.record(1000)
        for form in "catapult", "perfetto", "folded":
            command = [conversion.CONVERTER, "-q", self.capture, "-o", "-", f"--format={form}", "-j"]
            outputs = {subprocess.run([*command, jobs], capture_output=True, timeout=60, check=True).stdout
                       for jobs in "123"}
            self.assertEqual(len(outputs), 1)

    def test_phases_of_one_function(self):
        with capture_writer.Capture(self.capture) as capture:
            program = Phases(capture, 5)
            program.run(5000)
        leaf = self.top()["~app.leaf"]
        self.assertAlmostEqual(leaf["calls"], program.unrecorded["leaf"], delta=0.1 * program.unrecorded["leaf"])

    def test_info_reports_what_the_recorder_has_estimated(self):
        with capture_writer.Capture(self.capture) as capture:
            program = Program(capture, 6)
            program.run(1000)
            program.process.add_property("calls_of_muted", 2_000)
            program.process.add_property("calls_not_recorded", 1_500)
        run = subprocess.run([conversion.CONVERTER, "--info", self.capture], capture_output=True, timeout=60)
        self.assertRegex(run.stdout.decode(), r"\n  hidden +~75 % of the calls of muted functions, ~1500 calls\n")

    def test_excluded_functions_are_not_estimated(self):
        self.record(1000)
        self.assertEqual({name for name in self.top("--exclude", "app.leaf") if name.startswith("~")}, {"~app.inner"})
        top = self.top("--exclude", "app.work")
        self.assertGreater(top["~app.leaf"]["calls"], 1000)

    def test_slices_say_what_they_hide(self):
        program = self.record(window_rounds=(100, 10))
        events = json.loads(self.convert())["traceEvents"]
        main = next(event for event in events if event["name"] == "app.main" and event["ph"] == "X")
        self.assertNotIn("hides", main.get("args", {}))         # its callee `work` does
        counters = {event["name"] for event in events if event["ph"] == "C"}
        self.assertEqual(counters, {"cost of recording, %", "functions muted"})
        windows = [(event["ph"], event["ts"]) for event in events if event["name"] == "[all functions recorded]"]
        self.assertEqual([ph for ph, _ in windows], ["b", "e"] * (len(windows) // 2))
        self.assertEqual(len(windows), sum(kind in (WINDOW, WINDOW_END) for _, kind, _, _ in program.notes))

    def test_a_figure_of_cost_is_for_50_ms(self):
        """What is left at the end is not shown, unless it is all there is."""
        ms = 10**6
        for costs, shown in (([(60 * ms, 6 * ms), (ms, ms // 2)], [(0, 10)]), ([(ms, ms // 2)], [(0, 50)]),
                             ([(30 * ms, 3 * ms), (ms, 0), (31 * ms, 0), (62 * ms, 31 * ms)], [(0, 4.839), (62000, 50)])):
            with self.subTest(costs=costs):
                with capture_writer.Capture(self.capture.with_name(f"{len(costs)}.pnr")) as capture:
                    process = capture.process(7, max_overhead="3", event_cost_ns="50")
                    main = process.function("app", "main")
                    end = sum(cpu for cpu, _ in costs)
                    process.thread(1, 7, "MainThread").block([(0, CALL, 0, main), (end, RETURN, 0, main)])
                    process.ledger(2).block([(sum(cpu for cpu, _ in costs[:n + 1]), COST, cpu, cost)
                                             for n, (cpu, cost) in enumerate(costs)])
                    process.end(end)
                run = subprocess.run([conversion.CONVERTER, "-q", capture.path, "-o", "-"], capture_output=True, check=True)
                events = json.loads(run.stdout)["traceEvents"]
                self.assertEqual([(event["ts"], event["args"]["cost"]) for event in events
                                  if event["name"] == "cost of recording, %"], shown)

    def test_long_slices_name_the_functions(self):
        with capture_writer.Capture(self.capture) as capture:
            program = Program(capture, 4, muted=("work", "leaf", "inner"))
            program.run(2000)
        events = json.loads(self.convert())["traceEvents"]
        hides = next(event for event in events if event["name"] == "app.main" and event["ph"] == "X")["args"]["hides"]
        self.assertRegex(hides, r"app\.work ~\d+ calls, ~\d+ % of it; app\.leaf ~\d+ calls, ~\d+ % of it; app\.inner ~")
        self.assertNotIn("hides", self.convert("--exact"))
        self.assertNotIn("hides", self.convert("--logical"))


if __name__ == "__main__":
    unittest.main()
