"""panopticon_rec.span as a decorator, and what stands for the remarks where the recorder cannot be loaded.

A function that can be left and entered again (a generator, a coroutine) has a slice for each of its runs: what other
code does in between is not in the span. The functions of this file are not recorded themselves.
"""

import functools
import inspect


class Runs:
    """A generator or coroutine, or what asend() returns, each of whose runs is in the span. It is what `yield from` and
    `await` delegate to (PEP 380)."""

    def __init__(self, span, iterator):
        self.span, self.iterator = span, iterator

    def __iter__(self):
        return self

    __await__ = __iter__

    def __next__(self):
        with self.span:
            return self.iterator.send(None)

    def send(self, value):
        with self.span:
            return self.iterator.send(value)

    def throw(self, *exception):
        with self.span:
            return self.iterator.throw(*exception)

    def close(self):
        with self.span:
            self.iterator.close()


def decorate(span, function):
    """Return a function that does what the function does, in the span. It is of the same kind as the function."""
    if inspect.isasyncgenfunction(function):
        @functools.wraps(function)
        async def wrapper(*args, **keywords):
            generator = function(*args, **keywords)
            step = generator.__anext__()
            try:
                while True:
                    try:
                        value = await Runs(span, step)
                    except StopAsyncIteration:
                        return
                    try:
                        step = generator.asend((yield value))
                    except GeneratorExit:
                        raise
                    except BaseException as exception:
                        step = generator.athrow(exception)
            finally:
                await Runs(span, generator.aclose())
    elif inspect.iscoroutinefunction(function):
        @functools.wraps(function)
        async def wrapper(*args, **keywords):
            return await Runs(span, function(*args, **keywords))
    elif inspect.isgeneratorfunction(function):
        @functools.wraps(function)
        def wrapper(*args, **keywords):
            return (yield from Runs(span, function(*args, **keywords)))
    else:
        @functools.wraps(function)
        def wrapper(*args, **keywords):
            with span:
                return function(*args, **keywords)
    return wrapper


def mark(name, /, **values):
    """Do nothing: the recorder cannot be loaded, as panopticon_rec.UNUSABLE says."""


counter = mark


def flow(id, /):
    """Do nothing, as mark()."""


class span:
    """Does nothing, as mark()."""

    def __init__(self, name, /, **values):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def __call__(self, function):
        return function
