"""Checks whether a trace is what a capture's records mean, by a way of its own: capture_reader's records, a stack
machine in a few lines, and the rules of specs/trace-mapping.md. Shares no code with the converter.

    problems = check(capture_path, trace_text)          # a list of lines; empty: all right
    problems = check(capture_path, trace_text, options=["--flows=all,creation", "--tasks"])

Compared exactly:

- slices with name, category, source, flags, begin, end, process and thread;
- flows, by the slices in which their flow events lie; arrows from where frames were made, likewise;
- tasks, by the slices in which they run;
- instants; names and order of processes and threads;
- windows, and how many functions are muted. What recording cost, and what slices hide, is only compared with its limits.

Of an event of a sparse block that has no reading of the clock, the time is only compared with its bounds; order and
nesting are compared as of any. Where these times are longer than 1 us, slices may have the flag `inexact`.

Times may differ by tolerance_ns, by default by nothing where a tick is a nanosecond and by one where it is not. What was
recorded with a real clock needs REAL_CLOCK_NS, since a converter may leave clock samples out: with those of each block, of
which there are several in a second, nearly each slice is some nanoseconds off.
"""

import json
import math
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import takewhile

import capture_reader as reader
from capture_reader import (ARGUMENTS, CALL, COLLECT, COLLECT_END, COUNTER, CREATE, C_CALL, C_RAISE, C_RETURN, DEEPER,
                            FINISH, FINISH_UNWIND, FLOW, INSTANT, LAST, LEFT, LOST, OPEN, OPEN_C_CALL, RESULT, RESUME,
                            RETURN, SPAN, SPAN_END, START, SUBMIT, SWITCH, SWITCH_ADDED, SWITCH_DEEPER, SWITCH_OPEN,
                            TAKE, TASK, UNRECORDED, UNRECORDED_END, UNWIND, YIELD)

REAL_CLOCK_NS = 2_000          # neighbouring instants of a real clock disagree by some ten nanoseconds
GENERATOR, C_FUNCTION = 1, 5    # section 6.1
MAX_CARRIED = 64
FLAGS = frozenset("exception unfinished begin_unknown exit_missing cut noticed_late flow_incomplete inexact".split())
CATEGORIES = "python generator coroutine async_generator iterable_coroutine c_function label".split()
ID_STEP = 4194304
TRACK_ID = 2147483648


@dataclass(eq=False)
class Slice:
    key: tuple                      # kind of frame ("python", "c", "unrecorded", "collection"), function, frame
    begin: int
    end: int = 0
    begin_slack: float = 0          # so much later they may be
    end_slack: float = 0
    flags: set = field(default_factory=set)
    where: tuple = ()               # pid, tid
    name: str = ""
    cat: str = ""
    src: str | None = None
    before: int = 0                 # the last begin, end or flow event before it
    is_kept: bool = False             # it is in the trace, however short
    around: tuple | None = None     # the key of the innermost Python frame around it
    values: tuple = ()              # of a span, collection or call: as in the trace, sorted by key
    of_call: reader.Values = reader.Values(())      # its arguments and result
    is_ended: bool = False          # a span that SPAN_END has ended while others were open on it
    is_eager: bool = False          # the two calls were made right before that come before a task that begins at once
    is_of_task: bool = False
    is_suspended: bool = False      # it ends by YIELD
    awaited_task: dict = field(default_factory=dict)
    awaited: dict = field(default_factory=dict)     # of a task: what it waits for then
    inner: list = field(default_factory=list)   # what was suspended right before it, without other records in between

    def same(self):
        return (*self.where, self.name, self.cat, self.src, self.begin, self.end, *sorted(self.flags), *self.values)


@dataclass
class Flow:
    name: str
    cat: str
    function: int
    slices: list = field(default_factory=list)
    is_task: bool = False
    row: str | None = None          # the task's name when it was suspended first, ...
    latest: str = ""                # and its latest one
    other: str | None = None        # the task that it waits for when it is suspended next
    end: int | None = None          # of the process, if it was alive then
    since: int | None = None        # ticks of when it was left; None: it runs


@dataclass(eq=False)
class Creation:
    ns: int
    where: tuple                    # pid, tid
    function: int
    maker: Slice
    made: Slice | None = None       # the first slice of the frame
    slack: float = 0                # so much later it may be
    name: str = ""
    ticks: int = 0


class Clock:
    """Ticks to nanoseconds of CLOCK_MONOTONIC, exactly, by lines through the clock samples. The last two, by which later
    times are extrapolated, are at least 1 s apart if there are such: each reading is uncertain by some 100 ns."""

    def __init__(self, process):
        self.samples = []
        for ticks, ns in sorted(set(process.clock_samples())):
            if not self.samples or (ticks > self.samples[-1][0] and ns > self.samples[-1][1]):
                self.samples.append((ticks, ns))
        while len(self.samples) > 2 and self.samples[-1][1] - self.samples[-2][1] < 10**9:
            del self.samples[-2]
        self.first_ns = self.samples[0][1] if self.samples else 0
        self.rate = Fraction(10**9, process.number("ticks_per_second") or 10**9)
        self.is_exact = process.properties.get("clock") == "monotonic"

    def ns(self, ticks):
        if self.is_exact:
            return ticks
        if not self.samples or ticks < self.samples[0][0]:
            return self.first_ns
        at = max(0, min(bisect_right(self.samples, (ticks, 2**64)), len(self.samples) - 1) - 1)
        (t0, n0), *more = self.samples[at:at + 2]
        rate = Fraction(more[0][1] - n0, more[0][0] - t0) if more else self.rate
        return int(n0 + (ticks - t0) * rate)


class Stack:
    """The stack of a thread, or of a track. Begins and ends are strictly increasing. A continuable frame's slice keeps
    a nanosecond after its begin and one before its end for a flow event. Slices shorter than `minimum` are left out, as
    if they had not been."""

    def __init__(self, expected, process, where, change):
        self.expected, self.process, self.where = expected, process, where
        self.open, self.last = [], 0
        self.taken = None               # the identity of the work that the next slice does; how many are open
        self.suspended_now = []         # slices that the records right before this one suspended, the innermost first
        self.minimum = process.number("min_duration_ns", 0)
        self.is_asked = False           # see Slice.is_eager
        self.latest = 0                 # ns that the present record may have at most, if it has no reading
        self.suspended = expected.suspended
        self.change = change            # called for the flows, with what happens, frame and slice

    def push(self, kind, function, frame, ns, what=None, flags=(), values=()):
        begin, before = max(ns, self.last + 1), self.last
        self.last = begin + bool(frame)
        taken, self.taken = self.taken, None
        around = next((slice.key for slice in reversed(self.open) if slice.key[0] == "python"), None)
        slice = Slice((kind, function, frame), begin, flags=set(flags), where=self.where, before=before,
                      begin_slack=max(0, self.latest - begin),
                      is_kept=kind in ("unrecorded", "collection", "span") or bool(flags), around=around, values=values,
                      is_eager=what == "start" and self.is_asked)
        self.open.append(slice)
        if taken:
            self.last += 1
            self.keep_outer()
            self.change("take", taken[0], (self.last, self.where, function))
        if frame:
            self.change(what, frame, slice)
            spans = self.suspended.pop(frame, ())
            for label, of_span in spans if what != "start" else ():
                self.push("span", label, 0, ns, values=of_span)

    def pop(self, ns, flags=(), what="suspend"):
        slice = self.open.pop()
        kind, function, frame = slice.key
        slice.end = self.last = max(ns, self.last + 1)
        slice.end_slack = max(0, self.latest - slice.end)
        slice.flags |= set(flags)
        if frame:
            self.change(what, frame, slice)
        slice.is_kept |= slice.end - slice.begin >= self.minimum or "unfinished" in flags
        if not slice.is_kept:
            self.last = slice.before
            return
        self.keep_outer()
        slice.name, slice.cat, slice.src = describe(self.process, kind, function)
        self.expected.slices.append(slice)

    def keep_outer(self):
        for slice in self.open:
            slice.is_kept = True

    def leave(self, key, ns, flags=(), what=None):
        for at in reversed(range(len(self.open))):
            if is_same(self.open[at].key, key):
                on_it = self.open[at + 1:]
                if on_it and len(on_it) <= MAX_CARRIED and all(slice.key[0] == "span" for slice in on_it):
                    self.leave_below(at, ns, flags, what)
                    break
                while len(self.open) > at + 1:
                    self.pop(ns, ["exit_missing"])
                self.pop(ns, flags, what)
                break
        while self.open and self.open[-1].is_ended:
            self.pop(ns)

    def leave_below(self, at, ns, flags, what):
        """Leaves what has only spans on it: they go on, or are suspended with it."""
        _, function, frame = self.open[at].key
        spans = [(slice.key[1], slice.values) for slice in self.open[at + 1:] if not slice.is_ended]
        while len(self.open) > at + 1:
            self.pop(ns)
        self.pop(ns, flags, what)
        of = self.process.functions.get(function)
        if frame and what == "suspend" and not (of and of.kind == GENERATOR):
            self.suspended[frame] = spans
            return
        for label, values in spans:
            self.push("span", label, 0, ns, values=values)

    def end_span(self, label, ns):
        for at in reversed(range(len(self.open))):
            slice = self.open[at]
            if slice.key == ("span", label, 0) and not slice.is_ended:
                on_it = self.open[at + 1:]
                if not on_it:
                    self.pop(ns)
                elif len(on_it) <= MAX_CARRIED and all(other.key[0] == "span" for other in on_it):
                    self.leave_below(at, ns, (), None)
                else:
                    slice.is_ended = True
                return

    def end_collection(self, generation, found, ns):
        if self.open and self.open[-1].key == ("collection", generation, 0):
            self.open[-1].values = (("collected", found & 0xffffffff), ("generation", generation),
                                    ("uncollectable", found >> 32 & 0xffff))
        self.leave(("collection", generation, 0), ns)

    def describe_call(self, kind, function, values):
        """Arguments are those of the innermost slice; a result is that of the innermost slice of its function."""
        inner = self.open[-1:] if kind == ARGUMENTS else self.open[::-1]
        slice = next((slice for slice in inner if slice.key[:2] == ("python", function)), None)
        if slice:
            slice.of_call = reader.Values(slice.of_call.pairs + values.pairs,
                                          slice.of_call.n_left_out + values.n_left_out)
            slice.values = shown(slice.of_call)
            slice.is_kept = True

    def remark(self, kind, label, values, ns):
        """An instant, a counter or a flow."""
        self.last = max(ns, self.last + 1)
        self.keep_outer()
        name = describe(self.process, "span", label)[0]
        if kind == INSTANT:
            self.expected.instants[(*self.where, (name, shown(values)), self.last)] += 1
        elif kind == COUNTER:
            numbers = tuple((key, value * 1) for key, value in values.pairs if isinstance(value, (int, float))
                            and math.isfinite(value))
            self.expected.counters[(*self.where, name, self.last, numbers)] += 1
        elif values.pairs and label in self.process.functions:
            self.expected.reported_flows[self.where[0], values.pairs[0][1]].append((ns, self.last, self.where))

    def submit(self, work, ns):
        self.last = max(ns, self.last + 1)
        self.keep_outer()
        self.change("submit", work, (self.last, self.where) if self.open else None)

    def report(self, text, ns):
        self.change("forget", 0, None)
        self.taken = None
        self.last = max(ns, self.last + 1)
        self.keep_outer()
        self.expected.instants[(*self.where, text, self.last)] += 1

    def bring(self, records, is_deeper, ticks, ns):
        """Brings the stack to what OPEN records have: what does not fit is left without an exit, what is missing is
        opened. Where only the innermost frames are known, they are put where most of them fit."""
        opened = keys_of(records)
        python = [slice for slice in self.open if slice.key[0] == "python" or slice.key in opened]

        def fitting(at):
            n = 0
            while at + n < len(python) and n < len(opened) and is_same(python[at + n].key, opened[n]):
                n += 1
            return n

        at = 0
        if is_deeper:
            at = max(0, len(python) - len(opened))
            if fitting(at) < len(opened):
                at = max(reversed(range(len(python))), key=fitting, default=0)
                at = at if fitting(at) else 0
        n = fitting(at)
        n_kept = self.open.index(python[at + n - 1]) + 1 if at + n else 0
        is_equal = len(opened) == n == len(python) - at
        while len(self.open) > n_kept and not is_equal:
            self.pop(ns, ["exit_missing"])
        self.add(opened[n:], ticks, ns)

    def add(self, opened, ticks, ns):
        """Opens what OPEN records have."""
        ledger = self.process.ledger
        for key in opened:
            is_late = key[0] == "python" and ledger and ledger.was_muted(key[1], ticks)
            self.push(*key, ns, "resume", ["begin_unknown"] + ["noticed_late"] * bool(is_late))

    def follow_suspension(self, key):
        """A frame is suspended: right after what it awaits, if that is suspended, too."""
        without_spans = [slice for slice in self.open if slice.key[0] != "span"]
        if without_spans and is_same(without_spans[-1].key, key):
            without_spans[-1].is_suspended, without_spans[-1].inner = True, self.suspended_now
            self.suspended_now = [*self.suspended_now, without_spans[-1]]
        else:
            self.suspended_now = []

    def record(self, kind, frame, function, ns):
        if kind == YIELD:
            self.follow_suspension(("python", function, frame))
        elif kind not in (OPEN, TASK):  # those list what is open anyway, or belong to the exit
            self.suspended_now = []
        n = len(self.open)
        self.record_alone(kind, frame, function, ns)
        if self.taken and len(self.open) < n and len(self.open) <= self.taken[1]:
            self.taken = None

    def record_alone(self, kind, frame, function, ns):
        if kind in (CALL, START, RESUME):
            self.push("python", function, frame, ns, "start" if kind == START else "resume")
        elif kind in (RETURN, UNWIND, YIELD, FINISH, FINISH_UNWIND):
            self.leave(("python", function, frame), ns, ["exception"] if kind in (UNWIND, FINISH_UNWIND) else [],
                       "suspend" if kind == YIELD else "finish")
        elif kind == CREATE:
            self.last = max(ns, self.last + 1)
            maker = self.open[-1] if self.open else None
            self.change("create", frame, Creation(self.last, self.where, function, maker,
                                                  slack=max(0, self.latest - self.last)))
        elif kind == C_CALL:
            self.push("c", function, 0, ns)
        elif kind in (C_RETURN, C_RAISE):
            self.leave(("c", function, 0), ns, ["exception"] if kind == C_RAISE else [])
        elif kind == LEFT:
            while function and self.open:
                function -= self.open[-1].key[0] == "python"
                self.pop(ns, ["exit_missing"])
        elif kind == UNRECORDED:
            self.push("unrecorded", function, 0, ns)
        elif kind == UNRECORDED_END:
            self.leave(("unrecorded", function, 0), ns)
        elif kind == COLLECT:
            self.push("collection", function, 0, ns, values=(("generation", function),))
        elif kind == COLLECT_END:
            self.end_collection(function, frame, ns)
        elif kind == SPAN:
            self.push("span", function, 0, ns, values=shown(frame))
        elif kind == SPAN_END:
            self.end_span(function, ns)
        elif kind in (INSTANT, COUNTER, FLOW):
            self.remark(kind, function, frame, ns)
        elif kind in (ARGUMENTS, RESULT):
            self.describe_call(kind, function, frame)
        elif kind == TASK:
            top = next((slice for slice in reversed(self.open) if slice.key[0] != "span"), None)
            if top and top.key[:2] == ("python", function):
                self.change("task", top.key[2], (function, dict(shown(frame))))
        elif kind == SUBMIT:
            self.submit(frame, ns)
        elif kind == TAKE:
            self.taken = (frame, len(self.open)) if frame else None
        elif kind == LOST:
            self.report(f"[lost {function} events]", ns)


def shown(values):
    """The values as the trace has them, sorted by key."""
    def one(value):
        if isinstance(value, tuple):
            what, text = value
            return clean({6: "{}", 7: "{}\u2026", 8: "<{}>", 9: "{}", 10: "{}\u2026", 11: "[redacted]"}[what].format(text))
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        return str(value) if type(value) is int and abs(value) > 2**53 else value
    pairs = {clean(key): one(value) for key, value in values.pairs}     # the last one of a key, as in JSON
    if values.n_left_out:
        pairs["left_out"] = values.n_left_out
    return tuple(sorted(pairs.items()))


class Expected:
    def __init__(self, capture):
        self.counters, self.reported_flows, self.suspended = Counter(), defaultdict(list), {}
        self.slices, self.flows, self.instants, self.names = [], [], Counter(), {}
        self.creations, self.tasks, self.works = [], [], []
        self.ledgers = {}               # by pid: what a viewer shows of each ledger
        self.sampled = {}               # by pid: what a viewer shows of the samples
        self.is_exact = True
        processes = [process for process in capture.processes if process.is_readable]
        zero = min((process.number("start_monotonic_ns", Clock(process).first_ns) for process in processes), default=0)
        pids = unique([process.number("pid", int(process.directory.split("-")[1])) for process in processes])
        self.order = {}
        for i, (process, pid) in enumerate(zip(processes, pids)):
            self.order[pid, pid, "process_sort_index"] = i
            self.add_process(process, pid, zero)

    def add_process(self, process, pid, zero):
        self.suspended.clear()
        clock = Clock(process)
        self.is_exact = self.is_exact and clock.is_exact
        self.names[pid, pid, "process_name"] = clean(
            (process.properties["process_name"] + ": " if process.properties.get("process_name") else "")
            + (process.properties.get("command") or process.directory)
            + (" (fork)" if process.properties.get("born") == "fork" and not process.properties.get("process_name") else ""))
        threads = [thread for _, thread in sorted(process.threads.items()) if thread.is_there]
        changes, ends = [], [process.number("end_ticks", 0)]    # changes: ticks, thread, place, what, frame, slice
        for thread in threads:
            for block in thread.blocks:
                ends += [block.header.begin[0], block.header.end[0], block.last]
        end = clock.ns(max(ends)) - zero
        for thread, tid in zip(threads, unique([thread.native_id or thread.number for thread in threads])):
            self.name_thread(pid, tid, thread)
            self.add_thread(process, thread, pid, tid, lambda ticks: max(0, clock.ns(ticks) - zero), end, changes)
        for number, thread in process.threads.items():
            if thread.is_track:
                self.name_thread(pid, TRACK_ID + number, thread)
        self.add_flows(process, sorted(changes, key=lambda change: change[:3]), end)
        if process.samples:
            tids = {thread.number: (tid, thread) for thread, tid in
                    zip(threads, unique([thread.native_id or thread.number for thread in threads]))}
            self.sampled[pid] = ShownSamples(process.samples, tids, lambda ticks: max(0, clock.ns(ticks) - zero), end)
        if process.ledger:
            self.ledgers[pid] = ShownLedger(process, lambda ticks: max(0, clock.ns(ticks) - zero), end)

    def name_thread(self, pid, tid, thread):
        self.names[pid, tid, "thread_name"] = clean(thread.name or f"thread {thread.number}")
        self.order[pid, tid, "thread_sort_index"] = thread.number

    def add_thread(self, process, thread, pid, tid, time, end, changes):
        now = 0                         # ticks

        def change(*what):
            changes.append((now, thread.number, len(changes), *what))

        stacks = {0: Stack(self, process, (pid, tid), change)}
        stack = stacks[0]
        before = []                     # the records before this one: kind, function
        for block in thread.blocks:
            now = block.begin
            if block.track is not None:
                stack = stacks.setdefault(block.track, Stack(self, process, (pid, TRACK_ID + block.track), change))
            if block.is_resync:
                before = stack.suspended_now = []
                stack.report("[events may be missing]", time(now))
            elif block.is_paused:
                stack.suspended_now = []
                stack.report("[recording was paused]", time(now))
            if block.opened is not None:
                stack.bring(block.opened, block.header.flags & DEEPER, now, time(now))
            for i, (now, kind, frame, function) in enumerate(block.records):
                stack.is_asked = kind == START and is_asked(process, before)
                before = [*before[-3:], (kind, function)]
                if kind != SWITCH:
                    latest = getattr(now, "latest", 0)      # only where there is no reading
                    stack.latest = math.inf if latest == math.inf else latest and time(latest)
                    stack.record(kind, frame, function, time(now))
                    stack.latest = 0
                    continue
                stack.suspended_now = []
                stack = stacks.setdefault(function, Stack(self, process, (pid, TRACK_ID + function), change))
                listed = takewhile(lambda record: record[1] == OPEN, block.records[i + 1:])
                if frame & SWITCH_OPEN:
                    stack.bring(listed, frame & SWITCH_DEEPER, now, time(now))
                elif frame & SWITCH_ADDED:
                    stack.add(keys_of(listed), now, time(now))
            if block.header.flags & LAST:
                for each in stacks.values():
                    while each.open:
                        each.pop(time(block.header.end[0] or block.last), ["unfinished"])
        is_end_known = not any(getattr(record[0], "latest", 0) == math.inf
                               for thread in process.threads.values() for block in thread.blocks
                               for record in block.records[-1:])
        for each in stacks.values():
            each.latest = 0 if is_end_known else math.inf
            while each.open:
                each.pop(end, ["unfinished"])

    def add_flows(self, process, changes, end):
        """In the order of time over all threads. What was not recorded all the time until a frame runs again is not
        connected: then its identity may be that of another frame."""
        alive, made, flows = {}, {}, []

        def is_recorded(function, begin, end):
            return not process.ledger or begin is None or process.ledger.is_recorded(function, begin, end)

        works = {}                      # by identity: when and where they were submitted
        for ticks, _, _, what, frame, slice in changes:
            if what == "submit":
                works[frame] = slice
            elif what == "take":
                work = works.pop(frame, None)
                if work and slice[2] in process.functions and slice[0] >= work[0]:
                    self.works.append((*work, *slice[:2], describe(process, "python", slice[2])[0]))
            elif what == "forget":
                works.clear()
            elif what == "task":
                if frame in alive and alive[frame].function == slice[0] and process.properties.get("task_names"):
                    alive[frame].latest = slice[1].get("name", alive[frame].latest)
                    alive[frame].other = slice[1].get("task")
            elif what == "create":
                alive.pop(frame, None)
                made[frame], slice.ticks = slice, ticks
            elif what in ("start", "resume") and is_continuable(process, slice.key[1]):
                creation = made.pop(frame, None)
                if creation and not is_recorded(creation.function, creation.ticks, ticks):
                    creation = None
                if creation and what == "start" and creation.maker and creation.function == slice.key[1]:
                    creation.made, creation.name = slice, describe(process, *slice.key[:2])[0]
                    self.creations.append(creation)
                flow = alive.get(frame)
                if what == "start" or not flow or flow.function != slice.key[1] \
                        or not is_recorded(flow.function, flow.since, ticks):
                    flow = alive[frame] = Flow(*describe(process, *slice.key[:2])[:2], slice.key[1],
                                               is_task=is_task(process, slice))
                    flows.append(flow)
                    if what == "resume" and process.ledger and process.ledger.was_muted(flow.function, ticks):
                        slice.flags.add("flow_incomplete")
                flow.since, slice.is_of_task = None, flow.is_task
                if slice.is_kept:
                    flow.slices.append(slice)
            elif what in ("finish", "suspend") and frame in alive:
                flow = alive[frame] if what == "suspend" else alive.pop(frame)
                flow.since = ticks
                flow.row = flow.latest if flow.row is None else flow.row
                if what == "suspend" and flow.other:
                    slice.awaited_task, flow.other = {"waits_for_task": flow.other}, None
        for flow in alive.values():
            flow.end = end
        self.flows += [flow for flow in flows if len(flow.slices) > 1]
        self.tasks += [flow for flow in flows if flow.is_task and flow.slices]
        for slice in (slice for flow in flows if flow.is_task for slice in flow.slices):
            slice.awaited = awaited(process, slice) | slice.awaited_task
        for flow in self.tasks:
            flow.name = f"{flow.row}: {flow.name}" if flow.row else flow.name
        self.creations = [one for one in self.creations if one.maker.is_kept and one.made.is_kept]


class ShownLedger:
    """What a trace shows of a ledger, in nanoseconds."""

    def __init__(self, process, time, end):
        def ns(ticks):
            return 0 if ticks == -math.inf else end if ticks == math.inf else time(ticks)
        self.budget = float(process.properties.get("max_overhead", 0))
        self.costs = [100 * cost / cpu for _, cpu, cost in process.ledger.costs if cpu]
        self.muted, self.windows, self.hidden = [], [], defaultdict(list)
        for begin, stop, state in process.ledger.spans():
            self.muted.append((ns(begin), len(state.muted or ())))
            if state.is_window and self.windows and self.windows[-1][1] == ns(begin):
                self.windows[-1] = self.windows[-1][0], ns(stop)
            elif state.is_window and (stop < math.inf or ns(begin) <= end):    # without an end it lasts to the capture's
                self.windows.append((ns(begin), ns(stop)))
        of_callers = []
        for number, what in {member for state in process.ledger.states for member in state.muted or ()}:
            spans = [(ns(begin), ns(stop)) for begin, stop, _ in process.ledger.unrecorded(number, what)]
            of_callers += spans
            if what == 0:
                self.hidden[describe(process, "python", number)[0]] += spans
        for number, function in process.functions.items():
            if function.kind == C_FUNCTION:             # it is not recorded where its caller's calls are not
                self.hidden[describe(process, "c", number)[0]] += of_callers


class ShownSamples:
    """What a trace shows of the samples, in nanoseconds: by the name of a counter, the value from each time on."""

    STEP = 10_000_000

    def __init__(self, samples, threads, ns, end):
        self.counters, known = {}, []
        held = defaultdict(list)        # by thread: begin, end, how much of it
        for looks in samples.looks:
            looks = [(ns(ticks), holder) for ticks, holder in looks]
            for (before, first), (now, second) in zip(looks, looks[1:]):
                known.append((before, now, now - before))
                middle = before + (now - before) // 2
                held[first].append((before, middle, middle - before))
                held[second].append((middle, now, now - middle))
        spent = {kind: defaultdict(list) for kind in (reader.RAN, reader.QUEUED)}
        exact = set()
        for (begin, stop, amount, number), changes in zip(samples.spent[reader.RAN], samples.schedules, strict=True):
            begin, stop = ns(begin), ns(stop)
            times = reader.running(begin, stop, changes)
            exact |= {number} if times is not None else set()
            for begin, stop in [(begin, stop)] if times is None else times:
                begin = max([begin] + [other for _, other, _ in spent[reader.RAN][number][-1:]])
                amount_of = amount if times is None else stop - begin
                if stop > begin and amount_of:
                    spent[reader.RAN][number].append((begin, stop, min(amount_of, stop - begin)))
        self.known = [sum(max(0, min(stop, at + self.STEP) - max(begin, at)) for begin, stop, _ in known)
                      for at in range(0, end, self.STEP)]
        self.queued = defaultdict(list)
        for begin, stop, amount, number in samples.spent[reader.QUEUED]:
            if number in threads:
                self.queued[threads[number][0]].append((ns(begin), ns(stop), amount))
        for number, (tid, thread) in threads.items():
            name = f"{clean(thread.name or f'thread {number}')} {tid}: "
            self.counters[name + "ran, %"] = (self.changes(spent[reader.RAN][number], end) if number in exact else
                                              self.shares(spent[reader.RAN][number], known, end))
            self.counters[name + "GIL, %"] = self.shares(held[number], known, end)
        self.counters["memory, bytes"] = [(ns(ticks), size) for ticks, size, _ in samples.memory if ns(ticks) <= end]
        self.counters["chunks in use"] = steps((ns(ticks), chunks) for ticks, _, chunks in samples.memory if ns(ticks) <= end)

    def shares(self, spans, known, end):
        def within(spans, begin, stop):
            return sum(amount * (min(stop, b) - max(begin, a)) / (b - a) for a, b, amount in spans
                       if max(begin, a) < min(stop, b))
        values = []
        for begin in range(0, end, self.STEP):
            stop = min(begin + self.STEP, end)
            of = within(known, begin, stop)
            values.append((begin, 100 * within(spans, begin, stop) / of if of else 0))
        return values

    def changes(self, spans, end):
        """The rate from each moment on, at which it may be another."""
        values, last = [], 0
        for begin, stop, amount in spans:
            if values and begin > last:
                values.append((last, 0))
            values.append((begin, 100 * amount / (stop - begin)))
            last = stop
        return [(at, value) for at, value in values + [(last, 0)] if at < end]

    def compare(self, events, problems):
        for name, want in self.counters.items():
            have = [(event["ts"], event["args"]["value"]) for event in events.pop(name, [])]
            if not name.endswith("%"):
                if (steps(have) if name == "chunks in use" else have) != want:
                    problems.append(f"{name} is {have}, not {want}")
                continue
            found, at = 0, dict(have)
            for begin, share in want:
                found = at.pop(begin, found)
                if abs(found - share) > 0.06:
                    problems.append(f"{name} is {found} at {begin}, not {share}")
            if at:
                problems.append(f"{name} is {at} at no step")
        for name, found in events.items():
            if not name.endswith(": queued, %") or any(not 0 <= event["args"]["value"] <= 100 for event in found):
                problems.append(f"unknown counter of samples: {name} {found}")
                continue
            self.check_queued(int(name.split()[-3].rstrip(":")), found, problems)

    def check_queued(self, tid, found, problems):
        """Altogether no more than was queued, and in no other steps."""
        total = sum(amount for *_, amount in self.queued[tid])
        values = sorted((event["ts"], event["args"]["value"]) for event in found)
        last = {}
        for at, value in values:
            last[at // self.STEP] = value
        sum_ns, value = 0, 0
        for step, of in enumerate(self.known):
            value = last.get(step, value)
            sum_ns += value / 100 * of
        if sum_ns > total + self.STEP * 0.001 * len(values) or any(
                value and not any(begin < at + self.STEP and at < stop for begin, stop, _ in self.queued[tid])
                for at, value in values):
            problems.append(f"thread {tid} queued {values}, not {self.queued[tid]}")


def steps(values):
    """The last value of each time, where it differs from the one before, which is 0 at first: of (ns, value)."""
    result = [(0, 0)]
    for ns, value in sorted(dict(values).items()):
        if result[-1][1] != value:
            result.append((ns, value))
    return result[1:]


def is_continuable(process, number):
    """Frames of functions that are not known get no flows: a flow needs a category."""
    return number in process.functions and CATEGORIES[process.functions[number].kind] in CATEGORIES[1:5]


def is_task(process, slice):
    """A coroutine that runs in a plain function of asyncio's; where the loop is not recorded, in none that awaits it,
    nor in a module that is imported. And one that the loop was asked about before."""
    if CATEGORIES[process.functions[slice.key[1]].kind] != "coroutine":
        return False
    if slice.is_eager:
        return True
    if slice.around and slice.around[2]:
        return False
    around = slice.around and process.functions.get(slice.around[1])
    if not any((one.module, one.name) == ("asyncio.events", "Handle._run") for one in process.functions.values()):
        return not around or around.name != "<module>" or around.module == "__main__"
    return bool(around) and around.module.split(".")[0] in ("asyncio", "uvloop")


def awaited(process, slice):
    """What a task waits for after the slice, and where: the names of functions."""
    row = []                            # from the innermost frame on
    for one in [*slice.inner, slice]:
        row = [] if row and row[-1].is_of_task else row
        row.append(one)
    functions = [process.functions.get(one.key[1]) for one in row]
    first = functions[0]
    if not slice.is_suspended or not first or not (
            CATEGORIES[first.kind] in ("coroutine", "iterable_coroutine") or
            CATEGORIES[first.kind] == "generator" and re.fullmatch(r"__.+__", first.name.split(".")[-1])):
        return {}
    names = [describe(process, *one.key[:2])[0] for one in row]
    is_asyncio = [bool(one) and one.module.split(".")[0] in ("asyncio", "uvloop") for one in functions]
    n = (is_asyncio + [False]).index(False)
    public = [name for name, one in zip(names[:n], functions) if re.fullmatch(r"[^_].*|__.+__", one.name.split(".")[-1])]
    result = {"waits_for": (public or names[:n])[0]} if n else {}
    return result | ({"waits_in": names[n]} if n < len(names) and functions[n] else {})


def is_asked(process, records):
    """Two calls: the loop was asked both."""
    names = [(one.module, one.name) if (one := process.functions.get(number)) else None for _, number in records]
    return [kind for kind, _ in records] == [CALL, RETURN] * 2 and names == [
        ("asyncio.base_events", f"BaseEventLoop.{name}") for name in ("get_debug", "is_running") for _ in range(2)]


def keys_of(records):
    """What OPEN records list."""
    return [("c", function, 0) if frame == OPEN_C_CALL else ("python", function, frame)
            for _, _, frame, function in records]


def is_same(a, b):
    return a[:2] == b[:2] and (a[2] == b[2] or 0 in (a[2], b[2]))


def unique(ids):
    """An id that comes again gets a multiple of ID_STEP."""
    observed = Counter()
    result = []
    for id in ids:
        result.append(id + observed[id] * ID_STEP)
        observed[id] += 1
    return result


def clean(text):
    """What viewers take: no surrogates, no NUL."""
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" or c == "\0" else c for c in text)


def describe(process, kind, number):
    """Name, category and source of a slice."""
    if kind == "unrecorded":
        return "[not recorded]", "panopticon", None
    if kind == "collection":
        return "[garbage collection]", "panopticon", None
    function = process.functions.get(number)
    if not function:
        return f"[unknown function {number}]", "label" if kind == "span" else "python", None
    return (clean(".".join(filter(None, (function.module, function.name)))), CATEGORIES[function.kind],
            clean(f"{function.file}:{function.line}") if function.file else None)


# ---- the trace ----

def nanoseconds(text):
    whole, point, rest = text.partition(".")
    assert point and len(rest) == 3, f"{text} has not three decimals"
    return int(whole) * 1000 + int(rest)


def check(capture_path, trace_text, tolerance_ns=None, options=()):
    problems = []
    expected = Expected(reader.read(capture_path))
    if not any(option.startswith("--flows") and "creation" in option for option in options):
        expected.creations = []
    if "--tasks" not in options:
        expected.tasks = []
    if tolerance_ns is None:
        tolerance_ns = 0 if expected.is_exact else 1
    trace = json.loads(trace_text, parse_float=lambda text: nanoseconds(text) if re.fullmatch(r"\d+\.\d{3}", text)
                       else float(text))
    counters = Counter()
    if trace["displayTimeUnit"] != "ns":
        problems.append("displayTimeUnit is not ns")
    sources = trace["stackFrames"]
    slices, flow_events, instants, metadata, tasks = [], defaultdict(list), Counter(), {}, defaultdict(list)
    lags = defaultdict(list)
    ledgers = defaultdict(lambda: defaultdict(list))        # by pid and name of event
    sampled = defaultdict(lambda: defaultdict(list))
    for event in trace["traceEvents"]:
        where = event["pid"], event.get("tid")
        if event["ph"] == "X":
            args = dict(event.get("args", {}))
            src = sources.get(str(event.get("sf")), {}).get("name")
            if event["name"] == "[not recorded]" and args.pop("reason", None) != "C stack guard":
                problems.append(f"an unrecorded region without its reason: {event}")
            check_hidden(event, args.pop("hides", None), expected, problems)
            values = tuple(sorted((key, value) for key, value in args.items() if key not in FLAGS))
            args = {key: value for key, value in args.items() if key in FLAGS}
            if any(value is not True for value in args.values()):
                problems.append(f"flags are not true: {event}")
            slices.append(Slice((), event["ts"], event["ts"] + event["dur"], flags=set(args), where=where,
                                name=event["name"], cat=event["cat"], src=src, values=values))
        elif event["ph"] in "stf":
            if event["bp"] != "e":
                problems.append(f"a flow event without bp: {event}")
            flow_events[event["id"]].append((event["ts"], event["ph"], where, event["name"], event["cat"]))
        elif event["ph"] == "i":
            if event["s"] != "t":
                problems.append(f"an instant that is not the thread's: {event}")
            name = event["name"]
            if event["cat"] == "label":
                name = name, tuple(sorted(event.get("args", {}).items()))
            instants[(*where, name, event["ts"])] += 1
        elif event["ph"] == "C" and event.get("cat") == "label":
            counters[(*where, event["name"], event["ts"], tuple(event["args"].items()))] += 1
        elif event["ph"] == "C" and event.get("cat") == "lag":
            lags[event["pid"], int(re.search(r"(\d+): loop lag, ms$", event["name"])[1])].append(
                (event["ts"], event["args"]["value"]))
        elif event["ph"] == "C" and event.get("cat") == "sample":
            sampled[event["pid"]][event["name"]].append(event)
        elif event["ph"] == "C" or event.get("cat") == "window":
            ledgers[event["pid"]][event["name"]].append(event)
        elif event["ph"] in "be":
            if event["cat"] != "task":
                problems.append(f"an event that is no task's: {event}")
            tasks[event["id"]].append(event | {"src": sources.get(str(event.get("sf")), {}).get("name")})
        elif event["ph"] == "M":
            if event["cat"] != "__metadata":
                problems.append(f"metadata without category: {event}")
            value, = event["args"].values()
            metadata[(*where, event["name"])] = value
        else:
            problems.append(f"unknown event {event}")
    if metadata != expected.names | expected.order:
        problems.append(f"metadata is {metadata}, not {expected.names | expected.order}")
    if tolerance_ns:                    # then only what they have
        instants, expected.instants = (Counter(key[:3] for key in counted.elements())
                                       for counted in (instants, expected.instants))
    if instants != expected.instants:
        problems.append(f"instants are {instants}, not {expected.instants}")
    pairs = compare_slices(slices, expected, tolerance_ns, problems)
    if tolerance_ns == 0 and counters != expected.counters:
        problems.append(f"counters are {counters}, not {expected.counters}")
    reported = {id: flow_events.pop(id) for id, flow in list(flow_events.items()) if flow[0][4] == "label"}
    want = sorted([(ts, where) for _, ts, where in sorted(flow)] for flow in expected.reported_flows.values())
    have = sorted([(ts, where) for ts, _, where, _, _ in sorted(flow)] for flow in reported.values())
    if tolerance_ns == 0 and have != want or any([event[1] for event in sorted(flow)] != ["s"] + ["t"] * (len(flow) - 1)
                                                 for flow in reported.values()):
        problems.append(f"reported flows are {reported}, not {want}")
    creations = {id: flow_events.pop(id) for id, flow in list(flow_events.items()) if flow[0][4] == "creation"}
    works = {id: flow_events.pop(id) for id, flow in list(flow_events.items()) if flow[0][4] == "work"}
    compare_works(works, expected, tolerance_ns, problems)
    numbers = sorted([*flow_events, *creations, *reported, *works])
    if numbers != list(range(1, len(numbers) + 1)):
        problems.append(f"flows are numbered {sorted(flow_events)}, creations {sorted(creations)}")
    compare_flows(flow_events, slices, pairs, expected, problems)
    compare_creations(creations, slices, pairs, expected, tolerance_ns, problems)
    compare_tasks(tasks, pairs, expected, tolerance_ns, problems)
    compare_lags(lags, slices, "--tasks" in options and "--logical" not in options, problems)
    if not sampled.keys() <= expected.sampled.keys():
        problems.append(f"there are samples of {sorted(sampled)}, but only {sorted(expected.sampled)} have some")
    elif tolerance_ns == 0:
        for pid, shown in expected.sampled.items():
            shown.compare(sampled[pid], problems)
    if tolerance_ns == 0 and ledgers.keys() <= expected.ledgers.keys():
        for pid, shown in expected.ledgers.items():
            compare_ledger(ledgers[pid], shown, problems)
    elif not ledgers.keys() <= expected.ledgers.keys():
        problems.append(f"there are ledgers of {sorted(ledgers)}, but only {sorted(expected.ledgers)} have one")
    return problems


def check_hidden(event, hides, expected, problems):
    """`hides` names functions, each of which was not recorded, or may not have been, at some time in the slice."""
    if hides is None:
        return
    shown, begin, end = expected.ledgers.get(event["pid"]), event["ts"], event["ts"] + event["dur"]
    for part in hides.split("; "):
        name = part.split(" ~")[0]
        if shown and re.fullmatch(r"1 more function|\d+ more functions", name):
            continue                        # these are not named
        if not shown or not any(start < end and begin < stop for start, stop in shown.hidden.get(name, ())):
            problems.append(f"{event['name']} at {begin} cannot hide {part}")


def compare_ledger(events, shown, problems):
    windows = [(event["ts"], event["ph"]) for event in events.pop("[all functions recorded]", [])]
    want = [step for begin, end in shown.windows for step in ((begin, "b"), (end, "e"))]
    if windows != want:
        problems.append(f"windows are {windows}, not {want}")
    muted = [(event["ts"], event["args"]["functions"]) for event in events.pop("functions muted", [])]
    if steps(muted) != steps(shown.muted):
        problems.append(f"muted are {steps(muted)}, not {steps(shown.muted)}")
    for event in events.pop("cost of recording, %", []):
        args = event["args"]
        if args["budget"] != round(shown.budget * 1000) or not (
                1000 * min(shown.costs) - 1 <= args["cost"] <= 1000 * max(shown.costs) + 1):
            problems.append(f"cost is {event}, of {shown.costs}, with a budget of {shown.budget}")
    if events:
        problems.append(f"unknown events of a ledger: {sorted(events)}")


def compare_slices(slices, expected, tolerance_ns, problems):
    """Gives the trace's slice for each expected one."""
    def order(slice):
        return *slice.where, slice.begin
    pairs = {}
    have, want = sorted(slices, key=order), sorted(expected.slices, key=order)
    if len(have) != len(want):
        problems.append(f"{len(have)} slices, not {len(want)}")
    for a, b in zip(have, want):
        pairs[b] = a
        may_be_inexact = max(b.begin_slack, b.end_slack) > 1000
        if -tolerance_ns <= a.begin - b.begin <= b.begin_slack + tolerance_ns \
                and -tolerance_ns <= a.end - b.end <= b.end_slack + tolerance_ns:
            a = Slice((), b.begin, b.end, flags=a.flags - {"inexact"} if may_be_inexact else a.flags, where=a.where,
                      name=a.name, cat=a.cat, src=a.src, values=a.values)
        if a.same() != b.same():
            problems.append(f"slice {a.same()} should be {b.same()}")
    for a, b in zip(have, have[1:]):
        if a.where == b.where and not (b.begin > a.begin and (b.end < a.end or b.begin > a.end)):
            problems.append(f"begins and ends are not strictly increasing: {a.same()}, {b.same()}")
    return pairs


class Inmost:
    """Finds the innermost slice that holds a time, begin and end included."""

    def __init__(self, slices):
        self.threads = defaultdict(list)
        for slice in sorted(slices, key=lambda slice: slice.begin):
            self.threads[slice.where].append(slice)
        self.parent = {}
        for row in self.threads.values():
            stack = []
            for slice in row:
                while stack and stack[-1].end < slice.begin:
                    stack.pop()
                self.parent[slice] = stack[-1] if stack else None
                stack.append(slice)

    def find(self, where, ts):
        row = self.threads[where]
        at = bisect_right(row, ts, key=lambda slice: slice.begin) - 1
        slice = row[at] if at >= 0 else None
        while slice and slice.end < ts:
            slice = self.parent[slice]
        return slice


def compare_flows(flow_events, slices, pairs, expected, problems):
    """A flow event lies in its slice, strictly, and in no slice inside that one: 1 ns after its begin."""
    inmost = Inmost(slices)
    have = []
    for flow in flow_events.values():
        flow.sort()
        phases = "".join(phase for _, phase, *_ in flow)
        if phases != "s" + "t" * (len(flow) - 2) + "f":
            problems.append(f"phases of {flow} are {phases}")
        found = [inmost.find(where, ts) for ts, _, where, *_ in flow]
        for slice, (ts, _, _, name, cat) in zip(found, flow):
            if not slice or not slice.begin < ts < slice.end or (slice.name, slice.cat) != (name, cat):
                problems.append(f"the flow event at {ts} of {name} lies in {slice}")
                continue
            if ts != slice.begin + 1:
                problems.append(f"the flow event at {ts} of {name} is not at its place in {slice}")
        have.append([id(slice) for slice in found])
    want = [[id(pairs.get(slice)) for slice in flow.slices] for flow in expected.flows]
    if sorted(have) != sorted(want):
        problems.append(f"flows have {sorted(map(len, have))} slices, should have {sorted(map(len, want))}, or "
                        "they are other slices")


def compare_creations(creations, slices, pairs, expected, tolerance_ns, problems):
    """`s` lies in the slice that made the frame, where that was; `f` after the begin of the frame's first slice."""
    inmost, have, want = Inmost(slices), [], []
    for flow_events in creations.values():
        flow_events.sort()
        (begin, _, maker, name, _), (end, _, made, *_) = flow_events[0], flow_events[-1]
        if "".join(phase for _, phase, *_ in flow_events) != "sf" or len({event[3:] for event in flow_events}) > 1:
            problems.append(f"a creation is reported by {flow_events}")
        maker, made = inmost.find(maker, begin), inmost.find(made, end)
        if not maker or not made or not maker.begin < begin < maker.end or end != made.begin + 1 or begin >= end:
            problems.append(f"the creation of {name} at {begin} lies in {maker}, and its end at {end} in {made}")
        have.append((id(made), id(maker), name, begin))
    for one in expected.creations:
        want.append((id(pairs.get(one.made)), id(pairs.get(one.maker)), one.name, one.ns, one.slack))
    have.sort()
    want.sort()
    if [one[:3] for one in have] != [one[:3] for one in want]:
        problems.append(f"{len(have)} creations, should be {len(want)}, or they are others")
    elif any(not -tolerance_ns <= a[3] - b[3] <= tolerance_ns + b[4] for a, b in zip(have, want)):
        problems.append(f"creations are at {[one[3] for one in have]}, not {[one[3] for one in want]}")


def compare_lags(lags, slices, is_wanted, problems):
    """By the slices of the trace: the callbacks in each iteration of an event loop."""
    expected = defaultdict(list)
    of_thread = defaultdict(lambda: ([], []))
    for slice in slices if is_wanted else ():
        name = slice.name
        if name in ("asyncio.events.Handle._run", "asyncio.base_events.BaseEventLoop._run_once"):
            of_thread[slice.where][name.endswith("_once")].append((slice.begin, slice.end))
    has_once = {where[0] for where, (_, once) in of_thread.items() if once}
    for where, (runs, once) in of_thread.items():
        for begin, end in once if where[0] in has_once else runs:
            inside = [run for run in runs if begin <= run[0] and run[1] <= end]
            if inside and max(inside)[1] - min(inside)[0] >= 10**6:
                expected[where] += [(min(inside)[0], (max(inside)[1] - min(inside)[0]) // 1000 / 1000), (max(inside)[1], 0)]
    lags = {where: sorted((ts, value / 1000) for ts, value in events) for where, events in lags.items()}
    wrong = [where for where in {*lags, *expected}
             if len(lags.get(where, ())) != len(expected[where]) or
             any(a[0] != b[0] or abs(a[1] - b[1]) > 0.0011 for a, b in zip(lags[where], sorted(expected[where])))]
    if wrong:
        problems.append(f"the lag is {lags}, not {dict(expected)}")


class Ends(list):
    """The ends of tasks that have all times in common, and what they wait for."""

    def __init__(self):
        super().__init__()
        self.waits = []


def compare_works(works, expected, tolerance_ns, problems):
    """An arrow from where each was submitted to where it is done."""
    have = sorted((*sorted(flow)[0][:1], sorted(flow)[0][2], *sorted(flow)[-1][:1], sorted(flow)[-1][2], flow[0][3])
                  for flow in works.values())
    want = sorted(expected.works)
    if any(slice.begin_slack or slice.end_slack for slice in expected.slices):
        tolerance_ns = math.inf             # the clock was not read everywhere
    if any([event[1] for event in sorted(flow)] != ["s", "f"] for flow in works.values()) or \
            [(one[1], *one[3:]) for one in have] != [(one[1], *one[3:]) for one in want] or \
            any(abs(a[i] - b[i]) > tolerance_ns for a, b in zip(have, want) for i in (0, 2)):
        problems.append(f"works are {have}, not {want}")


def compare_tasks(tasks, pairs, expected, tolerance_ns, problems):
    """A task is one event around one for each of its slices; those of the same time are in order."""
    want, renamed = defaultdict(Ends), {}
    for flow in expected.tasks:
        runs = [pairs[slice] for slice in flow.slices if slice in pairs]
        times = [(where, ts) for run in runs for where, ts in ((run.where, run.begin), (run.where, run.end))]
        want[flow.name, runs[0].src, tuple(times)].append(flow.end)
        renamed[flow.name, runs[0].src, tuple(times)] = {"renamed": flow.latest} if flow.latest != (flow.row or "") else {}
        want[flow.name, runs[0].src, tuple(times)].waits.append([slice.awaited for slice in flow.slices if slice in pairs])
    for events in tasks.values():
        first, *inner, last = events if len(events) > 1 else events * 2
        places = [((event["pid"], event["tid"]), event["ts"]) for event in events]
        key = first["name"], first["src"], tuple(places[1:-1])
        phases = "".join(event["ph"] for event in events)
        names = {event["name"] for event in inner}
        if phases != "b" + "be" * (len(inner) // 2) + "e" or names != {"[running]"} or first["name"] != last["name"]:
            problems.append(f"a task is reported by {phases}, {names}, {last['name']}")
        elif any(a["ts"] > b["ts"] for a, b in zip(events, events[1:])) or places[0] != places[1]:
            problems.append(f"the times of a task are not in order: {events}")
        elif not want[key]:
            problems.append(f"no such task: {key}")
        else:
            end = want[key].pop()
            flags = {"unfinished": True} if end is not None else {}
            ts = max(end or 0, places[-2][1])
            waits = [event.get("args", {}) for event in inner[1::2]]
            expected_waits = want[key].waits.pop()
            has_args = any("args" in event for event in (first, *inner[::2])) or waits != expected_waits
            if has_args or (last.get("args", {}), places[-1][0]) != (flags | renamed[key], places[-2][0]) \
                    or abs(last["ts"] - ts) > (tolerance_ns if flags else 0):
                problems.append(f"the end of {first['name']} is {last}, not {ts}, or there are wrong args")
    missing = [key[:2] for key, ends in want.items() for _ in ends]
    if missing:
        problems.append(f"tasks are missing: {missing}")
    if sorted(tasks) != list(range(1, len(tasks) + 1)):
        problems.append(f"tasks are numbered {sorted(tasks)}")
