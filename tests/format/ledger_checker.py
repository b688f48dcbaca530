"""Checks whether a recorder kept to specs/capture-format.md, section 4.1, in a capture with a ledger. Readers accept more
than a recorder may write. Not for captures that are damaged.

    problems = check(capture_path)                  # a list of lines; empty: all right
    problems = check_ledger(process)                # of a process as capture_reader reads it: what its ledger has alone

- What is muted is not entered, outside of windows.
- Each exit closes the innermost open frame, unless records say that more was left, or may be missing.
- OPEN records add frames at the inner end of a known stack, and change nothing else of it; a new greenlet has no frames.
- Each record of the ledger changes something. A block begins with the state at the end of the one before.
- A COST comes before each WINDOW and each WINDOW_END.
- No record has a time before that of the one before it, or is in a place where it means nothing.

Exits that CPython does not report (specs/recording.md, section 1.2) are found, too, where nothing is muted.
"""

from itertools import takewhile

import capture_reader as reader
from capture_reader import (ADMIT, CALL, COST, DEEPER, FINISH, FINISH_UNWIND, LEFT, LOST, MUTE, MUTED, OPEN, OPEN_C_CALL,
                            RESUME, RETURN, START, SWITCH, SWITCH_ADDED, SWITCH_DEEPER, SWITCH_OPEN, UNWIND, WINDOW,
                            WINDOW_END, YIELD)


def check(path):
    problems = []
    for process in reader.read(path).processes:
        problems += check_process(process)
    return problems


def reporter(process, problems):
    def report(text, ticks):
        seconds = (ticks - process.number("start_ticks", 0)) / process.number("ticks_per_second", 10**9)
        problems.append(f"{process.directory}: {seconds:.6f} s: {text}")
    return report


def check_process(process):
    problems = []
    report = reporter(process, problems)
    for thread, (ticks, kind, _, function) in reader.find_muted_entries(process):
        report(f"thread {thread.number}: {name(process, function)}, which is muted, is entered (kind {kind})", ticks)
    for thread in process.threads.values():
        check_stacks(process, thread, report)
    problems += [f"{process.directory}: {n} records: {what}" for what, n in process.skipped.items()]
    return problems + check_ledger(process)


def name(process, number):
    function = process.functions.get(number)
    return f"{function.module}.{function.name}" if function else f"[unknown function {number}]"


def frames_of(records):
    return [(function, frame) for _, _, frame, function in records if frame != OPEN_C_CALL]


class Stack:
    """The Python frames that are open in a track, as (function, frame). Calls of C functions lie on their caller's."""

    def __init__(self, process, thread, track, report):
        self.process, self.is_greenlet, self.report, self.open = process, track != 0, report, []
        self.where = f"thread {thread.number}"
        self.is_certain = False         # else exits of frames may come that are not known to be open

    def list(self, records, ticks, is_deeper, may_change):
        """Takes what OPEN records say."""
        listed = frames_of(records)
        if is_deeper and self.is_certain and not may_change:
            if listed != self.open[-len(listed):]:
                self.report(f"{self.where}: the list is {self.names(listed)}, but open are {self.names(self.open)}", ticks)
            return
        is_new_greenlet = self.is_greenlet and not listed
        if self.is_certain and not may_change and not is_new_greenlet and listed[:len(self.open)] != self.open:
            self.report(f"{self.where}: the list is {self.names(listed)}, but open are {self.names(self.open)}", ticks)
        self.open, self.is_certain = listed, not is_deeper

    def names(self, entries):
        return " ".join(name(self.process, function) for function, _ in entries[-20:]) or "none"

    def leave(self, function, frame, ticks):
        if self.open and self.open[-1][0] == function and (self.open[-1][1] == frame or 0 in (self.open[-1][1], frame)):
            self.open.pop()
        elif self.is_certain:
            self.report(f"{self.where}: {name(self.process, function)} is left, but open are {self.names(self.open)}",
                        ticks)
            at = max((i for i, entry in enumerate(self.open) if entry[0] == function), default=len(self.open))
            del self.open[at:]


def check_stacks(process, thread, report):
    stacks = {}
    for i, block in enumerate(thread.blocks):
        track = block.track or 0
        stack = stacks.setdefault(track, Stack(process, thread, track, report))
        may_change = block.is_resync or block.is_paused or i == 0
        if may_change:
            for each in stacks.values():
                each.is_certain = False
        if block.opened is not None:
            stack.list(block.opened, block.begin, block.header.flags & DEEPER, may_change)
        records = block.records[len(block.opened or ()):]
        for j, (ticks, kind, frame, function) in enumerate(records):
            if kind in (CALL, START, RESUME):
                stack.open.append((function, frame))
            elif kind in (RETURN, UNWIND, YIELD, FINISH, FINISH_UNWIND):
                stack.leave(function, frame, ticks)
            elif kind == LEFT:
                del stack.open[-function:]
            elif kind == LOST:
                stack.is_certain = False
            elif kind == SWITCH:
                is_again = function == track
                track, stack = function, stacks.setdefault(function, Stack(process, thread, function, report))
                listed = list(takewhile(lambda record: record[1] == OPEN, records[j + 1:]))
                if frame & SWITCH_OPEN:
                    stack.list(listed, ticks, frame & SWITCH_DEEPER, not is_again)
                elif frame & SWITCH_ADDED:
                    stack.open += frames_of(listed)


def check_ledger(process):
    """The states must be those of the records, one by one."""
    problems = []
    report = reporter(process, problems)
    if not process.ledger and "max_overhead" in process.properties:
        report("there is a budget, but no ledger", process.number("start_ticks", 0))
    muted = is_window = None            # not known
    for block in process.ledger.blocks if process.ledger else ():
        begin, last = block.header.begin[0], None
        leading = [(function, what) for _, _, what, function in
                   takewhile(lambda record: record[1] == MUTED, block.records)]
        if reader.follows_hole(block):
            muted = is_window = None
        if block.header.sequence == 0:
            muted, is_window = set(), False
        if block.header.n_open or block.header.track:
            report("a block of the ledger has OPEN records or a track", begin)
        if len(set(leading)) < len(leading) or muted not in (None, set(leading)):
            report(f"a block's MUTED records are {leading}, but muted are {sorted(muted or ())}", begin)
        muted = set(leading)
        for ticks, kind, what, function in block.records[len(leading):]:
            if kind in (MUTE, ADMIT):
                if ((function, what) in muted) == (kind == MUTE):
                    report(f"{name(process, function)} is {'muted' if kind == MUTE else 'admitted'} again", ticks)
                if function not in process.functions:
                    report(f"{name(process, function)} is muted", ticks)
                (muted.add if kind == MUTE else muted.discard)((function, what))
            elif kind in (WINDOW, WINDOW_END) and (last is not None or ticks > begin):
                if is_window == (kind == WINDOW):
                    report(f"a window {'begins in' if is_window else 'ends outside of'} a window", ticks)
                if function != len({number for number, _ in muted}):
                    report(f"{function} functions are said to be muted, and {len(muted)} are", ticks)
                if last != COST:
                    report("no COST comes before a WINDOW or WINDOW_END", ticks)
            if kind in (WINDOW, WINDOW_END):
                is_window = kind == WINDOW
            last = kind
    return problems
