"""Reads captures: what panopticon-convert has added up of each, by functions."""

import json
import subprocess
import sys

# The figures of a function, each with the unit in which it is written. Times are nanoseconds.
METRICS = ("self", "total", "calls", "mean", "p50", "p99", "max", "suspended")
SUMS = ("self", "total", "calls")       # 0 where the function was not called; the others are then not known


def key_of(metric):
    """Return the name of a figure in JSON."""
    return metric if metric == "calls" else f"{metric}_ns"


class Capture:
    """One capture.

    functions: dict of identity (name, kind, file, line) to figures, dict of metric to a number or None. estimated: the
    identities some of whose calls are estimated. properties: dict of a property that decides what the figures mean to the
    set of its values in all processes. stacks: each after its parent, (parent, function, total_ns). parent: an index, or -1.
    function: an identity, or the name of a process or thread. n_left_out: how many stacks are not among them.
    """

    def __init__(self, path, document, is_whole):
        self.path, self.is_whole = path, is_whole
        self.lost = document["lost_events"]
        shown = [process for process in document["processes"] if process["shown"]]
        self.properties = {name: {process.get(name, "") for process in shown} for name in (
            "python", "recorder", "engine", "clock", "clock_mode", "filters", "max_overhead", "min_duration_ns",
            "calls_missing", "unseen_ns")}
        identities = [identity_of(row) for row in document["functions"]]
        rows = {}
        for identity, row in zip(identities, document["functions"]):
            rows.setdefault(identity, []).append(row)
        self.functions = {identity: add_up(map(figures_of, parts)) for identity, parts in rows.items()}
        self.estimated = {identity for identity, parts in rows.items() if any(row.get("estimated") for row in parts)}
        self.stacks = [(parent, which if isinstance(which, str) else identities[which], total_ns)
                       for parent, which, _, total_ns in document["stacks"]]
        self.n_left_out = document["left_out_stacks"]


def identity_of(row):
    """Return which function a row of the converter is about: (name, kind, file, line)."""
    return row["name"].removeprefix("~") if row.get("estimated") else row["name"], row["kind"], row.get("file", ""), \
        row.get("line", 0)


def figures_of(row):
    """Return the figures of a function of the converter. Of estimated calls no percentile is known, nor the longest."""
    figures = {metric: row.get(key_of(metric)) for metric in METRICS}
    if row.get("estimated"):
        figures["max"] = None
    return figures


def add_up(parts):
    """Return the figures of several functions as those of one. Its percentiles are not known, unless it is one."""
    parts = [part for part in parts if part and part["calls"]]
    if len(parts) < 2:
        return parts[0] if parts else None
    known = {metric: [part[metric] for part in parts if part[metric] is not None] for metric in METRICS}
    calls = sum(known["calls"])
    return {**dict.fromkeys(METRICS), **{metric: sum(known[metric]) for metric in SUMS},
            "mean": sum(part["mean"] * part["calls"] for part in parts) // calls,
            "max": max(known["max"], default=None), "suspended": sum(known["suspended"]) if known["suspended"] else None}


def read(converter, path, selection):
    """Return a Capture, or None after the converter has reported why there is none.

    converter: the path of panopticon-convert. selection: its options that select a part.
    """
    # The first word is the name under which the converter reports what is wrong.
    words = ["panopticon diff", *selection, "--quiet", "--format=report", "--output=-", "--", path]
    finished = subprocess.run(words, executable=converter, stdout=subprocess.PIPE)
    if finished.returncode not in (0, 1):
        return None
    return Capture(path, json.loads(finished.stdout), finished.returncode == 0)


def read_stacks(converter, path, selection):
    """Return the self time of each stack in microseconds, dict of a line of folded stacks without its number to int; None
    after the converter's messages, which are those of read() if there are stacks."""
    words = ["panopticon diff", *selection, "--quiet", "--format=folded", "--output=-", "--", path]
    finished = subprocess.run(words, executable=converter, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if finished.returncode not in (0, 1):
        sys.stderr.write(finished.stderr.decode(errors="backslashreplace"))
        return None
    found = {}
    for line in finished.stdout.splitlines():
        stack, _, number = line.rpartition(b" ")
        found[stack] = found.get(stack, 0) + int(number)
    return found
