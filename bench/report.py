"""Writes tables in Markdown of what bench/run measured, and of the targets."""

import statistics

import programs
import server

PLAIN = "nothing"
TRACERS = {
    PLAIN: "no tracer",
    "profile": "empty C `PyEval_SetProfile` callback",
    "monitoring": "empty C `sys.monitoring` callback",
    "hook": "empty frame hook",
    "store": "frame hook, one clock read and one 16-byte store an event",
    "cprofile": "cProfile",
    "viztracer": "VizTracer",
    "viztracer_python": "VizTracer, without C functions",
    "trace0": "trace0",
    "original": "the original Panopticon, in Python",
    "rec": "**panopticon_rec**",
    "rec_c_calls": "**panopticon_rec --c-calls**",
    "rec_monitoring": "**panopticon_rec --engine monitoring**",
    "rec_excluded": "**panopticon_rec --exclude '\\*'**",
    "rec_monitoring_excluded": "**panopticon_rec --engine monitoring --exclude '\\*'**",
    "rec_sparse": "**panopticon_rec --clock sparse**",
    "rec_monitoring_sparse": "**panopticon_rec --engine monitoring --clock sparse**",
    "rec_1": "**panopticon_rec --max-overhead 1%**",
    "rec_3": "**panopticon_rec --max-overhead 3%**",
    "rec_5": "**panopticon_rec --max-overhead 5%**",
}
CALLS = ["fib", "generators", "sleeps", "methods"]      # the micro workloads whose events are Python's


def geometric_mean(values):
    """None if one of the values is None. A cost that noise made negative counts as a tenth of a nanosecond."""
    values = list(values)
    return None if None in values or not values else statistics.geometric_mean([max(v, 0.1) for v in values])


def ratio(a, b):
    return None if a is None or b is None or b <= 0 else a / b


def median(values):
    """The median of the values that are not None; None if there are no such values."""
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def minimum(values):
    return min(value for value in values if value is not None)


class Figures:
    """The figures of a measurement. choose: makes one of a list with one value a round, in which None is "not run". time: of
    what slowdowns are made, "seconds" by the clock, or of CPU time in "cpu", without the recorder's own thread."""

    def __init__(self, data, choose, time="seconds"):
        self.data = data
        self.choose = choose
        self.time = time

    def value(self, workload, tracer, key="seconds"):
        """None if it was not measured."""
        runs = self.data["runs"].get(workload, {}).get(tracer, [])
        values = [run and run.get(key) for run in runs]
        return None if all(value is None for value in values) else self.choose(values)

    def n_events(self, workload):
        """Events of a loop; None where there are too few to divide by."""
        events = self.data["events"].get(workload, {"python": 0, "c": 0})
        n = events["c" if workload == "c_calls" else "python"]
        return n if n >= 1000 else None

    def slowdown(self, workload, tracer):
        return ratio(*(self.value(workload, each, self.time) for each in (tracer, PLAIN)))

    def cost(self, workload, tracer):
        """ns per event above the untraced run."""
        slowdown, n = self.slowdown(workload, tracer), self.n_events(workload)
        return None if slowdown is None or not n else (slowdown - 1) * self.value(workload, PLAIN) / n * 1e9

    def micro(self, tracer, names=CALLS):
        return geometric_mean(self.cost(name, tracer) for name in names)

    def per_call(self, tracer, base):
        """ns per call of a function, entry and exit, above `base`: the mean of fib and methods."""
        costs = [self.cost(name, each) if each != PLAIN else 0 for name in ("fib", "methods") for each in (tracer, base)]
        return None if None in costs else costs[0] - costs[1] + costs[2] - costs[3]

    def start_ms(self):
        """How much longer `python3 -c pass` takes under the recorder, by the medians."""
        starts = self.data.get("starts")
        return starts and (statistics.median(starts["rec"]) - statistics.median(starts[PLAIN])) * 1e3

    def micro_slowdown(self, tracer):
        return geometric_mean(self.slowdown(name, tracer) for name in CALLS)

    def fourteen(self, tracer):
        return geometric_mean(self.slowdown(name, tracer) for name in programs.FOURTEEN)

    def per_event(self, tracer, key):
        """Of all workloads together: the sum of `key` over the sum of the events that were recorded."""
        observed = [(self.value(name, tracer, key), self.value(name, tracer, "events")) for name in self.data["runs"]]
        observed = [pair for pair in observed if None not in pair]
        return ratio(sum(a for a, _ in observed), sum(b for _, b in observed))

    def bytes_per_event(self, tracer):
        """One for each workload that wrote anything."""
        sizes = [ratio(self.value(name, tracer, "bytes"), self.value(name, tracer, "events"))
                 for name in self.data["runs"]]
        return [size for size in sizes if size]

    def faults(self, tracer):
        """Page faults of the traced thread per million events, above the untraced run, over all workloads."""
        added, events = 0, 0
        for name in self.data["runs"]:
            faults, plain = self.value(name, tracer, "faults"), self.value(name, PLAIN, "faults")
            if faults is not None and plain is not None and self.n_events(name):
                added += faults - plain
                events += self.n_events(name)
        return added / events * 1e6 if events else None


def show(values, digits):
    """Numbers, as min / median."""
    if None in values:
        return "-"
    return " / ".join(f"{round(value, digits) + 0.0:,.{digits}f}" for value in values)       # + 0.0: no "-0"


def table(header, rows):
    """Markdown, in columns."""
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
    lines = ["| " + " | ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in
                                                           zip(row[1:], widths[1:]))]) + " |"
             for row in [header, *rows]]
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def those_that_ran(data):
    return [tracer for tracer in TRACERS if any(tracer in runs for runs in data["runs"].values())]


def costs(data):
    """The table: what each tracer costs, over several workloads and in each."""
    views = [Figures(data, minimum), Figures(data, median)]
    ran = those_that_ran(data)
    base = "monitoring" if "monitoring" in ran else "profile"
    rows = []

    def section(head, tracers, slowdown, cost):
        rows.append(head)
        for tracer in tracers:
            costs = [cost(view, tracer) for view in views]
            rows.append([TRACERS[tracer], show([slowdown(view, tracer) for view in views], 2), show(costs, 1),
                         show([ratio(own, cost(view, base)) for own, view in zip(costs, views)], 2)])

    if all(name in data["runs"] for name in CALLS):
        section(["*micro workloads, geometric mean*", "", "", ""], ran[1:], Figures.micro_slowdown, Figures.micro)
    if all(name in data["runs"] for name in programs.FOURTEEN):
        section(["*14 programs, geometric mean*", "", "", ""], ran[1:], Figures.fourteen, lambda view, tracer: None)
    for name in data["runs"]:
        n = views[0].n_events(name)
        section([f"*{name}*", f"of {views[1].value(name, PLAIN) * 1e3:,.2f} ms", f"{n:,.0f} events" if n else "", ""],
                ran[1:], lambda view, tracer: view.slowdown(name, tracer), lambda view, tracer: view.cost(name, tracer))
    return table(["", "slowdown", "ns per event", f"ratio to the {TRACERS[base]}"], rows)


def also(data):
    """The table: everything except times and slowdowns."""
    views = [Figures(data, minimum), Figures(data, median)]
    middle = views[1]
    rows = []
    for tracer in those_that_ran(data):
        def both(workload, key, make):
            values = [view.value(workload, tracer, key) for view in views]
            return [value and make(value) for value in values]
        sizes = middle.bytes_per_event(tracer)
        rows.append([TRACERS[tracer], show(both("server", "seconds", lambda s: server.REQUESTS / s), 0),
                     show(both("server", "p99", lambda s: s * 1e3), 2),
                     show(both("stall", "stall_ns", lambda ns: ns / 1e3), 0),
                     show([middle.faults(tracer)], 0),
                     f"{median(sizes):.2f} ({min(sizes):.2f} to {max(sizes):.2f})" if sizes else "-",
                     show([middle.per_event(tracer, "drain_ns")], 1),
                     show([data["instructions"].get(tracer, {}).get(kind) for kind in ("added", "own")], 1)])
    return table(["", "requests/s", "p99, ms", "longest stall, us", "page faults per million events", "bytes per event",
                  "drain, ns per event", "instructions per event: added / own"], rows)


def goals(data):
    """(text, limit, True for "at most", figure of a Figures). The limit is None if this interpreter has no
    target."""
    minor = int(data["python"].split(".")[1])
    is_3_11 = minor == 11
    empty = "profile" if is_3_11 else "monitoring"

    def instructions(kind):
        rec, store = (data["instructions"].get(tracer, {}).get(kind) for tracer in ("rec", "store"))
        return ratio(rec, store)
    return [
        ("micro: cost per event over VizTracer's without C functions", 1 / 7 if is_3_11 else 1 / 4, True,
         lambda f: ratio(f.micro("rec"), f.micro("viztracer_python"))),
        (f"micro: cost per event over the {TRACERS[empty]}'s", 0.35 if is_3_11 else 0.8, True,
         lambda f: ratio(f.micro("rec"), f.micro(empty))),
        ("micro: cost per event with --c-calls over VizTracer's", 1, True,
         lambda f: ratio(f.micro("rec_c_calls", [*CALLS, "c_calls"]), f.micro("viztracer", [*CALLS, "c_calls"]))),
        ("14 programs: slowdown", {11: 1.10, 12: None}.get(minor, 1.20), True, lambda f: f.fourteen("rec")),
        ("14 programs: slowdown over trace0's", 1 if minor > 12 else None, True,
         lambda f: ratio(f.fourteen("rec"), f.fourteen("trace0"))),
        ("server: requests/s over those untraced", 0.95 if is_3_11 else None, False,
         lambda f: ratio(f.value("server", PLAIN), f.value("server", "rec"))),
        ("server: p99 over that untraced", 1.10 if is_3_11 else None, True,
         lambda f: ratio(f.value("server", "rec", "p99"), f.value("server", PLAIN, "p99"))),
        ("bytes per event, median of the workloads", 1.2, True, lambda f: median(f.bytes_per_event("rec"))),
        ("drain, ns of CPU per event", 10, True, lambda f: f.per_event("rec", "drain_ns")),
        ("ns per call of an excluded function, over the empty frame hook's", 3, True,
         lambda f: f.per_call("rec_excluded", "hook")),
        ("the same with the monitoring engine, over no tracer's", 1, True,
         lambda f: f.per_call("rec_monitoring_excluded", PLAIN)),
        ("start and end of python3 -m panopticon_rec -c pass, ms above python3 -c pass", 25, True, Figures.start_ms),
        ("instructions added per event, over the storing hook's", 1.5 if is_3_11 else None, True,
         lambda f: instructions("added")),
        ("the tracer's own of these, over the storing hook's own", None, True, lambda f: instructions("own")),
    ]


def judge(value, limit, is_at_most):
    return "-" if value is None else "met" if (value <= limit if is_at_most else value >= limit) else "missed"


def targets(data):
    """The table: each target, the figure by the minima and by the medians of all rounds, and its range from round to
    round."""
    rows = []
    for text, limit, is_at_most, figure in goals(data):
        value = figure(Figures(data, median))
        by_round = [figure(Figures(data, lambda values, k=k: values[k])) for k in range(data["rounds"])]
        by_round = [x for x in by_round if x is not None]
        rows.append([text, f"{'<=' if is_at_most else '>='} {limit:.3g}" if limit else "-",
                     show([figure(Figures(data, minimum)), value], 3),
                     f"{min(by_round):.3f} to {max(by_round):.3f}" if by_round else "-",
                     judge(value, limit, is_at_most) if limit else "-"])
    return table(["", "target", "min / median", "round by round", "by the medians"], rows)


def head(data):
    machine, load = data["machine"], data["load"]
    return (f"CPython {data['python']}; {machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}; one "
            f"clock read takes {data['clock_ns']:.1f} ns; {data['rounds']} rounds, min / median; load {load[0]:.1f} "
            f"before, {load[1]:.1f} after.\n")


def text(data):
    return "\n".join([costs(data), also(data), targets(data)])
