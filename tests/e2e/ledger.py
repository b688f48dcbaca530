"""What the ledger of a capture says: which functions were muted when, and what recording has cost.

    for ledger in ledger.read("run.pnr"):           # one for each process
        ledger.entries                              # [Entry(ns, kind, frame, function, name), ...] in the order of time
        ledger.muted()                              # the names of the functions that were muted some time
        ledger.cost(window_ns=10**9, skip_ns=0)     # the largest share of a window of CPU time
    python3 ledger.py run.pnr                       # prints them

It is read by tests/format/capture_reader.py, which shares no code with the converter.
"""

import collections
import math
import os
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "format"))
import capture_reader as reader                         # noqa: E402
import ledger_checker                                   # noqa: E402
import trace_checker                                    # noqa: E402

# ns: of CLOCK_MONOTONIC. function: its number, which is the number of functions or the cost where none is meant. name:
# the function's.
Entry = collections.namedtuple("Entry", "ns kind frame function name")
KINDS = {number: name for name, number in reader.kinds.NUMBERS.items() if number in reader.OF_LEDGER}
OF_FUNCTIONS = "MUTE", "ADMIT", "MUTED"


class Ledger:
    """entries are empty if the process has no ledger. properties: those of the process. problems: what was damaged, or
    written wrong. is_whole: no block is missing, except for those before the first."""

    def __init__(self, process, reports):
        self.process, self.properties, self._clock = process, process.properties, trace_checker.Clock(process)
        blocks = process.ledger.blocks if process.ledger else []
        self.entries = [Entry(self._clock.ns(ticks), KINDS[kind], frame, function,
                              ledger_checker.name(process, function) if KINDS[kind] in OF_FUNCTIONS else "")
                        for block in blocks for ticks, kind, frame, function in block.records if kind in KINDS]
        self.problems = [f"{one.file} at {one.offset}: {one.text}" for one in reports
                         if one.is_damage and one.file.startswith(process.directory + "/")]
        self.problems += ledger_checker.check_ledger(process)
        self._numbers = collections.defaultdict(list)       # of functions, by name
        for number in process.functions:
            self._numbers[ledger_checker.name(process, number)].append(number)
        self.is_whole = not any(reader.follows_hole(block) for block in blocks[1:])

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
        result = []
        for begin, end, state in self.process.ledger.spans() if self.process.ledger else ():
            if state.is_window or not any((number, 0) in (state.muted or ()) for number in self._numbers[name]):
                continue
            end_ns = None if end == math.inf else self._clock.ns(end)
            if result and end > begin and result[-1][1] == self._clock.ns(begin):
                result[-1] = result[-1][0], end_ns
            else:
                result.append((self._clock.ns(begin), end_ns))
        return result

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


def read(capture):
    """Returns a Ledger for each process, in the order of their directories."""
    found = reader.read(capture, is_ledger_only=True)
    return [Ledger(process, found.reports) for process in found.processes]


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
