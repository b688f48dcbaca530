"""What panopticon_rec.watch does in Python: functions as sections, ids, and its place where nothing can be recorded.

The class itself is in C (recorder/cpython/watch.c). Imports only what the interpreter itself has imported, since it is
imported with the package.
"""

import sys

# Flags of code objects (cpython, Include/cpython/code.h).
GENERATOR, COROUTINE, ITERABLE_COROUTINE, ASYNC_GENERATOR = 0x20, 0x80, 0x100, 0x200
COPIED = "__module__", "__name__", "__qualname__", "__doc__", "__annotations__", "__type_params__"
MAX_ID = 128                # characters of an id that a client sends


# ---- functions ----

def decorate(watch, function):
    """Return a function of the same kind that does what `function` does, each call a section of its own. Raises
    TypeError for what is not callable."""
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(decorate(watch, function.__func__))
    if not callable(function):
        raise TypeError(f"watch() decorates a function, and this is {function!r}")
    flags = find_flags(function)
    if flags & ASYNC_GENERATOR:
        watched = watch_async_generator(watch, function)
    elif flags & (COROUTINE | ITERABLE_COROUTINE):
        watched = watch_coroutine(watch, function)
    elif flags & GENERATOR:
        watched = watch_generator(watch, function)
    else:
        watched = watch_function(watch, function)
    return copy_description(function, watched)


def find_flags(function):
    """Return the flags of the code that a call of `function` runs: of functions, methods and functools.partial."""
    while not hasattr(function, "__code__"):
        inner = getattr(function, "__func__", None) or getattr(function, "func", None)
        if inner is None or not callable(inner):
            inner = getattr(type(function), "__call__", None)
            return getattr(getattr(inner, "__code__", None), "co_flags", 0)
        function = inner
    return function.__code__.co_flags


def copy_description(function, watched):
    """Copy what functools.wraps copies, which is of a module that may not be imported here. Return `watched`."""
    for name in COPIED:
        try:
            setattr(watched, name, getattr(function, name))
        except (AttributeError, TypeError):
            pass
    watched.__dict__.update(getattr(function, "__dict__", {}))
    watched.__wrapped__ = function
    return watched


def watch_function(watch, function):
    def watched(*args, **keywords):
        with watch._renew():
            return function(*args, **keywords)

    return watched


def watch_coroutine(watch, function):
    async def watched(*args, **keywords):
        with watch._renew():
            return await function(*args, **keywords)

    return watched


def watch_generator(watch, function):
    def watched(*args, **keywords):
        with watch._renew():
            return (yield from function(*args, **keywords))

    return watched


def watch_async_generator(watch, function):
    async def watched(*args, **keywords):
        with watch._renew():
            generator = function(*args, **keywords)
            step, argument = generator.asend, None
            while True:
                try:
                    value = await step(argument)
                except StopAsyncIteration:
                    return
                try:
                    step, argument = generator.asend, (yield value)
                except GeneratorExit:
                    await generator.aclose()
                    raise
                except BaseException as error:
                    step, argument = generator.athrow, error

    return watched


# ---- ids ----

def find_trace_id():
    """Return the trace id of the current span of OpenTelemetry, 32 hexadecimal digits, or None: the program does not
    use its API, or there is no span."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def is_hex(text, size):
    """Return whether this is a number of so many lower-case hexadecimal digits that is not 0."""
    return len(text) == size and not text.strip("0123456789abcdef") and text.strip("0") != ""


def parse_traceparent(text):
    """Return the trace id of a header `traceparent`, or None when it is not valid (W3C Trace Context, 3.2)."""
    version, trace_id, parent_id = f"{text.strip()}---".split("-")[:3]
    is_valid = (len(version) == 2 and not version.strip("0123456789abcdef") and version != "ff" and
                is_hex(trace_id, 32) and is_hex(parent_id, 16))
    return trace_id if is_valid else None


def find_request_id(traceparent, request_id):
    """Return the id of a request: the trace id of its header `traceparent`, or else its `x-request-id`, cut and
    cleaned. Both headers are str, or None. None when there is no id."""
    trace_id = parse_traceparent(traceparent) if traceparent else None
    if trace_id:
        return trace_id
    text = "".join(c for c in request_id or "" if c.isascii() and c.isprintable()).strip()[:MAX_ID]
    return text or None


# ---- an interpreter that cannot be recorded ----

class watch:
    """Takes the place of the class `watch`, and does nothing."""

    def __init__(self, name, slower_than=None, *, keep="2s", every="1min", at_most=100, on_error=False, id=None):
        self.name, self.id = name, id

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return False

    def __call__(self, function):
        return function

    def _renew(self):
        return self
