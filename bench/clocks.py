"""What a sparse clock saves, and how right the times are: bench/run --clocks.

An Examiner reads the captures of the recorder, and adds to what was measured:

- read: the share of the events that read the clock.
- self: function to self time in ns.
- errors: [function of the schedule, error in ns, whether the slice has the flag `inexact`] of each begin and end of a
  long call of the workload `schedule`.
"""

import collections
import json
import math
import os
import re
import statistics
import subprocess
import sys

import programs
import schedule
from peers import ROOT
from report import CALLS, PLAIN, TRACERS as NAMES, Figures, costs, judge, median, minimum, ratio, show, table

sys.path.append(os.path.join(ROOT, "tests", "e2e"))
import ledger           # noqa: E402

OPTIONS = {"rec_sparse": ["--clock", "sparse"],
           "rec_monitoring_sparse": ["--engine", "monitoring", "--clock", "sparse"]}
FULL = {"rec_sparse": "rec", "rec_monitoring_sparse": "rec_monitoring"}     # what each is compared with
TRACERS = [PLAIN, "profile", "monitoring", "viztracer_python", "rec", "rec_sparse", "rec_monitoring",
           "rec_monitoring_sparse"]
RECORDERS = [tracer for tracer in TRACERS if tracer.startswith("rec")]
WORKLOADS = [*CALLS, *programs.FOURTEEN]
USUAL = [name for name in schedule.FUNCTIONS if name != "rarely"]    # those whose calls usually take 5 us or more
SHARE, WITHIN = 0.01, 0.03      # of the time: functions that are compared; how near the self time must come


class Examiner:
    def __init__(self, converter):
        self.converter = converter

    def examine(self, workload, tracer, capture, observed):
        """Adds to what was measured of a recorder."""
        if tracer not in RECORDERS:
            return
        if workload == "schedule":
            observed["errors"] = list(self.errors(capture, observed.pop("notes")))
            return
        top = self.convert(capture, "--top", "--json")
        observed["self"] = collections.Counter()
        for row in json.loads(top.stdout)["functions"]:
            observed["self"][row["name"]] += row["self_ns"]
        match = re.search(r"clock read at ([\d.]+) %", top.stderr)
        observed["read"] = float(match[1]) / 100 if match else 1

    def convert(self, capture, *options):
        return subprocess.run([self.converter, capture, *options], capture_output=True, text=True, check=True)

    def errors(self, capture, notes):
        """The order of all events is exact: so the calls of a function are the slices of that name, one by one."""
        wanted = [f"--include=schedule.{name}" for name in schedule.FUNCTIONS]
        trace = self.convert(capture, "--flows=none", *wanted, "-o", "-")
        one, *_ = ledger.read(capture)
        zero = int(one.properties["start_monotonic_ns"])
        slices = {name: [] for name in schedule.FUNCTIONS}
        for line in trace.stdout.splitlines():
            if '"ph":"X"' in line:
                one = json.loads(line.removesuffix(","))
                begin = round(one["ts"] * 1000) + zero
                slices[one["name"].removeprefix("schedule.")].append(
                    (begin, begin + round(one["dur"] * 1000), "inexact" in str(one.get("args"))))
        for calls in slices.values():
            calls.sort()
        for name, number, before, first, last, after in notes:
            begin, end, is_inexact = slices[name][number]
            for time, low, high in (begin, before, first), (end, last, after):
                yield [name, max(low - time, time - high, 0), is_inexact]


def quantile(values, share):
    """The smallest value that so large a share of the values do not exceed; None if there are none."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)] if values else None


def errors_of(data, tracer, names):
    """[error, is_inexact] of all rounds."""
    return [row[1:] for run in data["schedule"].get(tracer, ()) if run for row in run["errors"] if row[0] in names]


def self_shares(data, workload, tracer):
    """Of each round: function to the share of its self time."""
    runs = data["runs"].get(workload, {}).get(tracer, ())
    return [{name: own / sum(run["self"].values()) for name, own in run["self"].items()} for run in runs if run]


def compare_self_times(data, tracer):
    """Yields (by how much the self time is off, by how much that of a round with a full clock is off) of each function
    with at least SHARE of the time. Both are shares of the median over the rounds with a full clock."""
    for workload in data["runs"]:
        full, sparse = (self_shares(data, workload, each) for each in (FULL[tracer], tracer))
        if not full or not sparse:
            continue
        for name in set().union(*full):
            usual = statistics.median(one.get(name, 0) for one in full)
            if usual >= SHARE:
                found = statistics.median(one.get(name, 0) for one in sparse)
                yield (abs(found / usual - 1),
                       statistics.median(abs(one.get(name, 0) / usual - 1) for one in full))


def share_within(differences):
    return sum(one <= WITHIN for one in differences) / len(differences) if differences else None


def those(data, tracers):
    return [tracer for tracer in tracers if any(tracer in runs for runs in data["runs"].values())]


def goals(data):
    """(text, limit, True for "at most", figure of a Figures)"""
    minor = int(data["python"].split(".")[1])
    for tracer in those(data, OPTIONS):
        full, what = FULL[tracer], "" if tracer == "rec_sparse" else ", monitoring engine"
        yield (f"micro: cost per event over that of a full clock{what}", 0.55, True,
               lambda f, tracer=tracer, full=full: ratio(f.micro(tracer), f.micro(full)))
        if minor == 11:
            yield ("micro: cost per event over the empty C `PyEval_SetProfile` callback's", 0.2, True,
                   lambda f: ratio(f.micro("rec_sparse"), f.micro("profile")))
            yield ("micro: cost per event over VizTracer's without C functions", 0.1, True,
                   lambda f: ratio(f.micro("rec_sparse"), f.micro("viztracer_python")))
        else:
            yield (f"micro: cost per event over the empty C `sys.monitoring` callback's{what}", 0.9, True,
                   lambda f, tracer=tracer: ratio(f.micro(tracer), f.micro("monitoring")))
        yield (f"14 programs: slowdown{what}", {11: 1.08, 13: 1.12, 14: 1.17}.get(minor), True,
               lambda f, tracer=tracer: f.fourteen(tracer))
        yield (f"bytes per event, median of the workloads{what}", 0.6, True,
               lambda f, tracer=tracer: median(f.bytes_per_event(tracer)))


def right_goals(data):
    """(text, limit, True for "at most", figure, digits)"""
    for tracer in those(data, OPTIONS):
        what = "" if tracer == "rec_sparse" else ", monitoring engine"
        errors = [error for error, _ in errors_of(data, tracer, USUAL)]
        yield (f"begin and end of calls that usually take 5 us or more: median error, ns{what}", 100, True,
               quantile(errors, 0.5), 0)
        yield f"the same: 99.9 %, ns{what}", 1000, True, quantile(errors, 0.999), 0
        yield (f"self times within 3 % of those of a full clock, share of the functions{what}", 1, False,
               share_within([sparse for sparse, _ in compare_self_times(data, tracer)]), 3)


def targets(data):
    rows = []
    for text, limit, is_at_most, figure in goals(data):
        value = figure(Figures(data, median))
        rows.append([text, f"<= {limit:.3g}" if limit else "-", show([figure(Figures(data, minimum)), value], 3),
                     judge(value, limit, is_at_most) if limit else "-"])
    for text, limit, is_at_most, value, digits in right_goals(data):
        rows.append([text, f"{'<=' if is_at_most else '>='} {limit:,.3g}" if limit < 1000 else f"<= {limit:,}",
                     show([value], digits), judge(value, limit, is_at_most)])
    return table(["", "target", "min / median", "by the medians"], rows)


def saved(data):
    """The table: what each workload costs with either clock, and how many of its events read it."""
    views, rows = [Figures(data, minimum), Figures(data, median)], []
    pairs = [(FULL[tracer], tracer) for tracer in those(data, OPTIONS)]
    for name in data["runs"]:
        for full, sparse in pairs:
            both = [[view.cost(name, tracer) for view in views] for tracer in (full, sparse)]
            read = views[1].value(name, sparse, "read")
            sizes = [ratio(*(views[1].value(name, each, key) for key in ("bytes", "events")))
                     for each in (full, sparse)]
            rows.append([name + " with --engine monitoring" * (full == "rec_monitoring"),
                         *(show(one, 1) for one in both), show([ratio(*ends) for ends in zip(*both[::-1])], 2),
                         "-" if read is None else f"{read * 100:.1f}",
                         *("-" if size is None else f"{size:.2f}" for size in sizes)])
    return table(["", "ns per event, full", "sparse", "sparse over full", "events that read the clock, %",
                  "bytes per event, full", "sparse"], rows)


def rightness(data):
    """The two tables: how far begins and ends of long calls are from what the program knew, and self times from those
    of a full clock."""
    rows = []
    for name, what in schedule.FUNCTIONS.items():
        for tracer in those(data, RECORDERS):
            found = errors_of(data, tracer, [name])
            errors = [error for error, _ in found]
            late = [is_inexact for error, is_inexact in found if error > 1000]
            rows.append([what, NAMES[tracer], f"{len(found):,}", *(show([quantile(errors, share)], 0)
                                                                  for share in (0.5, 0.99, 0.999, 1)),
                         f"{len(late):,}", f"{sum(late):,}"])
    first = table(["begins and ends of calls of", "", "number", "error, ns: median", "99 %", "99.9 %", "most",
                   "more than 1 us", "of these `inexact`"], rows)
    rows = []
    for tracer in those(data, OPTIONS):
        both = list(zip(*compare_self_times(data, tracer)))
        for label, found in zip((NAMES[tracer], f"{NAMES[FULL[tracer]]}, one round"), both):
            rows.append([label, str(len(found)), *(f"{quantile(found, share) * 100:.1f}" for share in (0.5, 0.9, 1)),
                         f"{share_within(found) * 100:.0f}"])
    return first + "\n" + table(["self times of functions with 1 % of the time or more", "functions",
                                 "off by, %: median", "90 %", "most", "within 3 %, % of the functions"], rows)


def text(data):
    return "\n".join([targets(data), saved(data), rightness(data), costs(data)])
