#!/usr/bin/env python3
"""What arguments and results cost: nanoseconds for a call of a function that does nothing, alongside VizTracer's
log_func_args and log_func_retval, in one run.

    PYTHONPATH=build/release bench/arguments.py         # viztracer is measured if it is installed

Prints the median of the runs, and the range, as bench/remarks.py does. An empty loop is subtracted, so that each case is the
call itself, what recording it costs, and what its values cost. `call` has no values with Panopticon.
"""

import os
import tempfile

import remarks

CASES = """
class Order:
    def __init__(self, n): self.n = n
order = Order(7)
def plain(): pass
def integer(a): pass
def text(a): pass
def three(a, b, c): pass
def items(a): pass
def other(a): pass
def other_repr(a): pass
def result(): return 7
def call():
    for i in range(N): plain()
def call_integer():
    for i in range(N): integer(i)
def call_text():
    for i in range(N): text("a text of thirty-two characters!")
def call_three():
    for i in range(N): three(i, "two", 3.5)
def call_items():
    for i in range(N): items([1, "two", (3, None)])
def call_other():
    for i in range(N): other(order)
def call_repr():
    for i in range(N): other_repr(order)
def call_result():
    for i in range(N): result()
cases = {"call": call, "an int": call_integer, "a text": call_text, "three values": call_three,
         "a list": call_items, "another object": call_other, "its repr": call_repr, "a result": call_result}
"""

VIZTRACER = """
from viztracer import VizTracer
tracer = VizTracer(tracer_entries=1000000, verbose=0, log_func_args=True, log_func_retval=True)
tracer.start()
"""

OPTIONS = [word for name in ("integer", "text", "three", "items", "other")
           for word in ("--args", f"__main__.{name}")] + ["--args-repr", "__main__.other_repr", "--results", "__main__.result"]


def main():
    with tempfile.TemporaryDirectory() as folder:
        own, other = remarks.write_programs(folder, CASES, VIZTRACER + CASES)
        recorded = ["-m", "panopticon_rec", "-q", "--force", "-o", os.path.join(folder, "run.pnr")]
        remarks.measure({"not recorded": [own], "recorded": [*recorded, own], "with values": [*recorded, *OPTIONS, own]}, other)


if __name__ == "__main__":
    main()
