"""The programs: benchmarks of pyperformance, as it installs them, run in this process.

A benchmark makes a pyperf.Runner and gives it functions to measure. Here it finds a `pyperf` whose Runner runs what
it is given a fixed number of loops, so that only the benchmark proper is timed, not its start.

PROGRAMS maps a benchmark to (loops, its arguments); the loops take some 0.3 s untraced, where a
single one does not take more. The geometric mean is that of the first 14.
"""

import argparse
import asyncio
import importlib.util
import os
import runpy
import sys
import time
import types

from workloads import timed

PROGRAMS = {
    "telco": (30, []),
    "fannkuch": (1, []),
    "nbody": (3, []),
    "scimark": (1, []),
    "json_dumps": (14, []),
    "pyflate": (1, []),
    "chaos": (3, []),
    "float": (3, []),
    "go": (3, []),
    "spectral_norm": (3, []),
    "raytrace": (1, []),
    "hexiom": (40, []),
    "deltablue": (80, []),
    "richards": (6, []),
    "async_tree": (1, ["none"]),
    "sqlglot_v2": (150, ["transpile"]),
}
FOURTEEN = list(PROGRAMS)[:14]


def run(name, measure):
    """Runs a benchmark. measure is called with each function that it gives to its Runner, as once(loops), which
    returns seconds."""
    class Runner:
        def __init__(self, add_cmdline_args=None):
            self.metadata = {}
            self.argparser = argparse.ArgumentParser()

        def parse_args(self):
            return self.argparser.parse_args()

        def bench_func(self, name, function, *args):
            measure(timed(function, *args))

        def bench_time_func(self, name, function, *args):
            measure(lambda loops: function(loops, *args))

        def bench_async_func(self, name, function, *args):
            async def timed_loops(loops):
                start = time.perf_counter()
                for _ in range(loops):
                    await function(*args)
                return time.perf_counter() - start
            measure(lambda loops: asyncio.run(timed_loops(loops)))

    pyperf = types.ModuleType("pyperf")
    pyperf.Runner = Runner
    pyperf.perf_counter = time.perf_counter
    sys.modules["pyperf"] = pyperf
    package = importlib.util.find_spec("pyperformance").submodule_search_locations[0]
    folder = os.path.join(package, "data-files", "benchmarks", "bm_" + name)
    sys.path.insert(0, folder)
    sys.argv[1:] = PROGRAMS[name][1]
    runpy.run_path(os.path.join(folder, "run_benchmark.py"), run_name="__main__")
