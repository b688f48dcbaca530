"""Reads the ledger of a capture: which functions were muted when, and what recording has cost.

    for ledger in ledger.read("run.pnr"):           # one for each process
        ledger.entries                              # [Entry(ns, kind, frame, function), ...] in the order of time
        ledger.muted()                              # the names of the functions that were muted some time
        ledger.cost(window_ns=10**9, skip_ns=0)     # the largest share of a window of CPU time
    python3 ledger.py run.pnr                       # prints them

Shares no code with the converter: blocks are read by tests/format/capture_reader.py. Of the other threads it reads the
headers only, so it is quick for captures of any size.
"""

import collections
import os
import pathlib
import struct
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "format"))
import capture_reader as reader                         # noqa: E402
import trace_checker                                    # noqa: E402

THREAD_ENTRY, LEDGER = 2, 2                             # types of entries, and kinds of threads, in the file names
# ns: of CLOCK_MONOTONIC. function: its number, which is the number of functions or the cost where none is meant. name:
# the function's.
Entry = collections.namedtuple("Entry", "ns kind frame function name")
KINDS = {number: name for name, number in reader.kinds.NUMBERS.items()
         if name in ("MUTE", "ADMIT", "MUTED", "WINDOW", "WINDOW_END", "COST")}


class Ledger:
    """entries are empty if the process has no ledger. properties: those of the process. problems: what was damaged."""

    def __init__(self, properties, entries, problems, is_whole):
        self.properties, self.entries, self.problems, self.is_whole = properties, entries, problems, is_whole

    def of(self, *kinds):
        return [entry for entry in self.entries if entry.kind in kinds]

    def muted(self):
        """The names of the functions that were muted some time; those of which only the C calls were muted are left out."""
        return {entry.name for entry in self.of("MUTE", "MUTED") if not entry.frame}

    def muted_c_calls(self):
        """The names of the functions of which only the calls of C functions were muted some time."""
        return {entry.name for entry in self.of("MUTE", "MUTED") if entry.frame}

    def times(self, name):
        """[(begin, end), ...] in ns: when a function of this name was not recorded. The last end may be None."""
        result, muted, in_window, was_hidden, begin = [], set(), False, False, 0
        for entry in self.entries:
            if entry.name == name and not entry.frame:
                (muted.discard if entry.kind == "ADMIT" else muted.add)(entry.function)
            elif entry.kind in ("WINDOW", "WINDOW_END"):
                in_window = entry.kind == "WINDOW"
            is_hidden = bool(muted) and not in_window
            if is_hidden and not was_hidden:
                begin = entry.ns
            elif was_hidden and not is_hidden:
                result.append((begin, entry.ns))
            was_hidden = is_hidden
        return result + [(begin, None)] * was_hidden

    def is_hidden(self, name, ns):
        """True if a function was not recorded at this time."""
        return any(begin <= ns and (end is None or ns < end) for begin, end in self.times(name))

    def totals(self):
        """(CPU time, cost), in ns, of all COST records."""
        costs = self.of("COST")
        return sum(entry.frame for entry in costs), sum(entry.function for entry in costs)

    def cost(self, window_ns, skip_ns=0):
        """The largest accounted cost of any window of so much CPU time, as a share of it; None if there was none so long.
        Inside of a COST record the cost is taken as even. What comes before skip_ns of CPU time is left out."""
        times, sums = [0], [0]
        for entry in self.of("COST"):
            if entry.frame:
                times.append(times[-1] + entry.frame)
                sums.append(sums[-1] + entry.function)
            else:
                sums[-1] += entry.function
        begins = {time for at in times for time in (at, at - window_ns) if skip_ns <= time <= times[-1] - window_ns}
        shares = [(interpolate(times, sums, begin + window_ns) - interpolate(times, sums, begin)) / window_ns
                  for begin in begins]
        return max(shares, default=None)


def interpolate(times, sums, at):
    low, high = 0, len(times) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if times[middle] <= at else (low, middle)
    if times[high] == times[low]:
        return sums[low]
    return sums[low] + (sums[high] - sums[low]) * (at - times[low]) / (times[high] - times[low])


def find_ledger(names):
    """The number of the ledger in the bytes of a file names; None if there is none."""
    at = 16
    while at + 40 <= len(names):
        size, entry_type, kind, _, index = struct.unpack_from("<IBBHI", names, at)
        if entry_type == THREAD_ENTRY and kind == LEDGER:
            return index
        at += max(size, 40)
    return None


def read(capture):
    """Returns a Ledger for each process, in the order of their directories."""
    return [read_process(pathlib.Path(capture) / name) for name in sorted(os.listdir(capture))
            if name.startswith("process-")]


def read_process(path):
    process, problems, stored = reader.Process(path.name), [], {}

    def report(file, offset, text, is_damage=True):
        if is_damage:
            problems.append(f"{path.name}/{file} at {offset}: {text}")

    reader.read_names(path, process, report)
    chunks = reader.read_live(path, process, report)
    numbers = reader.numbers_in(path, r"segment-([1-9][0-9]*)")
    for number in numbers:
        is_killed = number == numbers[-1] and not process.has_ended
        for file in sorted((path / f"segment-{number}").iterdir()):
            reader.read_file(path, f"segment-{number}/{file.name}", is_killed, process, chunks, stored, report)
    ledger, entries = find_ledger((path / "names").read_bytes()), []
    clock = trace_checker.Clock(process)
    sequences = sorted({sequence for thread, sequence in [*stored, *chunks] if thread == ledger})
    for sequence in sequences:
        key = ledger, sequence
        block = reader.take_block(process, chunks.get(key, []), stored.get(key), report)
        for ticks, kind, frame, function in block.records if block else ():
            if kind not in KINDS:
                problems.append(f"{path.name}: a record of kind {kind} in the ledger")
                continue
            is_named = KINDS[kind] in ("MUTE", "ADMIT", "MUTED")
            entries.append(Entry(clock.ns(ticks), KINDS[kind], frame, function,
                                 name_of(process, function) if is_named else ""))
    # A block or chunk that is missing at the begin has been evicted; one in the middle leaves a hole.
    is_whole = sequences == list(range(sequences[0], sequences[-1] + 1)) if sequences else True
    return Ledger(process.properties, entries, problems, is_whole)


def name_of(process, number):
    """As in traces; the number as text if it is not in the name table."""
    function = process.functions.get(number)
    return f"{function.module}.{function.name}" if function else str(number)


def main():
    for ledger in read(sys.argv[1]):
        cpu, cost = ledger.totals()
        print({key: ledger.properties.get(key) for key in ("pid", "max_overhead", "event_cost_ns")})
        begin = ledger.entries[0].ns if ledger.entries else 0
        for entry in ledger.entries:
            print(f"{(entry.ns - begin) / 1e6:12.3f} ms  {entry.kind:10} {entry.frame} {entry.name or entry.function}")
        print(f"{cost / 1e6:.3f} ms cost of {cpu / 1e6:.3f} ms of CPU time; any second {ledger.cost(10**9)}, "
              f"100 ms {ledger.cost(10**8)}; problems: {ledger.problems}")


if __name__ == "__main__":
    main()
