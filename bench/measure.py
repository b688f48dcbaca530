"""Runs one workload under one tracer, in the interpreter that is measured, and writes the measurements to
FOLDER/result.json:

    measure.py TRACER WORKLOAD WARM_UP LOOPS FOLDER

The tracer is on during the workload only; panopticon_rec is none of these tracers, it runs this file with `nothing`.
"""

import contextlib
import glob
import json
import os
import resource
import sys
import time

import programs
import schedule
import server
import workloads

# ---- the tracers, each with its own defaults


@contextlib.contextmanager
def profile(folder, which=1):
    import floor
    floor.profile(which)
    yield
    floor.profile(0)


@contextlib.contextmanager
def count(folder):
    with profile(folder, 2):
        yield


@contextlib.contextmanager
def hook(folder, which=1):
    import floor
    floor.hook(which)
    yield
    floor.hook(0)


def store(folder):
    return hook(folder, 2)


@contextlib.contextmanager
def monitoring(folder):
    import floor
    events = sys.monitoring.events
    tool = next(tool for tool in (3, 4) if not sys.monitoring.get_tool(tool))
    sys.monitoring.use_tool_id(tool, "floor")
    mask = 0
    for event in (events.PY_START, events.PY_RESUME, events.PY_RETURN, events.PY_YIELD, events.PY_UNWIND,
                  events.PY_THROW):
        sys.monitoring.register_callback(tool, event, floor.event)
        mask |= event
    sys.monitoring.set_events(tool, mask)
    yield
    sys.monitoring.set_events(tool, 0)
    sys.monitoring.free_tool_id(tool)


@contextlib.contextmanager
def cprofile(folder):
    import cProfile
    profiler = cProfile.Profile()
    profiler.enable()
    yield
    profiler.disable()


@contextlib.contextmanager
def viztracer(folder, ignore_c_function=False):
    import viztracer
    tracer = viztracer.VizTracer(verbose=0, ignore_c_function=ignore_c_function)
    tracer.start()
    yield
    tracer.stop()


def viztracer_python(folder):
    return viztracer(folder, True)


def trace0(folder):
    import trace0
    path = os.path.join(folder, f"trace-{len(os.listdir(folder))}.pb")      # scimark starts several
    return trace0.Tracer(path, trace_subprocesses=False)


@contextlib.contextmanager
def original(folder):
    from panopticon.trace import StreamingTrace
    from panopticon.tracer import AsyncioTracer
    with open(os.path.join(folder, "panopticon.trace"), "w") as file, AsyncioTracer(trace=StreamingTrace(file)):
        yield


def nothing(folder):
    return contextlib.nullcontext()


TRACERS = {tracer.__name__: tracer for tracer in
           (nothing, profile, count, hook, store, monitoring, cprofile, viztracer, viztracer_python, trace0, original)}

# ---- one run


def drain_ns():
    """CPU time until now of panopticon_rec's native thread; None if there is no such thread."""
    for task in glob.glob("/proc/self/task/*"):
        with open(task + "/comm") as name, open(task + "/schedstat") as times:
            if name.read() == "panopticon\n":
                return int(times.read().split()[0])
    return None


def cpu_ns():
    """CPU time until now of all threads but that one."""
    return time.process_time_ns() - (drain_ns() or 0)


def main():
    tracer, workload, warm_up, loops, folder = sys.argv[1:]
    warm_up, loops = int(warm_up), int(loops)
    result = {"seconds": 0, "cpu": 0, "faults": 0}

    def measure(once):
        with TRACERS[tracer](folder):
            if warm_up:
                once(warm_up)
            if tracer == "count":
                sys.modules["floor"].counts()
            workloads.LONGEST.clear()
            schedule.NOTES.clear()
            faults, cpu = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt, cpu_ns()
            result["seconds"] += once(loops) / loops
            result["cpu"] += (cpu_ns() - cpu) / loops / 1e9
            result["faults"] += (resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - faults) / loops
            if tracer == "count":
                n_python, n_c = sys.modules["floor"].counts()
                result["python_events"] = result.get("python_events", 0) + n_python / loops
                result["c_events"] = result.get("c_events", 0) + n_c / loops
            result["drain_ns"] = drain_ns()

    if workload in programs.PROGRAMS:
        programs.run(workload, measure)
    else:
        measure({"server": server.once, "schedule": schedule.once}.get(workload) or
                {**workloads.MICRO, **workloads.BUDGETS}[workload][1])
    result.update(workloads.LONGEST)
    result["slow_calls"] = workloads.SLOW_CALLS
    if workload == "schedule":
        result["notes"] = schedule.NOTES
    if workload == "server":
        result["p99"] = server.ANSWER["p99"]
    with open(os.path.join(folder, "result.json"), "w") as file:
        json.dump(result, file)


main()
