"""panopticon_rec.span and watch as decorators: functions of the same kind that do what the function does.

A function that can be left and entered again (a generator, a coroutine) is treated in one of two ways. A span has a slice
for each of its runs: what other code does in between is not in the span. A watched section is one, from the first step to
the last. The functions of this file are not recorded themselves.
"""

import functools
import sys

# Flags of code objects (cpython, Include/cpython/code.h).
GENERATOR, COROUTINE, ITERABLE_COROUTINE, ASYNC_GENERATOR = 0x20, 0x80, 0x100, 0x200


def decorate_with_span(span, function):
    """Return a function of the same kind that does what `function` does, in the span. Raises TypeError for what is not
    callable."""
    return decorate("span", function, Manner(lambda: span, resumed=lambda: OUTSIDE, run=lambda steps: Runs(span, steps)))


def decorate_with_watch(watch, function):
    """Return a function of the same kind that does what `function` does, each call a section of its own. Raises
    TypeError for what is not callable."""
    return decorate("watch", function, Manner(watch._renew, resumed=watch._renew, run=lambda steps: steps))


class Manner:
    """What a call of a decorated function is done in. call: returns the context of a call that runs to its end at once.
    resumed: of one that is resumed. run: returns what delegates to the steps of that one."""

    def __init__(self, call, resumed, run):
        self.call, self.resumed, self.run = call, resumed, run


class Outside:
    """A context that does nothing."""

    def __enter__(self):
        pass

    def __exit__(self, *exception):
        pass


OUTSIDE = Outside()


class Runs:
    """A generator or coroutine, or what asend() returns, each of whose runs is in the span. It is what `yield from` and
    `await` delegate to (PEP 380)."""

    def __init__(self, span, steps):
        self.span, self.steps = span, steps

    def __iter__(self):
        return self

    __await__ = __iter__

    def __next__(self):
        with self.span:
            return self.steps.send(None)

    def send(self, value):
        with self.span:
            return self.steps.send(value)

    def throw(self, *exception):
        with self.span:
            return self.steps.throw(*exception)

    def close(self):
        with self.span:
            self.steps.close()


def decorate(name, function, manner):
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(decorate(name, function.__func__, manner))
    if not callable(function):
        raise TypeError(f"{name}() decorates a function, and this is {function!r}")
    flags = find_flags(function)
    if flags & ASYNC_GENERATOR:
        decorated = decorate_async_generator(function, manner)
    elif flags & (COROUTINE | ITERABLE_COROUTINE):
        decorated = decorate_coroutine(function, manner)
    elif flags & GENERATOR:
        decorated = decorate_generator(function, manner)
    else:
        decorated = decorate_function(function, manner)
    return functools.update_wrapper(decorated, function)


def find_flags(function):
    """Return the flags of the code that a call of `function` runs: of functions, methods, functools.partial and objects
    with a method __call__; and of what inspect.markcoroutinefunction has declared to be a coroutine function."""
    inspect = sys.modules.get("inspect")        # what is not imported has declared nothing
    if inspect and inspect.iscoroutinefunction(function):
        return COROUTINE
    while not hasattr(function, "__code__"):
        inner = getattr(function, "__func__", None) or getattr(function, "func", None)
        if inner is None or not callable(inner):
            inner = getattr(type(function), "__call__", None)
            return getattr(getattr(inner, "__code__", None), "co_flags", 0)
        function = inner
    return function.__code__.co_flags


def decorate_function(function, manner):
    def decorated(*args, **keywords):
        with manner.call():
            return function(*args, **keywords)

    return decorated


def decorate_coroutine(function, manner):
    async def decorated(*args, **keywords):
        with manner.resumed():
            return await manner.run(function(*args, **keywords))

    return decorated


def decorate_generator(function, manner):
    def decorated(*args, **keywords):
        with manner.resumed():
            return (yield from manner.run(function(*args, **keywords)))

    return decorated


def decorate_async_generator(function, manner):
    """There is no `yield from` for asynchronous generators (PEP 525): pass on what the caller sends and throws."""

    async def decorated(*args, **keywords):
        with manner.resumed():
            generator = function(*args, **keywords)
            step = generator.__anext__()
            try:
                while True:
                    try:
                        value = await manner.run(step)
                    except StopAsyncIteration:
                        return
                    try:
                        step = generator.asend((yield value))
                    except GeneratorExit:
                        raise
                    except BaseException as exception:
                        step = generator.athrow(exception)
            finally:
                await manner.run(generator.aclose())

    return decorated
