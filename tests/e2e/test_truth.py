"""What the trace says of real programs equals what sys.setprofile says of them (truth.py).

Compared is what runs beneath the functions of the program's own file: outside of it the two runs differ, for
each starts the program in its own way (and sees a thread's first frames or not). A program that calls something
whose course depends on time, such as an executor's submit(), does so from its module level, so that only its own
functions and what they call is compared. Nor is what runs beneath a function named warm_up: it fills the caches and
loads the modules that a process has or has not at its start. Garbage collection is off in the programs: when it runs depends on how
many objects there are, and the truth makes many.
"""

import collections
import json
import os
import unittest

import e2e

OUTSIDE, WARMING_UP, COMPARED = range(3)
PROGRAMS = os.path.join(e2e.HERE, "programs")


def truth(program, output):
    finished = e2e.run([e2e.PYTHON, os.path.join(e2e.HERE, "truth.py"), program, output])
    with open(output) as file:
        told = json.load(file)
    functions = [(name, src) for name, src in told["functions"]]
    return finished, [(functions[function], parent, chain) for function, _, parent, chain in told["slices"]]


def traced(trace):
    """The same form: (function, parent's number or -1, chain's number or -1), parents first; and the place in the
    chain, for the slices of a trace are in order only within a thread."""
    numbers = {id(one): number for number, one in enumerate(trace.slices)}
    steps = {id(one): (number, step) for number, chain in enumerate(trace.chains) for step, one in enumerate(chain)}
    return [((one.function.name, one.function.src), numbers[id(one.parent)] if one.parent else -1,
             *steps.get(id(one), (-1, 0))) for one in trace.slices]


def summary(slices, program):
    """What is compared, as counters by name."""
    parts, chains = [], collections.defaultdict(list)
    entries, nesting = collections.Counter(), collections.Counter()
    for number, (function, parent, chain, *step) in enumerate(slices):
        name, src = function
        part = parts[parent] if parent >= 0 else OUTSIDE
        above = slices[parent][0] if part == COMPARED else None
        if part == OUTSIDE and src.startswith(program + ":") and not name.endswith("<module>"):
            part = WARMING_UP if name.endswith(".warm_up") else COMPARED
        parts.append(part)
        if part == COMPARED:
            entries[function] += 1
            nesting[above, function] += 1
            if chain >= 0:
                chains[chain].append((step or [number], function, above))
    lengths, routes = collections.Counter(), collections.Counter()
    for steps in chains.values():
        steps.sort(key=lambda step: step[0])
        lengths[steps[0][1], len(steps)] += 1
        routes[steps[0][1], tuple(above for _, _, above in steps)] += 1
    return {"entries of functions": entries, "callers and callees": nesting, "lengths of chains": lengths,
            "chains by their callers": routes}


class Truth(e2e.EndToEnd):
    def compare(self, program):
        expected_run, expected = truth(program, self.path("truth.json"))
        capture = self.path("run.pnr")
        found_run = e2e.recorded(capture, [program])
        self.assertEqual(found_run, expected_run)
        trace = e2e.Trace(e2e.convert(capture))
        expected, found = summary(expected, program), summary(traced(trace), program)
        self.assertGreater(sum(expected["entries of functions"].values()), 1000)
        for what in expected:
            self.assertSame(expected[what], found[what], f"{os.path.basename(program)}: {what}")
        self.assertFalse([one for one in trace.slices if one.marks & {"left_unseen", "opened_before"}][:5])
        self.assertEqual(trace.instants, [])


def add(name):
    def test(self):
        self.compare(os.path.join(PROGRAMS, name))

    setattr(Truth, f"test_{name[:-3]}", test)


for program in sorted(os.listdir(PROGRAMS)):
    if program.endswith(".py"):
        add(program)


if __name__ == "__main__":
    unittest.main()
