"""Captures for the viewers: recorded programs, and captures written by hand (tests/format/capture_writer.py) that are
difficult for viewers.

    capture = captures.recorded(program)        # once in a process; capture.printed is what it printed
    capture = captures.written("ticks")
    trace, summary = capture.convert("out.trace", "--from=1ms")

PANOPTICON_BUILD    the build directory     [build/release]
PANOPTICON_PYTHON   the interpreter to record with     [the running one]
"""

import atexit
import functools
import os
import pathlib
import random
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = pathlib.Path(os.environ.get("PANOPTICON_BUILD", ROOT / "build/release")).resolve()
PYTHON = os.environ.get("PANOPTICON_PYTHON", sys.executable)

sys.path.append(str(ROOT / "tests/format"))
import capture_writer as w              # noqa: E402


class Capture:
    def __init__(self, path, printed=b""):
        self.path, self.printed = path, printed

    def convert(self, name, *options):
        """Returns the path of the output, which has this name, and the converter's summary."""
        directory = new_directory()
        output = directory / name
        converted = subprocess.run([BUILD / "panopticon-convert", self.path, "-o", output, *options], timeout=100,
                                   stderr=subprocess.PIPE, text=True)
        assert converted.returncode < 2, converted.stderr       # 1: of a part of the capture, as in tests/golden
        return output, converted.stderr


@functools.cache
def recorded(program, *options):
    """Records the program at this path, with these options."""
    directory = new_directory()
    env = {**os.environ, "PYTHONPATH": str(BUILD), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [PYTHON, "-m", "panopticon_rec", "-q", "-o", directory / "run.pnr", *options, program.name]
    ran = subprocess.run(command, env=env, cwd=program.parent, check=True, stdout=subprocess.PIPE, timeout=100)
    return Capture(directory / "run.pnr", ran.stdout)


def has_budgets():
    """True if the interpreter to record with has sys.monitoring."""
    return not subprocess.run([PYTHON, "-c", "import sys; sys.monitoring"], stderr=subprocess.DEVNULL).returncode


@functools.cache
def written(name):
    """The capture that the function of this name writes, below."""
    path = new_directory() / "run.pnr"
    with w.Capture(path) as capture:
        WRITTEN[name](capture)
    return Capture(path)


@functools.cache
def base_directory():
    directory = tempfile.TemporaryDirectory()
    atexit.register(directory.cleanup)
    return directory.name


def new_directory():
    return pathlib.Path(tempfile.mkdtemp(dir=base_directory()))


# ---- captures written by hand ----

def ticks(capture):
    """Everything of a thread at one tick, several times: siblings, nested calls, and nested generators that pass their
    values through all of them. One of them continues in another thread."""
    process = capture.process(7, command="ticks.py")
    f, g = (process.function("__main__", name, "ticks.py", 1) for name in "fg")
    generators = [process.function("__main__", f"level_{n}", "ticks.py", n, w.GENERATOR) for n in range(6)]
    records = [w.call(10, f)]
    for at in (10, 10, 11, 12, 40):
        records += [w.call(at, g), w.return_(at, g), w.call(at, g), w.call(at, f), w.return_(at, f), w.return_(at, g)]
    resume = w.start
    for at in (50, 50, 51, 90):
        records += [resume(at, function, 100 + n) for n, function in enumerate(generators)]
        records += [w.call(at, g), w.return_(at, g)] * 2
        records += [w.yield_(at, function, 100 + n) for n, function in reversed(list(enumerate(generators)))]
        resume = w.resume
    process.thread(1, 7, "MainThread").block([*records, w.return_(200, f)])
    process.thread(2, 8, "other").block(
        [w.resume(95, generators[0], 100), w.call(95, g), w.return_(95, g), w.finish(95, generators[0], 100)])
    process.end(1000)


def deep(capture):
    """500 nested frames: Perfetto takes 511."""
    process = capture.process(7, command="deep.py")
    f = process.function("__main__", "f", "deep.py", 1)
    process.thread(1, 7, "MainThread").block(
        [w.call(10 + n, f) for n in range(500)] + [w.return_(600 + n, f) for n in range(500)])
    process.end(2000)


def mixed(seed, capture):
    """Anything that a program could do: processes, threads, greenlets, generators of all kinds that continue anywhere,
    C calls, exceptions; often at the same tick."""
    chance = random.Random(seed)
    for pid in 7, 4194300:
        process = capture.process(pid, command=f"mixed {pid} \U0001f9f5.py")
        MixedProcess(process, pid, chance).run(800)
        process.end(10**7)


class MixedProcess:
    def __init__(self, process, pid, chance):
        self.process, self.chance, self.now, self.frame = process, chance, 0, 0
        names = ["plain", 'quote"s', "back\\slash", "<b>&amp;", "\u5c0f\u3055\u3044", "smile \U0001f642", "constructor"]
        self.plain = [process.function("m\u00f3d", name, "a b.py", n) for n, name in enumerate(names)]
        self.c = [process.function("builtins", name, "", 0, w.C_FUNCTION) for name in ("print", "list.append")]
        self.continuable = [process.function("__main__", f"{name} {kind}", "a b.py", kind, kind)
                            for kind in range(w.GENERATOR, w.ITERABLE_COROUTINE + 1) for name in names[:2]]
        self.suspended = []             # function, frame, when and where
        self.threads = [process.thread(n + 1, pid + n, f"thread \U0001f9f5 {n}") for n in range(3)]
        self.tracks = {1: [0, process.track(4, 0, "greenlet"), process.track(5, 0, "greenlet")]}

    def run(self, n_steps):
        records = [[] for _ in self.threads]
        stacks = [{track: [] for track in self.tracks.get(thread.number, [0])} for thread in self.threads]
        tracks = [0 for _ in self.threads]
        for _ in range(n_steps):
            self.now += self.chance.choice([0, 0, 0, 1, 2, 7, 1500])
            n = self.chance.randrange(len(self.threads))
            if len(stacks[n]) > 1 and self.chance.random() < 0.1:
                tracks[n] = self.chance.choice(list(stacks[n]))
                records[n].append(w.switch(self.now, tracks[n]))
            records[n].append(self.step(stacks[n][tracks[n]], (n, tracks[n])))
        for thread, rows in zip(self.threads, records):
            thread.block(rows, begin=0)

    def step(self, stack, where):
        """One record, for a stack of (function, frame)."""
        chance = self.chance
        on_c = stack and stack[-1][0] in self.c
        if stack and (on_c or len(stack) > 20 or chance.random() < 0.48):
            function, frame = stack.pop()
            if on_c:
                return chance.choice([w.c_return, w.c_return, w.c_raise])(self.now, function)
            if not frame:
                return chance.choice([w.return_, w.return_, w.unwind])(self.now, function)
            if chance.random() < 0.7:
                self.suspended.append((function, frame, self.now, where))
                return w.yield_(self.now, function, frame)
            return chance.choice([w.finish, w.finish_unwind])(self.now, function, frame)
        # In another thread it continues after the tick at which it was suspended.
        ready = [each for each in self.suspended if each[2] < self.now or each[3] == where]
        if ready and chance.random() < 0.5:
            each = chance.choice(ready)
            self.suspended.remove(each)
            stack.append(each[:2])
            return w.resume(self.now, *each[:2])
        if chance.random() < 0.3:
            self.frame += 1
            stack.append((chance.choice(self.continuable), self.frame))
            return w.start(self.now, *stack[-1])
        if stack and chance.random() < 0.2:
            stack.append((chance.choice(self.c), 0))
            return w.c_call(self.now, stack[-1][0])
        stack.append((chance.choice(self.plain), 0))
        return w.call(self.now, stack[-1][0])


def windows(capture):
    """Two processes with a budget, with windows at the same time."""
    for pid in 7, 8:
        process = capture.process(pid, command="windows.py", max_overhead="3", event_cost_ns="50")
        f = process.function("__main__", "f", "windows.py", 1)
        process.thread(1, pid, "MainThread").block([w.call(10, f), w.return_(900, f)])
        process.ledger(2).block([(20, w.MUTE, 0, f), (100 + pid, w.WINDOW, 0, 1), (200 + pid, w.WINDOW_END, 0, 1),
                                 (300 - pid, w.WINDOW, 0, 1), (300 + pid, w.WINDOW_END, 0, 1)])
        process.end(1000)


WRITTEN = {"ticks": ticks, "deep": deep, "windows": windows} | {f"mixed {seed}": functools.partial(mixed, seed) for seed in range(4)}
