"""Runs a Python program under the sampler (sampler.c), and writes a JSON list of [file, line, samples] of its functions:

    sample.py SAMPLES.json PROGRAM.py ARGUMENTS...
"""

import json
import runpy
import sys

import sampler

path, program = sys.argv[1:3]
sys.argv = sys.argv[2:]
sys.path[0] = program.rpartition("/")[0]
sampler.start()
runpy.run_path(program, run_name="__main__")
samples = sampler.stop()
with open(path, "w") as file:
    json.dump([[*place, n] for place, n in samples.items()], file)
