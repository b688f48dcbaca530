"""contextlib: managers that see, swallow, replace and raise exceptions, in order and in stacks."""
import contextlib
import gc

gc.disable()


@contextlib.contextmanager
def tag(log, name):
    log.append(f"<{name}>")
    try:
        yield name
    finally:
        log.append(f"</{name}>")


@contextlib.contextmanager
def swallow(kind):
    try:
        yield
    except kind:
        pass


@contextlib.contextmanager
def translate():
    try:
        yield
    except KeyError as error:
        raise ValueError(str(error)) from error


@contextlib.contextmanager
def stubborn():
    try:
        yield 1
    except IndexError:
        yield 2


@contextlib.contextmanager
def empty():
    return
    yield


class Plain(contextlib.ContextDecorator):
    def __enter__(self):
        return self

    def __exit__(self, *details):
        return details[0] is ZeroDivisionError


@Plain()
def divide(a, b):
    return a / b


def nested(log, depth):
    if depth == 0:
        raise KeyError("bottom")
    with tag(log, depth):
        nested(log, depth - 1)


def stacks(log, n):
    with contextlib.ExitStack() as stack:
        for k in range(n):
            stack.enter_context(tag(log, k))
        stack.enter_context(swallow(RuntimeError))
        stack.callback(log.append, "called back")
        raise RuntimeError


def odd(manager, error):
    try:
        with manager() as value:
            raise error
    except Exception as seen:
        return type(seen).__name__
    return value


def main():
    log = []
    for round in range(40):
        with swallow(ValueError), translate():
            nested(log, 20)
        stacks(log, 15)
        log.append(divide(round, 0))
    print(len(log))
    print(odd(translate, KeyError("k")), odd(stubborn, IndexError("i")), odd(empty, OSError("o")),
          odd(translate, StopIteration("s")))
    with contextlib.suppress(LookupError), contextlib.closing(iter_with_close()) as it:
        for value in it:
            if value > 100:
                raise LookupError


def iter_with_close():
    k = 0
    while True:
        k += 1
        yield k


def warm_up():
    main()


warm_up()
main()
