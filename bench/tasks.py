#!/usr/bin/env python3
"""What a task of asyncio, its name, and a work that is handed to a pool of threads cost: nanoseconds of CPU time for each.

    PYTHONPATH=build/release bench/tasks.py

Prints the median of the runs, and the range, as bench/remarks.py does. A task is made, awaited and does nothing; so is a
work. The calls of the standard library that do this are recorded, too.
"""

import os
import tempfile

import remarks

PROGRAM = """
import asyncio, concurrent.futures, json, time
N = 2000
def nothing(): pass
async def nothing_async(): pass
async def tasks():
    for i in range(N): await asyncio.create_task(nothing_async(), name="fetch 7")
def works():
    for i in range(N): pool.submit(nothing).result()
def measure(function):
    function(); best = []
    for _ in range(7):
        t = time.process_time_ns(); function(); best.append(time.process_time_ns() - t)
    return min(best) / N
with concurrent.futures.ThreadPoolExecutor(1) as pool:
    print(json.dumps({"task": measure(lambda: asyncio.run(tasks())), "work": measure(works)}))
"""


def main():
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "program.py")
        with open(program, "w", encoding="utf-8") as file:
            file.write(PROGRAM)
        recorded = ["-m", "panopticon_rec", "-q", "--force", "-o", os.path.join(folder, "run.pnr")]
        remarks.measure({"not recorded": [program], "recorded": [*recorded, program],
                         "with names": [*recorded, "--task-names", program]})


if __name__ == "__main__":
    main()
