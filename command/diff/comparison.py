"""Compares two sides, each of one capture or several: a row for each function."""

import statistics

from . import noise
from .captures import METRICS, SUMS, add_up, key_of
from .matching import match

# A function counts for the noise, and for --fail-above, if it has this share of the time of a side.
TESTED_SHARE, JUDGED_SHARE = 0.001, 0.01


class Figure:
    """One figure of one function. before, after: the medians, or None. values: of each capture where it is known, before
    and after."""

    def __init__(self, values):
        self.values = values
        self.before, self.after = (rounded(statistics.median(side)) if side else None for side in values)
        known = None not in (self.before, self.after)
        self.difference = self.after - self.before if known else None
        self.rise = self.difference / self.before if known and self.before else None


class Row:
    """One function, or several that cannot be told apart: matching.py. functions: their identities, before and after.

    p: the probability that the noise has a difference as large, or None if that is not known.
    """

    def __init__(self, functions, sides):
        self.functions = functions
        self.name, self.kind, self.file, self.line = (functions[1] or functions[0])[0]
        self.is_new, self.is_gone = not functions[0], not functions[1]
        self.n_functions = max(map(len, functions))
        self.is_estimated = any(not capture.estimated.isdisjoint(own) for side, own in zip(sides, functions)
                                for capture in side)
        values = [[add_up(map(capture.functions.get, own)) for capture in side] for side, own in zip(sides, functions)]
        self.figures = {metric: Figure([known(side, metric) for side in values]) for metric in METRICS}
        self.p = None

    def exceeds_noise(self):
        return None if self.p is None else self.p < noise.ALPHA


def known(figures, metric):
    """Return the values of a metric on a side. figures: of each capture; None where the function was not called."""
    if metric in SUMS:
        return [one[metric] if one else 0 for one in figures]
    return [one[metric] for one in figures if one and one[metric] is not None]


def rounded(value):
    """Return a number as an int where it is one."""
    return int(value) if value == int(value) else value


class Comparison:
    """by: the metric that is compared. rows: those that exceed the noise first, then the largest difference first.
    whole: the time of all functions, as a Figure."""

    def __init__(self, before, after, by):
        self.sides, self.by = (before, after), by
        functions = [list(dict.fromkeys(one for capture in side for one in capture.functions)) for side in self.sides]
        rows = [Row(pair, self.sides) for pair in match(*functions)]
        self.rows = rows
        self.whole = Figure([[sum(one["self"] for one in capture.functions.values()) for capture in side]
                             for side in self.sides])
        self.has_noise = noise.can_exceed(len(before), len(after))
        for row, p in zip(*self.probabilities(by)):
            row.p = p
        rows.sort(key=lambda row: (not row.exceeds_noise(), -abs(row.figures[by].difference or 0), row.name))

    def share(self, row, metric="self"):
        """Return a function's share of the whole time, on the side where that is larger."""
        figure = row.figures[metric]
        return max(one / whole for one, whole in ((figure.before, self.whole.before or 1),
                                                  (figure.after, self.whole.after or 1)))

    def probabilities(self, metric):
        """Return (rows, probabilities) of those whose time matters, and of which all captures have a value."""
        n = [len(side) for side in self.sides]
        rows = [row for row in self.rows if self.has_noise and self.share(row, "total") >= TESTED_SHARE
                and [len(values) for values in row.figures[metric].values] == n]
        return rows, noise.probabilities([row.figures[metric].values for row in rows])

    def slower(self, limit):
        """Return the rows whose total time has risen by more than a share, and by more than the noise if that is known.

        limit: the share, such as 0.05. A new function is in its callers' total time.
        """
        exceed = {id(row) for row, p in zip(*self.probabilities("total")) if p < noise.ALPHA}
        return [row for row in self.rows
                if self.share(row, "total") >= JUDGED_SHARE and (row.figures["total"].rise or 0) > limit
                and (not self.has_noise or id(row) in exceed)]

    def notes(self):
        """Return what the reader must know of the figures: list of sentences."""
        return [*self.notes_of_noise(), *self.notes_of_functions(), *self.notes_of_captures()]

    def notes_of_noise(self):
        n = [len(side) for side in self.sides]
        if min(n) == 1:
            yield "the noise is not known: give several captures a side (--before A B C --after D E F)"
        elif not self.has_noise:
            yield f"too few captures to separate differences from noise ({n[0]} and {n[1]}): give 4 a side or more"

    def notes_of_functions(self):
        if self.rows and all(row.is_new or row.is_gone for row in self.rows):
            yield "no function is in both sides"
        if any(row.is_estimated for row in self.rows):
            yield ("~: some of the function's calls were not recorded (--max-overhead): its calls and times are in part "
                   "estimated, and its percentiles are not known")

    def notes_of_captures(self):
        captures = [capture for side in self.sides for capture in side]
        if any("sparse" in capture.properties["clock_mode"] for capture in captures):
            yield "a clock is sparse: times of single short calls are less exact than their sums"
        for name, text in (("python", "versions of Python"), ("recorder", "versions of the recorder"),
                           ("engine", "engines"), ("clock", "clocks"), ("clock_mode", "modes of the clock"),
                           ("filters", "filters"), ("max_overhead", "values of --max-overhead"),
                           ("min_duration_ns", "minimum durations")):
            values = [set().union(*(capture.properties[name] for capture in side)) for side in self.sides]
            if values[0] != values[1]:
                yield f"the sides have different {text}: {listed(values[0])} before, {listed(values[1])} after"
        for capture in captures:
            if capture.lost:
                yield f"{capture.path}: the recorder lost {capture.lost} events"
            if any(capture.properties["calls_missing"] - {"", 0}):
                yield f"{capture.path}: calls are missing: see panopticon info"
            unseen_ns = max(capture.properties["unseen_ns"] - {""}, default=0)
            if unseen_ns:
                yield (f"{capture.path}: calls of muted functions of up to {unseen_ns / 1e6:.1f} ms may be missing: looks for "
                       "slow calls came late")
            if not capture.is_whole:
                yield f"{capture.path}: a part of it is damaged or missing: see the messages"


def listed(values):
    return ", ".join(sorted(str(value) or "none" for value in values))


def as_document(comparison):
    """Return the comparison as what becomes JSON: docs/diff.md."""
    return {"before": [capture.path for capture in comparison.sides[0]],
            "after": [capture.path for capture in comparison.sides[1]],
            "by": comparison.by, "notes": comparison.notes(), "self_ns": figure_as_document(comparison.whole),
            "functions": [row_as_document(row, comparison) for row in comparison.rows]}


def row_as_document(row, comparison):
    document = {"name": row.name, "kind": row.kind}
    if row.file:
        document |= {"file": row.file, "line": row.line}
    if row.is_new or row.is_gone:
        document["new" if row.is_new else "gone"] = True
    if row.n_functions > 1:
        document["functions"] = row.n_functions
    if row.is_estimated:
        document["estimated"] = True
    if row.p is not None:
        document |= {"p": round(row.p, 6), "exceeds_noise": row.exceeds_noise()}
    return document | {key_of(metric): figure_as_document(figure) for metric, figure in row.figures.items()
                       if (figure.before, figure.after) != (None, None)}


def figure_as_document(figure):
    document = {"before": figure.before, "after": figure.after, "difference": figure.difference}
    for name, values in zip(("before", "after"), figure.values):
        if len(values) > 1:
            document[f"{name}_spread"] = rounded(noise.spread(values))
    if min(map(len, figure.values)) > 1:
        document |= dict(zip(("difference_low", "difference_high"), noise.interval(*figure.values)))
    return document
