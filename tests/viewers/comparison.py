"""Reads what a trace file contains, in the form in which viewers report what they show. It goes by the rules of
specs/trace-mapping.md, not by a viewer's.

    trace = comparison.Trace(path)
    trace.slices                # list of Slice; instant events are slices without length
    trace.flows                 # a list of (time, phase, Slice) each; trace.creations: of spawn arrows
    trace.arrows                # Counter of (category, name, from, to), which are (pid, tid, begin) of slices
    trace.threads               # (pid, tid) -> (name of the thread, name of its process)
    trace.tasks                 # Counter of Task, also of windows; trace.n_windows: how many of them are windows
"""

import bisect
import collections
import json
import re
from dataclasses import dataclass, field

# Times are ns; parent is (begin, name); args are JSON; src is FILE:LINE, or None.
Slice = collections.namedtuple("Slice", "pid tid begin end name cat args parent src")

# A task of asyncio, which has a row of its own. args and src are those of Slice; runs are its (begin, end) pairs.
Task = collections.namedtuple("Task", "pid begin end name args src runs")


@dataclass
class Shown:
    """What a viewer shows of a trace."""
    slices: list
    arrows: collections.Counter = field(default_factory=collections.Counter)
    threads: dict = field(default_factory=dict)
    tasks: collections.Counter = field(default_factory=collections.Counter)
    warnings: list = field(default_factory=list)


class Written(float):
    """A number with a point, which knows how it is written."""
    def __new__(cls, text):
        number = super().__new__(cls, text)
        number.text = text
        return number


def nanoseconds(microseconds):
    """Converts microseconds, as written in the trace, to exact nanoseconds."""
    whole, digits = re.fullmatch(r"(\d+)\.(\d{3})", microseconds.text).groups()
    return int(whole + digits)


def canonical(args):
    return json.dumps(args, sort_keys=True)


def arrow(cat, name, origin, target):
    return cat, name, (origin.pid, origin.tid, origin.begin), (target.pid, target.tid, target.begin)


class Trace:
    def __init__(self, path):
        document = json.loads(path.read_text(encoding="utf-8"), parse_float=Written)
        by_phase = collections.defaultdict(list)
        for event in document["traceEvents"]:
            by_phase[event["ph"]].append(event)
        assert by_phase.keys() <= set("XMCistfbe"), by_phase.keys()
        self._sources = {int(key): frame["name"] for key, frame in document["stackFrames"].items()}
        for event in by_phase["i"]:
            event["dur"] = Written("0.000")
        self.slices = self._slices(by_phase["X"] + by_phase["i"])
        self.first = min([each.begin for each in self.slices] + [nanoseconds(event["ts"]) for event in by_phase["C"]])
        self.n_instants = len(by_phase["i"])
        self.flows, self.creations, self.reported, self.works = self._flows(by_phase["s"] + by_phase["t"] + by_phase["f"])
        self.arrows = self.bound_arrows(lambda at, meant: meant)
        self.threads = self._threads(by_phase["M"])
        self.n_threads = sum(tid < 2**31 for _, tid in self.threads)    # the others are greenlets
        self.tasks = self._tasks(event for event in document["traceEvents"] if event["ph"] in "be")

    def bound_arrows(self, bind):
        """A Counter of arrows. bind(time, intended slice) returns the slice to which a viewer binds a flow event."""
        arrows = collections.Counter()
        for cat, flows in (None, self.flows), ("creation", self.creations), ("work", self.works), ("label", self.reported):
            for flow in flows:
                name, kind = "flow" if cat == "label" else flow[-1][2].name, cat or flow[0][2].cat
                bound = [bind(at, each) for at, _, each in flow]
                arrows.update(arrow(kind, name, *pair) for pair in zip(bound, bound[1:]))
        return arrows

    def used_threads(self):
        """The threads that have slices."""
        used = {(each.pid, each.tid) for each in self.slices}
        return {thread: names for thread, names in self.threads.items() if thread in used}

    def crossing(self, name):
        """The number of the function's arrows that go from one thread to another."""
        return sum(n for (_, function, origin, target), n in self.arrows.items()
                   if function == name and origin[:2] != target[:2])

    def _slices(self, events):
        """Slices in the order of threads and begins."""
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
                                    (stack[-1].begin, stack[-1].name) if stack else None,
                                    self._sources[event["sf"]] if "sf" in event else None))
                stack.append(slices[-1])
        return slices

    def _flows(self, events):
        """The flows and spawn arrows. A flow event belongs to the innermost slice that contains it."""
        begun, by_begin = collections.defaultdict(list), {}
        for each in self.slices:
            begun[each.pid, each.tid].append(each.begin)
            by_begin[each.pid, each.tid, each.begin] = each
        rows = collections.defaultdict(list)
        for event in events:
            at, thread = nanoseconds(event["ts"]), (event["pid"], event["tid"])
            each = by_begin[*thread, begun[thread][bisect.bisect(begun[thread], at) - 1]]
            while not each.begin < at < each.end:
                each = by_begin[*thread, each.parent[0]]
            rows[event["id"]].append((at, event["ph"], each, event["name"], event["cat"]))
        flows, creations, reported, works = [], [], [], []
        for row in rows.values():
            row.sort()
            phases = "".join(phase for _, phase, *_ in row)
            is_of_program = row[0][4] == "label"        # by panopticon_rec.flow(): nobody knows which one is the last
            assert re.fullmatch("st*" if is_of_program else "st*f", phases), phases
            for at, phase, each, name, cat in row:
                assert is_of_program or (name, cat) == (each.name, each.cat) or (
                    cat in ("creation", "work") and (phase == "s" or name == each.name)), (row, each)
            group = {"label": reported, "creation": creations, "work": works}.get(row[0][4], flows)
            group.append([event[:3] for event in row])
        return flows, creations, reported, works

    def _tasks(self, events):
        """The tasks, and the windows, which are shown as tasks are. The events of each are in order in the file."""
        open_tasks, tasks = {}, collections.Counter()
        for event in events:
            at, key = nanoseconds(event["ts"]), (event["pid"], event["id"])
            if key not in open_tasks:
                src = self._sources[event["sf"]] if "sf" in event else None
                open_tasks[key] = Task(event["pid"], at, None, event["name"], canonical(event.get("args", {})), src, [])
            elif event["name"] == "[running]":
                open_tasks[key].runs.append(at)
            else:
                task = open_tasks.pop(key)
                tasks[task._replace(end=at, args=canonical({**json.loads(task.args), **event.get("args", {})}),
                                    runs=tuple(zip(task.runs[::2], task.runs[1::2])))] += 1
        assert not open_tasks
        self.n_windows = sum(number for task, number in tasks.items() if task.name == "[all functions recorded]")
        return tasks

    @staticmethod
    def _threads(events):
        names = {(event["name"], event["pid"], event.get("tid")): event["args"].get("name") for event in events}
        processes = {pid: name for (kind, pid, _), name in names.items() if kind == "process_name"}
        return {(pid, tid): (name, processes[pid]) for (kind, pid, tid), name in names.items() if kind == "thread_name"}
