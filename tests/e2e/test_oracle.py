"""The trace of real programs has what sys.setprofile reports of them (oracle.py).

Compared is what runs beneath the functions of the program's own file: outside of it the two runs differ, for each
starts the program in its own way (and sees a thread's first frames or not). A program that calls something whose course
depends on time, such as an executor's submit(), does so from its module level, so that only its own functions and what
they call is compared. Nor is what runs beneath a function named warm_up: it fills the caches and loads the modules that
a process has or has not at its start. Garbage collection is off in the programs: when it runs depends on how many
objects there are, and the oracle makes many.
"""

import collections
import json
import os
import re
import unittest

import e2e

OUTSIDE, WARMING_UP, COMPARED, UNSURE = range(4)
ADDRESS = re.compile("at 0x[0-9a-f]+")
PROGRAMS = os.path.join(e2e.HERE, "programs")


def from_oracle(program, output, options):
    finished = e2e.run([e2e.PYTHON, os.path.join(e2e.HERE, "oracle.py"), program, output, *options])
    if not os.path.exists(output):
        raise AssertionError(f"oracle.py: {finished}")
    with open(output) as file:
        reported = json.load(file)
    functions = [(name, src) for name, src in reported["functions"]]
    return finished, [(functions[function], parent, flow, number, others)
                      for number, (function, _, parent, flow, others) in enumerate(reported["slices"])]


def traced(trace, program):
    """The same form: (function, parent's number or -1, flow's number or -1, place in the flow, other possible parents),
    parents first. The slices of a trace are in order only within a thread. What the interpreter runs when the program
    has ended is left out."""
    end = max(one.end for one in trace.of(program) if one.function.name == "__main__.<module>")
    slices = [one for one in trace.slices if one.outermost.begin < end]
    numbers = {id(one): number for number, one in enumerate(slices)}
    steps = {id(one): (number, step) for number, flow in enumerate(trace.flows) for step, one in enumerate(flow)}
    return [((one.function.name, one.function.src), numbers[id(one.parent)] if one.parent else -1,
             *steps.get(id(one), (-1, 0)), ()) for one in slices]


class Summary:
    """What is compared: counters by what they count. And how often more than that the same may be found, where it is
    not sure which slice is the parent of another."""

    def __init__(self, slices, program):
        entries, nesting, lengths, routes = (collections.Counter() for _ in range(4))
        self.sure = {"entries of functions": entries, "callers and callees": nesting, "lengths of flows": lengths,
                     "flows by their callers": routes}
        self.unsure_entries, self.unsure_nesting = collections.Counter(), collections.Counter()
        parts, flows = [], collections.defaultdict(list)
        for number, (function, parent, flow, step, others) in enumerate(slices):
            name, src = function
            part = parts[parent] if parent >= 0 else OUTSIDE
            if part == OUTSIDE and any(parts[other] in (COMPARED, UNSURE) for other in others):
                part = UNSURE
            above = slices[parent][0] if part in (COMPARED, UNSURE) and parts[parent] != OUTSIDE else None
            if part in (OUTSIDE, UNSURE) and src.startswith(program + ":") and not name.endswith("<module>"):
                part = WARMING_UP if name.endswith(".warm_up") else COMPARED
            parts.append(part)
            if part not in (COMPARED, UNSURE):
                continue
            is_sure = part == COMPARED and not others
            (entries if part == COMPARED else self.unsure_entries)[function] += 1
            (nesting if is_sure else self.unsure_nesting)[above, function] += 1
            self.unsure_nesting.update((slices[other][0], function) for other in others
                                       if parts[other] in (COMPARED, UNSURE))
            if flow >= 0:
                flows[flow].append((step, function, above if is_sure else "?"))
        for steps in flows.values():
            steps.sort(key=lambda step: step[0])
            lengths[steps[0][1], len(steps)] += 1
            if all(above != "?" for _, _, above in steps):
                routes[steps[0][1], tuple(above for _, _, above in steps)] += 1

    def without_unsure(self, found):
        """The counters of `found` less what may be more in them than in these."""
        entries, nesting, lengths, routes = (collections.Counter(one) for one in found.sure.values())
        for counter, sure, unsure in ((entries, self.sure["entries of functions"], self.unsure_entries),
                                      (nesting, self.sure["callers and callees"], self.unsure_nesting)):
            for key in unsure:
                counter[key] -= min(unsure[key], max(0, counter[key] - sure[key]))
        for route, n in (routes - self.sure["flows by their callers"]).items():
            if any((above, route[0]) in self.unsure_nesting for above in route[1]):
                routes[route] -= n
        return dict(zip(found.sure, (entries, nesting, lengths, routes)))


class Comparison(e2e.EndToEnd):
    programs = sorted(name for name in os.listdir(PROGRAMS) if name.endswith(".py"))
    options = ["-q"]
    reported = []           # what oracle.py is to report

    def compare(self, program):
        expected_run, expected = from_oracle(program, self.path("oracle.json"), self.reported)
        capture = self.path("run.pnr")
        found_run = e2e.recorded(capture, [program], options=self.options)
        self.assertEqual(*(ADDRESS.sub("at ...", str(run)) for run in (found_run, expected_run)))
        trace = e2e.Trace(e2e.convert(capture))
        expected, found = Summary(expected, program), Summary(traced(trace, program), program)
        self.assertGreater(sum(expected.sure["entries of functions"].values()), 1000)
        for what, counter in expected.without_unsure(found).items():
            self.assertSame(expected.sure[what], counter, f"{os.path.basename(program)}: {what}")
        self.assertFalse([one for one in trace.slices if one.flags & {"exit_missing", "begin_unknown"}][:5])
        self.assertEqual(trace.instants, [])


class Oracle(Comparison):
    pass


class CCalls(Comparison):
    """With the calls of C functions, of programs in which their number does not depend on time."""

    programs = ["calls.py", "generators.py", "moving.py", "logs.py"]
    options = ["-q", "--c-calls"]
    reported = ["c_calls"]


@unittest.skipIf("monitoring" not in e2e.ENGINES, "there is no sys.monitoring")
class Monitoring(Comparison):
    options = ["-q", "--engine", "monitoring"]
    reported = ["monitored"]


@unittest.skipIf("monitoring" not in e2e.ENGINES, "there is no sys.monitoring")
class MonitoringCCalls(Comparison):
    programs = CCalls.programs
    options = ["-q", "--engine", "monitoring", "--c-calls"]
    reported = ["c_calls", "monitored"]


def add(case, name):
    def test(self):
        self.compare(os.path.join(PROGRAMS, name))

    setattr(case, f"test_{name[:-3]}", test)


for case in (Oracle, CCalls, Monitoring, MonitoringCCalls):
    for name in case.programs:
        add(case, name)


if __name__ == "__main__":
    unittest.main()
