"""A program of a user, as a type checker sees it: test_types.py compares the comments with what mypy reveals, and the
errors are what it must find."""

import io
from pathlib import Path

import panopticon
import panopticon_rec
from panopticon.post import flatten
from panopticon.probe import probe
from panopticon.trace import StreamingTrace

with panopticon_rec.record(Path("run.pnr"), c_calls=True, last="30s", max_size=2**30, follow="fork") as recorder:
    reveal_type(recorder)                       # panopticon_rec.Recorder
reveal_type(recorder.path)                      # str
reveal_type(panopticon_rec.Recorder(filters=["no-stdlib"], snapshot_on="SIGUSR2").start())  # panopticon_rec.Recorder

with panopticon_rec.AsyncTracer(engine="monitoring") as at:
    reveal_type(at.get_trace())                 # str

reveal_type(panopticon_rec.snapshot())          # str
panopticon_rec.pause()
panopticon_rec.resume()

panopticon_rec.Recorder(engine="fast")          # error: arg-type
panopticon_rec.Recorder(c_call=True)            # error: call-arg
panopticon_rec.Recorder(on_overflow=3)          # error: arg-type
panopticon_rec.snapshot(1)                      # error: arg-type

with panopticon.record_trace("out.trace"):
    pass
with panopticon.tracer.AsyncTracer() as tracer:
    reveal_type(tracer)                         # panopticon.tracer.AsyncTracer
reveal_type(tracer.get_trace())                 # panopticon.trace.Trace


@probe(StreamingTrace(io.StringIO()))
def probed(n: int) -> str:
    return str(n)


reveal_type(probed(1))                          # str
flatten(trace_file="out.trace")
