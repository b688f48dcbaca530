#!/usr/bin/env python3
"""What an event costs in a thread when other threads run at the same time, in a free-threaded build of CPython: in
nanoseconds of the thread's CPU time. A call is two events.

    PYTHONPATH=build/release PYTHON bench/threads.py

Measures the recorder with and without C calls, and VizTracer if that is installed for PYTHON. Each has one thread, and then
as many as there are processors. A round runs all, one after the other, and every other round in reverse. The time without
a tracer is subtracted. Prints medians in Markdown.
"""

import importlib.util
import json
import os
import statistics
import tempfile

import remarks

ROUNDS = 7
PROGRAM = """
import json, sys, threading, time
N = 150_000
n_threads, tracer = int(sys.argv[1]), sys.argv[2]
def leaf(x): return x
def c_leaf(x): return abs(x)
def work(function=c_leaf if tracer == "c" else leaf):
    for i in range(N): function(i)
def run(barrier, found):
    work()
    barrier.wait()
    begin = time.thread_time_ns()
    work()
    found.append((time.thread_time_ns() - begin) / N / (4 if tracer == "c" else 2))
if tracer == "viztracer":
    import viztracer
    tracer = viztracer.VizTracer(verbose=0, ignore_c_function=True, tracer_entries=4_000_000)
    tracer.start()
barrier, found = threading.Barrier(n_threads), []
threads = [threading.Thread(target=run, args=(barrier, found)) for _ in range(n_threads)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(max(found)))
"""


def main():
    n_threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "program.py")
        with open(program, "w", encoding="utf-8") as file:
            file.write(PROGRAM)
        recorded = ["-m", "panopticon_rec", "-q", "--force", "-o", os.path.join(folder, "run.pnr")]
        # name: (command, what the program does, the name of the same without a tracer)
        tracers = {"plain": ([program], "python", None), "plain, C": ([program], "c", None),
                   "recorder": ([*recorded, program], "python", "plain"),
                   "recorder, --c-calls": ([*recorded, "--c-calls", program], "c", "plain, C")}
        if importlib.util.find_spec("viztracer"):
            tracers["viztracer"] = ([program], "viztracer", "plain")
        runs = [(tracer, n) for tracer in tracers for n in (1, n_threads)]
        found = {run: [] for run in runs}
        for i in range(ROUNDS):
            for tracer, n in reversed(runs) if i % 2 else runs:
                command, kind, _ = tracers[tracer]
                found[tracer, n].append(remarks.run([*command, str(n), kind]))
    cost = {run: statistics.median(times) for run, times in found.items()}
    print(f"| ns an event | 1 thread | {n_threads} threads | ratio |\n|---|---:|---:|---:|")
    for tracer, (_, _, plain) in tracers.items():
        if plain:
            own = [cost[tracer, n] - cost[plain, n] for n in (1, n_threads)]
            print(f"| {tracer} | {own[0]:.1f} | {own[1]:.1f} | {own[1] / own[0]:.2f} |")


if __name__ == "__main__":
    main()
