"""Probes: record calls of chosen functions, wherever the program calls them."""

import functools
import inspect
import threading

from panopticon.tracer import AsyncTracer

__all__ = ["probe"]


def probe(trace):
    """Return a decorator for functions, or for classes with all their methods. Each call is recorded with what it
    calls, and added to a panopticon.trace.Trace. Calls at the same time, or in a call, are one recording."""
    if not hasattr(trace, "probes"):
        trace.probes = SharedRecording(trace)
    return functools.partial(decorate, trace.probes)


def decorate(shared, x):
    if inspect.isclass(x):
        for name, method in list(vars(x).items()):
            if inspect.isfunction(method):
                setattr(x, name, decorate(shared, method))
        return x
    if inspect.isasyncgenfunction(x):
        async def replacement(*args, **keywords):
            with shared:
                async for item in x(*args, **keywords):
                    yield item
    elif inspect.iscoroutinefunction(x):
        async def replacement(*args, **keywords):
            with shared:
                return await x(*args, **keywords)
    elif inspect.isgeneratorfunction(x):
        def replacement(*args, **keywords):
            with shared:
                return (yield from x(*args, **keywords))
    else:
        def replacement(*args, **keywords):
            with shared:
                return x(*args, **keywords)
    return functools.update_wrapper(replacement, x)


class SharedRecording:
    """The recording of a trace's probes, from the first call that begins to the last one that ends."""

    def __init__(self, trace):
        self.lock, self.n_calls, self.tracer = threading.Lock(), 0, AsyncTracer(trace)

    def __enter__(self):
        with self.lock:
            if self.n_calls == 0:
                self.tracer.start()
            self.n_calls += 1

    def __exit__(self, *exception):
        with self.lock:
            self.n_calls -= 1
            if self.n_calls == 0:
                self.tracer.stop()
