"""Generators: thrown at, closed, deleted, never started, never ended, caught running, made again at one address."""
import ctypes
import gc

gc.disable()


def count(n):
    for k in range(n):
        yield k


def patient(log):
    """Goes on when thrown at."""
    while True:
        try:
            log.append((yield len(log)))
        except ValueError:
            log.append("thrown")
        except GeneratorExit:
            log.append("closed")
            return


def refuses():
    try:
        yield 1
    except GeneratorExit:
        yield 2


def cleans(log):
    try:
        yield 1
        yield 2
    finally:
        log.append(sum(count(3)))


def raises(n):
    yield from range(n)
    raise LookupError(n)


def returns(n):
    yield n
    return n * 2


def runs_itself():
    yield next(me)


def expressions(n):
    return sum(x * x for x in (y + 1 for y in range(n) if y % 2))


class Held:
    def __init__(self, generator):
        self.generator = generator

    def __del__(self):
        self.generator.close()


def thrown_at(log):
    one = patient(log)
    next(one)
    for k in range(50):
        one.send(k)
        one.throw(ValueError)
    one.close()
    try:
        one.throw(KeyError)
    except KeyError:
        log.append("finished")
    fresh = patient(log)
    try:
        fresh.throw(OSError("never started"))
    except OSError:
        log.append("thrown at the start")


def ended(log):
    for n in range(30):
        try:
            log.append(sum(raises(n)))
        except LookupError:
            log.append("raised")
        one = returns(n)
        next(one)
        try:
            next(one)
        except StopIteration as stop:
            log.append(stop.value)


def left_behind(log):
    """Each is discarded while it is suspended or before it runs; the next takes its memory."""
    for k in range(200):
        one = cleans(log)
        if k % 3:
            next(one)
        if k % 3 == 2:
            next(one)
        del one
    Held(cleans(log))
    held = Held(cleans(log))
    next(held.generator)
    del held
    cleans(log).close()
    for _ in cleans(log):
        break


def refused(log):
    one = refuses()
    next(one)
    try:
        one.close()
    except RuntimeError as error:
        log.append(str(error))
    list(one)


def main():
    global me
    log = []
    thrown_at(log)
    ended(log)
    left_behind(log)
    refused(log)
    me = runs_itself()
    try:
        next(me)
    except ValueError as error:
        log.append(str(error))
    for k in range(100):
        log.append(sum(count(k)) + expressions(k))
    many = [count(100) for _ in range(50)]
    for _ in range(60):
        for one in many:
            next(one)
    del many[::2]
    print(len(log), log[-1], [list(one)[-1] for one in many[:3]])
    return many


# These stay suspended to the end, for nothing frees them.
ctypes.pythonapi.Py_IncRef(ctypes.py_object(main()))
