"""The interface of the package `panopticon` 0.0.4 (2020), whose place this one takes: panopticon_rec does the work.

    python3 -m panopticon -o app.trace app.py
    python3 -m panopticon -c "print('hello')" -o print_hello.trace

    with panopticon.record_trace("print_hello.trace"):
        print("Hello")

    with panopticon.tracer.AsyncTracer() as at:
        print("Hello")
    print(str(at))

PYTEST_DONT_REWRITE: with this word pytest does not warn that the package was imported before it could rewrite asserts.

What differs: arguments and return values are not recorded, and there are no classes for single events. New programs use
panopticon_rec, which has more options, and keeps what a program did that was killed.
"""

import sys


class record_trace:
    """Record a part of a program into a trace for chrome://tracing or Perfetto. trace_file: its path. Raises OSError
    at the start when it cannot be written. Later failures are one line on standard error."""

    def __init__(self, trace_file):
        self._path = trace_file

    def __enter__(self):
        from panopticon.tracer import AsyncTracer
        self._file = open(self._path, "w", encoding="utf-8")
        self._tracer = AsyncTracer().start()

    def __exit__(self, *exception):
        try:
            self._tracer.stop()
            self._file.write(str(self._tracer))
        except OSError as error:
            print(f"panopticon: {self._path} is not complete: {error}", file=sys.stderr)
        finally:
            self._file.close()


def __getattr__(name):
    """Import the rest when it is first used: this import costs a program next to nothing."""
    if name == "__version__":
        import panopticon_rec
        return panopticon_rec.__version__
    if name == "AsyncioTracer":
        from panopticon.tracer import AsyncioTracer
        return AsyncioTracer
    if name in ("trace", "tracer"):
        import importlib
        return importlib.import_module(f"panopticon.{name}")
    raise AttributeError(f"module 'panopticon' has no attribute {name!r}")
