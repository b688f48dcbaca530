"""Tracers: what is recorded from start() to stop() is added to a trace."""

import panopticon_rec
from panopticon.trace import Trace


class AsyncTracer:
    """Record calls of Python and C functions in all threads, and how generators and coroutines go on. Also a context
    manager, and str() of it is the trace.

    trace: a panopticon.trace.Trace to add to; else a new one is made. capture_args: accepted, and has no effect."""

    def __init__(self, trace=None, capture_args=None):
        if capture_args is not None:
            import warnings
            warnings.warn("panopticon does not record arguments: capture_args has no effect", stacklevel=2)
        self._trace = Trace() if trace is None else trace
        self._recording = None

    def start(self):
        """Start, and return the tracer. Raises as panopticon_rec.Recorder.start does."""
        recording = panopticon_rec.AsyncTracer(filters=["exclude panopticon", "exclude panopticon.*"])
        recording.start()
        self._recording = recording
        return self

    def stop(self):
        """Stop, and add what was recorded to the trace. Raises as panopticon_rec.Recorder.stop does."""
        if not self._recording:
            raise RuntimeError("panopticon: this tracer is not running")
        recording, self._recording = self._recording, None
        recording.stop()
        self._trace.add_recording(recording)

    def get_trace(self):
        """Return the trace, a panopticon.trace.Trace."""
        return self._trace

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        if self._recording:
            self.stop()

    def __str__(self):
        return str(self._trace)


AsyncioTracer = FunctionTracer = AsyncTracer
