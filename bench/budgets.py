"""What recording costs with a budget (--max-overhead), and what is known of the calls that were not recorded:
bench/run --budgets.

An Examiner reads each capture when its run has ended, and adds to what was measured:

- cost, second, tenth: the accounted cost as a share of CPU time, of all; the largest of any second after the first one;
  and of any 100 ms after it.
- muted: how many functions were muted some time.
- estimates: [function, its true calls, estimated, its true self time in ns, estimated] of each muted function that has at
  least a hundredth of the time. Calls are counted in a recording whose budget is endless (ORACLE), of as many loops. Shares
  of the time are found by samples of the plain program (sample.py), for which no call pays.
- slow: [long calls of the workload, those that are missing in the trace, the largest delay of a begin in ns].
"""

import collections
import html
import json
import os
import subprocess
import sys

import programs
import workloads
from peers import ROOT
from report import CALLS, PLAIN, TRACERS as NAMES, Figures, judge, median, minimum, ratio, show, table

sys.path.append(os.path.join(ROOT, "tests", "e2e"))
import ledger           # noqa: E402

SAMPLES = 2                     # runs of the plain program that are sampled
SHARES = {"rec_1": 1, "rec_3": 3, "rec_5": 5}       # percent
ORACLE = "rec_endless"
OPTIONS = {**{tracer: ["--max-overhead", f"{share}%"] for tracer, share in SHARES.items()},
           ORACLE: ["--max-overhead", "1000%"]}
PEERS = ["viztracer", "trace0"]
TRACERS = [PLAIN, "rec", "rec_monitoring", *SHARES, *PEERS]
WORKLOADS = [*programs.FOURTEEN, *CALLS, "server", *workloads.BUDGETS]
SECONDS = 1.0, 1.5              # of CPU time: a warm-up, for which a budget has credit, and what is timed
QUICK_SECONDS = 0.1, 0.2
WITHIN = 0.2                    # an estimate is right
TOLERANCE_NS = 50_000           # between the clock of a workload and a trace's times
LATE_NS = 20_000_000            # which may pass between a workload's last reading of the clock and the return


class Examiner:
    def __init__(self, converter):
        self.converter = converter
        self.calls = {}          # of each workload: (file, line) to its true number
        self.shares = {}         # ... and to its share of the time, in the plain program

    def examine(self, workload, tracer, capture, observed):
        """Adds to what was measured; of ORACLE it keeps what is true."""
        if tracer == ORACLE:
            self.calls[workload] = {place: calls for place, (calls, _) in self.rows(capture)[0].items()}
        elif tracer in SHARES:
            one, *others = ledger.read(capture)
            cpu, cost = one.totals()
            observed["cost"] = cost / cpu if cpu else None
            observed["second"] = one.cost(10**9, skip_ns=10**9)
            observed["tenth"] = one.cost(10**8, skip_ns=10**9)
            observed["muted"] = len(one.muted() | one.muted_c_calls())
            if workload in self.calls and workload in self.shares:
                observed["estimates"] = list(self.estimates(workload, capture, one.muted(), cpu))
        if tracer not in SHARES or not observed["slow_calls"]:
            observed.pop("slow_calls", None)
            return
        observed["slow"] = self.slow(capture, observed.pop("slow_calls"), int(one.properties["start_monotonic_ns"]))

    def convert(self, capture, *options):
        return subprocess.run([self.converter, "-q", capture, *options], capture_output=True, check=True).stdout

    def keep_samples(self, workload, samples):
        """samples: a list of [file, line, number] (sample.py)."""
        total = sum(n for _, _, n in samples)
        shares = self.shares[workload] = collections.Counter()
        for file, line, n in samples:
            shares[file, line] += n / total

    def rows(self, capture):
        """Returns [calls, self time in ns] of each function, with what is estimated, and the names, by (file, line)."""
        rows, names = collections.defaultdict(lambda: [0, 0]), {}
        for row in json.loads(self.convert(capture, "--top", "--json"))["functions"]:
            place = row.get("file", ""), row.get("line", 0)
            rows[place][0] += row["calls"]
            rows[place][1] += row["self_ns"]
            names[place] = row["name"].removeprefix("~")        # which marks estimates
        return rows, names

    def estimates(self, workload, capture, muted, cpu_ns):
        rows, names = self.rows(capture)
        calls, shares = self.calls[workload], self.shares[workload]
        for place, name in names.items():
            if name in muted and place in calls and shares.get(place, 0) >= 0.01:
                yield [name, calls[place], rows[place][0], shares[place] * cpu_ns, rows[place][1]]

    def slow(self, capture, calls, zero):
        """Each long call is a slice that ends as it did and begins when it did, or late."""
        options = ["--flows=none", "--include=workloads.*", "--min-duration=1ms", "-o", "-"]
        slices = collections.defaultdict(list)
        for line in self.convert(capture, *options).decode().splitlines():
            if line.startswith('{"ph":"X"') or '"ph":"X"' in line:
                one = json.loads(line.removesuffix(","))
                begin = round(one["ts"] * 1000) + zero
                slices[one["name"]].append((begin, begin + round(one["dur"] * 1000)))
        n_missing = delay = 0
        for name, begin, end in calls:
            found = [b for b, e in slices[f"workloads.{name}"] if b < end and -TOLERANCE_NS < e - end < LATE_NS]
            n_missing += not found
            delay = max([delay, *(b - begin for b in found)])
        return [len(calls), n_missing, delay]


def values(data, tracer, key, names=None):
    """What all rounds and workloads measured, without None."""
    return [run[key] for name in names or data["runs"] for run in data["runs"].get(name, {}).get(tracer, ())
            if run and run.get(key) is not None]


def slowdowns(data, time):
    """The table: how much longer each workload takes under each tracer. time: "seconds" or "cpu"."""
    views = [Figures(data, minimum, time), Figures(data, median, time)]
    ran = [tracer for tracer in TRACERS[1:] if any(tracer in runs for runs in data["runs"].values())]
    rows = []
    if all(name in data["runs"] for name in programs.FOURTEEN):
        rows.append(["*14 programs, geometric mean*"] + [show([view.fourteen(tracer) for view in views], 2) for tracer in ran])
    for name in data["runs"]:
        rows.append([name] + [show([view.slowdown(name, tracer) for view in views], 2) for tracer in ran])
    if "server" in data["runs"] and time == "seconds":
        rows.append(["server: p99 over that untraced"] +
                    [show([p99(view, tracer) for view in views], 2) for tracer in ran])
    return table([{"seconds": "slowdown by the clock", "cpu": "slowdown by CPU time"}[time],
                  *(NAMES[tracer] for tracer in ran)], rows)


def p99(view, tracer):
    return ratio(*(view.value("server", each, "p99") for each in (tracer, PLAIN)))


def costs(data):
    """The table: the accounted cost in percent of CPU time, and how much was muted."""
    rows = []
    for name in data["runs"]:
        row = [name]
        for tracer in SHARES:
            found = [max(values(data, tracer, key, [name]), default=None) for key in ("cost", "second", "tenth")]
            row.append(" / ".join("-" if one is None else f"{one * 100:.1f}" for one in found))
        row.append(" / ".join(str(max(values(data, tracer, "muted", [name]), default="-")) for tracer in SHARES))
        rows.append(row)
    return table(["largest accounted cost, %: of all / of any second / of any 100 ms",
                  *(NAMES[tracer] for tracer in SHARES), "functions muted, 1 / 3 / 5 %"], rows)


def share_right(data, tracer, at):
    """The share of the estimates within a fifth of the oracle. at: 1 for calls, 3 for self times."""
    found = [row for rows in values(data, tracer, "estimates") for row in rows]
    right = [abs(row[at + 1] / row[at] - 1) <= WITHIN for row in found if row[at] > 0]
    return sum(right) / len(right) if right else None


def n_missing(data, tracer):
    found = values(data, tracer, "slow")
    return sum(missing for _, missing, _ in found) if found else None


def slowest(view, tracer):
    """(slowdown, name) of that of the 14 programs; (None, None) if one was not measured."""
    each = [(view.slowdown(name, tracer), name) for name in programs.FOURTEEN]
    return (None, None) if any(slowdown is None for slowdown, _ in each) else max(each)


def slowdown_goals():
    """(text, limit, True for "at most", figure of a Figures)"""
    for tracer, share in SHARES.items():
        yield (f"{share} %: 14 programs, geometric mean", {1: 1.02, 3: 1.04, 5: 1.06}[share], True,
               lambda view, tracer=tracer: view.fourteen(tracer))
        yield (f"{share} %: the slowest of the 14 programs", 1 + (share + 3) / 100, True,
               lambda view, tracer=tracer: slowest(view, tracer)[0])
    for name in CALLS:
        yield f"3 %: {name}", 1.06, True, lambda view, name=name: view.slowdown(name, "rec_3")
    yield "3 %: server, requests/s over those untraced", 0.97, False, lambda view: ratio(1, view.slowdown("server", "rec_3"))
    yield "3 %: server, p99 over that untraced", 1.1, True, lambda view: p99(view, "rec_3")


def other_goals(data):
    """(text, limit, True for "at most", figure)"""
    for tracer, share in SHARES.items():
        for key, text, factor in (("second", "any second after the first", 1.1), ("tenth", "any 100 ms after it", 3)):
            worst = max(values(data, tracer, key), default=None)
            yield (f"{share} %: accounted cost of {text}, in budgets", factor, True,
                   None if worst is None else worst * 100 / share)
        yield f"{share} %: calls of 30 ms that are missing", 0, True, n_missing(data, tracer)
        yield f"{share} %: estimated calls within 20 %, share of the functions", 0.9, False, share_right(data, tracer, 1)
        yield f"{share} %: estimated self times within 20 %, share", 0.9, False, share_right(data, tracer, 3)


def targets(data):
    """The two tables: the targets of slowdowns, and the others."""
    clock, cpu = ([Figures(data, choose, time) for choose in (minimum, median)] for time in ("seconds", "cpu"))
    rows = []
    for text, limit, is_at_most, figure in slowdown_goals():
        cells = []
        for views in (clock, cpu) if "p99" not in text else (clock,):
            found = [figure(view) for view in views]
            cells += [show(found, 3), judge(found[1], limit, is_at_most)]
        if "slowest" in text:
            name = slowest(clock[1], next(tracer for tracer, share in SHARES.items() if text.startswith(f"{share} ")))[1]
            text += f" ({name})" * (name is not None)
        rows.append([text, f"{'<=' if is_at_most else '>='} {limit:.3g}", *cells, *["-"] * (4 - len(cells))])
    first = table(["", "target", "by the clock, min / median", "", "by CPU time, min / median", ""], rows)
    rows = [[text, f"{'<=' if is_at_most else '>='} {limit:.3g}", show([value], 3), judge(value, limit, is_at_most)]
            for text, limit, is_at_most, value in other_goals(data)]
    return first + "\n" + table(["", "target", "the worst of all runs", ""], rows)


def text(data):
    return "\n".join([targets(data), slowdowns(data, "seconds"), slowdowns(data, "cpu"), costs(data)])


# ---- the chart

WIDTH, LEFT, RIGHT, BAR, SPACE = 940, 130, 60, 9, 7
COLORS = {"rec": "#c2410c", "rec_5": "#0369a1", "rec_3": "#0ea5e9", "rec_1": "#7dd3fc"}
LABELS = {"rec": "without a budget", "rec_5": "5 %", "rec_3": "3 %", "rec_1": "1 %"}


def draw(data):
    """Returns the SVG: for each workload how much longer it takes without a budget and with one of 5, 3 and 1 %."""
    figures = Figures(data, median)
    groups = [("14 programs", {tracer: figures.fourteen(tracer) for tracer in COLORS})]
    groups += [(name, {tracer: figures.slowdown(name, tracer) for tracer in COLORS})
               for name in data["runs"] if name not in workloads.BUDGETS]
    maximum = max([value for _, bars in groups for value in bars.values() if value], default=1)
    scale = (WIDTH - LEFT - RIGHT) / max(maximum, 1)
    lines = [f'<text x="16" y="24" font-weight="bold">CPython {html.escape(data["python"])}: slowdown by program</text>']
    for k, (tracer, label) in enumerate(LABELS.items()):
        lines.append(f'<rect x="{LEFT + k * 150}" y="36" width="12" height="12" fill="{COLORS[tracer]}"/>'
                     f'<text x="{LEFT + k * 150 + 18}" y="47">{label}</text>')
    y = 64
    for name, bars in groups:
        if not any(bars.values()):
            continue
        lines.append(f'<text x="{LEFT - 10}" y="{y + 2 * BAR + 4}" text-anchor="end">{html.escape(name)}</text>')
        for tracer, value in bars.items():
            if value:
                width = value * scale
                lines.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 1}" fill="{COLORS[tracer]}"/>'
                             f'<text x="{LEFT + width + 5:.1f}" y="{y + BAR - 1}" font-size="9">{value:.2f}</text>')
            y += BAR
        y += SPACE
    x = LEFT + scale
    lines.append(f'<line x1="{x:.1f}" y1="58" x2="{x:.1f}" y2="{y - SPACE}" stroke="#334155" stroke-dasharray="3 3"/>')
    body = "\n".join(lines)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" font-family="sans-serif" font-size="12">\n'
            f'<rect width="{WIDTH}" height="{y}" fill="white"/>\n{body}\n</svg>\n')
