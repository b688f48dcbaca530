#!/usr/bin/env python3
"""What a remark of the program costs: nanoseconds for each, alongside VizTracer's counterparts, in one run.

    PYTHONPATH=build/release bench/remarks.py           # viztracer is measured if it is installed

The tools are measured alternately, in processes of their own. Prints the median of the runs, and the range. An empty
loop is measured in the same way and subtracted.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

LOOP = """
import json, sys, time
N = 20000
def empty():
    for i in range(N): pass
def measure(function):
    function(); best = []
    for _ in range(7):
        t = time.perf_counter_ns(); function(); best.append(time.perf_counter_ns() - t)
    return min(best) / N
CASES
base = measure(empty)
print(json.dumps({name: measure(function) - base for name, function in cases.items()}))
"""

OWN = """
import panopticon_rec as rec
def mark():
    for i in range(N): rec.mark("cache miss")
def mark_value():
    for i in range(N): rec.mark("cache miss", key=i)
def mark_text():
    for i in range(N): rec.mark("cache miss", key="a text of thirty-two characters!")
def span():
    for i in range(N):
        with rec.span("parse"): pass
def counter():
    for i in range(N): rec.counter("queue", depth=i)
def flow():
    for i in range(N): rec.flow(i)
cases = {"instant": mark, "instant with an int": mark_value, "instant with a text": mark_text, "span": span,
         "counter": counter, "flow": flow}
"""

VIZTRACER = """
from viztracer import VizTracer
from viztracer.vizcounter import VizCounter
tracer = VizTracer(tracer_entries=1000000, verbose=0, max_stack_depth=0)
tracer.start()
queue = VizCounter(tracer, "queue")
def mark():
    for i in range(N): tracer.log_instant("cache miss")
def mark_value():
    for i in range(N): tracer.log_instant("cache miss", {"key": i})
def mark_text():
    for i in range(N): tracer.log_instant("cache miss", {"key": "a text of thirty-two characters!"})
def span():
    for i in range(N):
        with tracer.log_event("parse"): pass
def counter():
    for i in range(N): queue.depth = i
cases = {"instant": mark, "instant with an int": mark_value, "instant with a text": mark_text, "span": span,
         "counter": counter}
"""


def run(command):
    return json.loads(subprocess.run([sys.executable, *command], check=True, stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL).stdout)


def write_programs(folder, own, other):
    """Write the programs that measure cases: of Panopticon, and of VizTracer. Return their paths."""
    paths = os.path.join(folder, "own.py"), os.path.join(folder, "other.py")
    for path, cases in zip(paths, (own, other)):
        with open(path, "w", encoding="utf-8") as file:
            file.write(LOOP.replace("CASES", cases))
    return paths


def measure(tools, other=None):
    """Run the tools alternately, and print what they found. tools: name to command; other: VizTracer's program, or None."""
    if other and not subprocess.run([sys.executable, "-c", "import viztracer"], stderr=subprocess.DEVNULL).returncode:
        tools["viztracer"] = [other]
    found = {name: [] for name in tools}
    for _ in range(5):
        for name, command in tools.items():
            found[name].append(run(command))
    for name, runs in found.items():
        for case in runs[0]:
            times = [run[case] for run in runs]
            print(f"{name:14}{case:22}{statistics.median(times):8.0f} ns   {min(times):.0f} to {max(times):.0f}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        own, other = write_programs(folder, OWN, VIZTRACER)
        measure({"not recorded": [own],
                 "recorded": ["-m", "panopticon_rec", "-q", "--force", "-o", folder + "/run.pnr", own]}, other)


if __name__ == "__main__":
    main()
