"""What a trace file says, in the terms in which viewers are asked what they show. It is worked out by the mapping's rules
(specs/trace-mapping.md), not by a viewer's.

    trace = comparison.Trace(path)
    trace.slices                # list of Slice: instant events too, as slices without length
    trace.chains                # each a list of (time, phase, Slice), for its points
    trace.arrows                # Counter of (category, name, (pid, tid, begin) of a slice, that of the next of its chain)
    trace.threads               # (pid, tid) -> (name of the thread, name of its process)
"""

import collections
import json
import re
from dataclasses import dataclass, field

# Times are ns; parent is (begin, name); args are JSON.
Slice = collections.namedtuple("Slice", "pid tid begin end name cat args parent")


@dataclass
class Shown:
    """The same from a viewer."""
    slices: list
    arrows: collections.Counter = field(default_factory=collections.Counter)
    threads: dict = field(default_factory=dict)
    warnings: list = field(default_factory=list)


def nanoseconds(text):
    """Of a number of microseconds as it is written in the trace: exact."""
    whole, digits = re.fullmatch(r"(\d+)\.(\d{3})", text).groups()
    return int(whole + digits)


def canonical(args):
    return json.dumps(args, sort_keys=True)


def arrow(origin, target):
    return origin.cat, origin.name, (origin.pid, origin.tid, origin.begin), (target.pid, target.tid, target.begin)


def arrows(chains):
    """Those between the slices of each chain."""
    return collections.Counter(arrow(*pair) for chain in chains for pair in zip(chain, chain[1:]))


class Trace:
    def __init__(self, path):
        document = json.loads(path.read_text(encoding="utf-8"), parse_float=str)
        by_phase = collections.defaultdict(list)
        for event in document["traceEvents"]:
            by_phase[event["ph"]].append(event)
        assert by_phase.keys() <= set("XMistf"), by_phase.keys()
        for event in by_phase["i"]:
            event["dur"] = "0.000"
        self.slices = self._slices(by_phase["X"] + by_phase["i"])
        self.first = min(each.begin for each in self.slices)
        self.n_instants, self.n_chains = len(by_phase["i"]), len(by_phase["s"])
        self.chains = self._chains(by_phase["s"] + by_phase["t"] + by_phase["f"])
        self.arrows = arrows([[each for _, _, each in chain] for chain in self.chains])
        self.threads = self._threads(by_phase["M"])
        self.n_threads = sum(tid < 2**31 for _, tid in self.threads)    # the others are greenlets

    def used_threads(self):
        """Those with slices."""
        used = {(each.pid, each.tid) for each in self.slices}
        return {thread: names for thread, names in self.threads.items() if thread in used}

    def crossing(self, name):
        """The number of the function's arrows that go from one thread to another."""
        return sum(n for (_, function, origin, target), n in self.arrows.items()
                   if function == name and origin[:2] != target[:2])

    @staticmethod
    def _slices(events):
        """In the order of threads and begins."""
        threads = collections.defaultdict(list)
        for event in events:
            begin = nanoseconds(event["ts"])
            threads[event["pid"], event["tid"]].append((begin, begin + nanoseconds(event["dur"]), event))
        slices = []
        for (pid, tid), rows in sorted(threads.items()):
            rows.sort(key=lambda row: row[0])
            stack = []
            for begin, end, event in rows:
                while stack and stack[-1].end <= begin:
                    stack.pop()
                assert not stack or end <= stack[-1].end, f"{event['name']} overlaps the end of {stack[-1].name}"
                slices.append(Slice(pid, tid, begin, end, event["name"], event["cat"], canonical(event.get("args", {})),
                                    (stack[-1].begin, stack[-1].name) if stack else None))
                stack.append(slices[-1])
        return slices

    def _chains(self, points):
        """Of each chain the points as (time, phase, slice that it is meant for)."""
        begins = {(s.pid, s.tid, s.begin, s.name, s.cat): s for s in self.slices}
        ends = {(s.pid, s.tid, s.end, s.name, s.cat): s for s in self.slices}
        chains = collections.defaultdict(list)
        for point in points:
            at, function = nanoseconds(point["ts"]), (point["name"], point["cat"])
            # One nanosecond inside: an s at its end, unless that was not known when the next slice began.
            found = point["ph"] == "s" and ends.get((point["pid"], point["tid"], at + 1, *function))
            chains[point["id"]].append(
                (at, point["ph"], found or begins[point["pid"], point["tid"], at - 1, *function]))
        for chain in chains.values():
            chain.sort()
            phases = "".join(phase for _, phase, _ in chain)
            assert re.fullmatch("st*f", phases), phases
            assert len({(each.name, each.cat) for _, _, each in chain}) == 1, chain
        return list(chains.values())

    @staticmethod
    def _threads(events):
        names = {(event["name"], event["pid"], event.get("tid")): event["args"].get("name") for event in events}
        processes = {pid: name for (kind, pid, _), name in names.items() if kind == "process_name"}
        return {(pid, tid): (name, processes[pid]) for (kind, pid, tid), name in names.items() if kind == "thread_name"}
