"""What can be made of a trace afterwards."""

import collections
import json

__all__ = ["flatten"]

WIDTH, PADDING = 90, 10           # of an innermost slice, and around slices


def flatten(*, trace_file=None, trace_str=None, trace_json=None):
    """Return a trace in which all innermost slices have the same width: the order of events instead of their times.

    Exactly one is given: trace_file, the path of a trace; trace_str, its text; or trace_json, what json.loads() makes
    of it, which is changed. An array may lack its last bracket. Raises ValueError when not one is given, or when it is
    no JSON."""
    given = [one for one in (trace_file, trace_str, trace_json) if one]
    if len(given) != 1:
        raise ValueError("give one of trace_file, trace_str and trace_json")
    if trace_file:
        with open(trace_file, encoding="utf-8") as file:
            trace_str = file.read()
    if trace_str:
        trace_json = parse(trace_str)
    events = trace_json if isinstance(trace_json, list) else trace_json["traceEvents"]
    rows = collections.defaultdict(list)
    for event in events:
        rows[event.get("pid"), event.get("tid")] += moments(event)
    for row in rows.values():
        lay_out(sorted(row, key=lambda moment: moment[:2]))
    return trace_json


def parse(text):
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return json.loads(text.rstrip().rstrip(",") + "]")


BEGIN, INSIDE, END = range(3)


def moments(event):
    """Return where an event begins and ends: list of (time, order at this time, which, event)."""
    kind, ts = event["ph"], event.get("ts", 0)
    if kind == "X":         # of slices at one time the longer one begins first, and the shorter one ends first
        return [(ts, (0, -event["dur"]), BEGIN, event), (ts + event["dur"], (-1, event["dur"]), END, event)]
    if kind == "M":
        return []
    return [(ts, (0, 0), {"B": BEGIN, "E": END}.get(kind, INSIDE), event)]


def lay_out(row):
    """Give the events of a row their new times."""
    now, begins = 0, []
    for _, _, which, event in row:
        if which == INSIDE:             # not in what its slice has called
            event["ts"] = now - PADDING / 2
        elif which == BEGIN:
            event["ts"] = now
            begins.append(now)
            now += PADDING
        elif begins:
            begin = begins.pop()
            end = max(now, begin + WIDTH)
            if event["ph"] == "X":
                event["dur"] = end - begin
            else:
                event["ts"] = end
            now = end + PADDING
