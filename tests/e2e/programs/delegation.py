"""yield from and await, in every mixture; what is thrown and closed goes down to the innermost."""
import gc
import types

gc.disable()


def inner(n):
    got = 0
    for k in range(n):
        try:
            got += (yield k) or 0
        except ValueError:
            got += busy(10)
    return got


def outer(n, depth):
    if depth == 0:
        return (yield from inner(n))
    try:
        return (yield from outer(n, depth - 1)) + 1
    except KeyError:
        yield -1
        raise


@types.coroutine
def switch(value):
    return (yield value)


class Future:
    def __await__(self):
        value = yield self
        return value


async def task(n):
    total = 0
    for k in range(n):
        total += await switch(k)
        total += await Future()
    return total


async def parent(n, depth):
    return await (parent(n, depth - 1) if depth else task(n))


def busy(n):
    total = 0
    for k in range(n):
        total += identity(k) % 2
    return total


def identity(x):
    return x


def drive(coroutine):
    sent = None
    try:
        while True:
            coroutine.send(sent)
            sent = 1
    except StopIteration as stop:
        return stop.value


def expands():
    """Runs long below a frame that a throw went past: its delegating frames are open but do not run."""
    try:
        yield 1
    except ValueError:
        busy(60_000)
        yield 2


def passes():
    yield from expands()
    yield from expands()


def main():
    one = outer(200, 30)
    next(one)
    for k in range(50):
        one.send(k)
        one.throw(ValueError)
    try:
        one.throw(KeyError)
        next(one)
    except KeyError:
        print("thrown")
    two = outer(10, 10)
    next(two)
    two.close()
    print(drive(parent(40, 15)), list(outer(5, 5)))
    three = passes()
    next(three)
    print(three.throw(ValueError), next(three), three.throw(ValueError), list(three))


main()
