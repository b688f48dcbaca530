"""What the end-to-end tests share: run a program plain or recorded, convert the capture, read the trace.

- PANOPTICON_BUILD: directory with panopticon-convert and the package panopticon_rec, or `installed`: those that pip has
  installed for this interpreter [build/release].
- PANOPTICON_PYTHON: the interpreter whose programs are recorded [this one].
- PANOPTICON_LONG: 1 = also the tests that take minutes.
- PANOPTICON_BRIEF: 1 = not those that come out the same on every Python.
- PANOPTICON_SEED: of the random choices; a test that fails prints the one that it used [another one each time].
"""

import bisect
import collections
import json
import os
import re
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
IS_INSTALLED = os.environ.get("PANOPTICON_BUILD") == "installed"
BUILD = sysconfig.get_path("platlib") if IS_INSTALLED else \
    os.path.abspath(os.environ.get("PANOPTICON_BUILD") or os.path.join(HERE, "..", "..", "build", "release"))
PYTHON = os.environ.get("PANOPTICON_PYTHON") or sys.executable
VERSION = sys.version_info[:2]      # the tests run under the interpreter that they record


def supported(name):
    """A minor version of CPython 3 from the list of those that the recorder supports."""
    with open(os.path.join(HERE, "..", "..", "recorder", "cpython", "versions.h"), encoding="utf-8") as file:
        return int(re.search(rf"^#define CPYTHON_{name} (\d+)", file.read(), re.MULTILINE)[1])


OLDEST, NEWEST = supported("OLDEST"), supported("NEWEST")
IS_KNOWN = VERSION <= (3, NEWEST)   # there is the frame engine, and greenlets are told apart
IS_FREE_THREADED = "t" in sys.abiflags      # then there is neither
ENGINES = ["frame"] * (IS_KNOWN and not IS_FREE_THREADED) + ["monitoring"] * (VERSION >= (3, supported("MONITORING")))
CONVERT = os.path.join(sysconfig.get_path("scripts") if IS_INSTALLED else BUILD, "panopticon-convert")
COMMAND = os.path.join(sysconfig.get_path("scripts") if IS_INSTALLED else os.path.join(BUILD, "bin"), "panopticon")
IS_SANITIZED = "san" in os.path.basename(BUILD)
LONG = os.environ.get("PANOPTICON_LONG") == "1"
once = unittest.skipIf(os.environ.get("PANOPTICON_BRIEF") == "1", "it comes out the same on every Python")
CONTINUABLE = ("generator", "coroutine", "async_generator", "iterable_coroutine")
FLAGS = ("exception", "unfinished", "begin_unknown", "exit_missing", "cut", "inexact")

Finished = collections.namedtuple("Finished", "status out err")
Function = collections.namedtuple("Function", "name cat src")


def alone(test):
    """Decorate a test that disturbs others, or is disturbed by them: tests/suite.py runs it when they have ended."""
    test.runs_alone = True
    return test


def environment(**more):
    """Return an environment in which a program finds no difference between a plain run and a recorded one."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PANOPTICON"))}
    env.update(PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1")
    if not IS_INSTALLED:
        env["PYTHONPATH"] = BUILD
    env.update(more)
    return env


def run(command, cwd=None, stdin=b"", env=None, timeout=120, stdout=subprocess.PIPE):
    """Runs to the end in a process group of its own, which is killed when time is out."""
    process = subprocess.Popen(command, cwd=cwd, env=environment(**(env or {})), stdin=subprocess.PIPE,
                               stdout=stdout, stderr=subprocess.PIPE, start_new_session=True)
    try:
        out, err = process.communicate(stdin, timeout)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return Finished(process.returncode, (out or b"").decode("utf-8", "replace"), err.decode("utf-8", "replace"))


def plain(arguments, flags=(), **more):
    return run([PYTHON, *flags, *arguments], **more)


def recorder(capture, arguments, flags=(), options=("-q",)):
    """The command that records a program."""
    return [PYTHON, *flags, "-m", "panopticon_rec", "-o", capture, *options, *arguments]


def recorded(capture, arguments, flags=(), options=("-q",), **more):
    return run(recorder(capture, arguments, flags, options), **more)


def convert(capture, *options, status=0):
    """Converts a capture and returns the trace's path; the converter must end with `status`."""
    trace = os.path.splitext(capture)[0] + ".trace"
    finished = run([CONVERT, capture, "-o", trace, *options], timeout=600)
    if finished.status != status:
        raise AssertionError(f"panopticon-convert {capture}: status {finished.status}, not {status}\n{finished.err}")
    return trace


def process_directories(capture):
    """Their names."""
    return sorted(name for name in os.listdir(capture) if name.startswith("process-"))


def wait_until_it_sleeps(pid):
    """Returns when the main thread of a process has been asleep for 0.1 s without a break."""
    observed = 0
    while observed < 10:
        with open(f"/proc/{pid}/task/{pid}/stat", encoding="ascii", errors="replace") as file:
            state = file.read().rpartition(")")[2].split()[0]
        if state in "ZX":
            raise AssertionError(f"process {pid} has ended")
        observed = observed + 1 if state == "S" else 0
        time.sleep(0.01)


def segments(capture):
    """The paths of the segments of a capture of one process, by their numbers, in order."""
    process, = process_directories(capture)
    names = (name for name in os.listdir(os.path.join(capture, process)) if name.startswith("segment-"))
    return {int(name[8:]): os.path.join(capture, process, name) for name in sorted(names, key=lambda name: int(name[8:]))}


def size_on_disk(path):
    """Bytes that a capture takes, in whole disk blocks as du counts; files that are removed meanwhile are left out."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in [folder, *(os.path.join(folder, name) for name in names)]:
            try:
                total += -os.lstat(name).st_size // 4096 * -4096
            except FileNotFoundError:
                pass
    return total


class Slice:
    __slots__ = "function", "begin", "end", "thread", "flags", "parent", "has_flow_event"

    def __init__(self, function, begin, end, thread, flags):
        self.function, self.begin, self.end, self.thread, self.flags = function, begin, end, thread, flags
        self.parent = None
        self.has_flow_event = False        # a flow event lies in it

    def __repr__(self):
        return f"{self.function.name} [{self.begin}, {self.end}] on {self.thread}"

    @property
    def outermost(self):
        one = self
        while one.parent:
            one = one.parent
        return one

    @property
    def depth(self):
        depth, above = 0, self.parent
        while above:
            depth, above = depth + 1, above.parent
        return depth


def events(file, sources=None):
    """Yields the events of an open trace. Each is a line of its own, so that a trace of any size can be read; what
    stands before and after them is JSON, too. In the end, sources gets where functions are, by their numbers."""
    head = line = file.readline()
    while not line.endswith("[\n"):
        line = file.readline()
        if not line:
            raise AssertionError(f"no events in {head[:200]}")
        head += line
    for line in file:
        if line.startswith("]"):
            break
        yield json.loads(line.removesuffix("\n").removesuffix(","), parse_float=nanoseconds)
    rest = json.loads(head + line + file.read())
    if sources is not None:
        sources.update({int(number): frame["name"] for number, frame in rest["stackFrames"].items()})


Creation = collections.namedtuple("Creation", "maker made")     # slices
# The slice that hands work to another thread, and the one that does it.
Work = collections.namedtuple("Work", "maker made")
Task = collections.namedtuple("Task", "name src begin end runs flags waits others renamed")


class Trace:
    """A trace, checked while it is read: slices nest, every flow event lies inside a slice of its own function, and
    what begins ends.

    - slices: all slices; per thread in the order in which they begin, times in ns.
    - flows: the slices of each continuable frame that ran, in the order in which it ran.
    - creations: a Creation for each arrow from a slice to the frame that it made, if the trace has them.
    - works: a Work for each arrow from a slice that hands work to another thread to the one that does it.
    - program_flows: by its number the (phase, thread, time) of each event of a flow that the program reported.
    - tasks: a Task for each task of asyncio, if the trace has them; runs are the slices in which one ran.
    - threads: (pid, tid) to name.
    - processes: pid to name.
    - metadata: the metadata events.
    - instants: the names of the instant events.
    - windows: the (begin, end) of the times in which muted functions were recorded, too.
    - counters: by the counter's name its [(ts, value), ...].
    """

    LARGEST = 200_000_000       # bytes: about a gigabyte of slices

    def __init__(self, path):
        if os.path.getsize(path) > self.LARGEST:
            raise AssertionError(f"{path}: {os.path.getsize(path)} bytes are too many to keep")
        self.threads, self.processes, self.metadata, self.instants = {}, {}, [], []
        threads, flow_events, sources = collections.defaultdict(list), collections.defaultdict(list), {}
        creations, tasks, works = (collections.defaultdict(list) for _ in range(3))
        self.program_flows = collections.defaultdict(list)
        self.counters, window_events = collections.defaultdict(list), collections.defaultdict(list)
        with open(path, encoding="utf-8") as file:
            for event in events(file, sources):
                kind, thread = event["ph"], (event["pid"], event.get("tid"))
                if kind == "X":
                    function = event["name"], event["cat"], event.get("sf")
                    args = event.get("args", ())
                    flags = frozenset(flag for flag in FLAGS if flag in args)
                    threads[thread].append(Slice(function, event["ts"], event["ts"] + event["dur"], thread, flags))
                elif kind in "stf" and event["cat"] == "creation":
                    creations[event["id"]].append((kind, thread, event["ts"], event["name"]))
                elif kind in "sf" and event["cat"] == "work":
                    works[event["id"]].append((kind, thread, event["ts"], event["name"]))
                elif kind in "stf" and event["cat"] == "label":
                    self.program_flows[event["id"]].append((kind, thread, event["ts"]))
                elif kind in "be" and event["cat"] == "window":
                    window_events[event["pid"]].append((event["ts"], kind))
                elif kind == "C":
                    for value in event["args"].values():
                        self.counters[event["name"]].append((event["ts"], value))
                elif kind in "be":
                    tasks[event["id"]].append((kind, event["name"], thread, event["ts"], event.get("args", {}),
                                               event.get("sf")))
                elif kind in "stf":
                    flow_events[thread].append((event["ts"], kind, event["id"], event["name"], event["cat"]))
                elif kind == "M":
                    self.metadata.append(event)
                    if event["name"] == "thread_name":
                        self.threads[thread] = event["args"]["name"]
                    elif event["name"] == "process_name":
                        self.processes[event["pid"]] = event["args"]["name"]
                elif kind == "i":
                    self.instants.append(event["name"])
        self.windows = [pair for events in window_events.values() for pair in read_windows(events)]
        self.slices, found, begins, functions = [], collections.defaultdict(list), {}, {}
        for slices in threads.values():
            for one in slices:
                name, cat, number = key = one.function
                if key not in functions:
                    functions[key] = Function(name, cat, sources[number] if number else "")
                one.function = functions[key]
        for thread, slices in threads.items():
            nest(slices)
            bind(slices, flow_events.pop(thread, []), found)
            self.slices += slices
            begins[thread] = [one.begin for one in slices]
        self.creations = [creation(ends, threads, begins) for ends in creations.values()]
        self.works = [work(ends, threads, begins) for ends in works.values()]
        numbers = [*found, *creations, *self.program_flows, *works]
        if sorted(numbers) != list(range(1, len(numbers) + 1)):
            raise AssertionError("flows and creations are not numbered from 1 on")
        by_begin = {(one.thread, one.begin): one for one in self.slices} if tasks else {}
        self.tasks = [task(events, by_begin, sources) for events in tasks.values()]
        if flow_events:
            raise AssertionError(f"flow events on threads without slices: {dict(flow_events)}")
        self.flows = [read_flow(number, steps) for number, steps in found.items()]
        self.flows += [[one] for one in self.slices if one.function.cat in CONTINUABLE and not one.has_flow_event]

    def named(self, name):
        return [one for one in self.slices if one.function.name == name]

    def of(self, path):
        """The slices of the functions of a file."""
        return [one for one in self.slices if one.function.src.startswith(path + ":")]

    def count(self):
        """Name: number of slices."""
        return collections.Counter(one.function.name for one in self.slices)


def nanoseconds(microseconds):
    whole, _, part = microseconds.partition(".")
    if len(part) != 3:
        raise AssertionError(f"a time without three decimals: {microseconds}")
    return int(whole) * 1000 + int(part)


def read_windows(events):
    """[(begin, end), ...] of the windows of a process: each ends before the next one begins."""
    if "".join(kind for _, kind in events) != "be" * (len(events) // 2) or events != sorted(events, key=lambda one: one[0]):
        raise AssertionError(f"windows are reported by {events[:10]}")
    return [(begin, end) for (begin, _), (end, _) in zip(events[::2], events[1::2])]


def nest(slices):
    """Sorts the slices of a thread and finds each one's parent."""
    slices.sort(key=lambda one: (one.begin, -one.end))
    top = None
    for one in slices:
        while top and top.end <= one.begin:
            top = top.parent
        if one.end <= one.begin:
            raise AssertionError(f"no time for {one}")
        if top and (one.begin <= top.begin or one.end >= top.end):
            raise AssertionError(f"{one} is not inside {top}")
        one.parent, top = top, one


def bind(slices, flow_events, found):
    """Appends (ts, kind, slice) to found[id] for each flow event of a thread: the innermost slice that holds it."""
    flow_events.sort()
    top, k = None, 0
    for ts, kind, number, name, cat in flow_events:
        while k < len(slices) and slices[k].begin <= ts:
            top = slices[k]
            k += 1
        while top and top.end < ts:
            top = top.parent
        if not top or not top.begin < ts < top.end or (top.function.name, top.function.cat) != (name, cat):
            raise AssertionError(f"flow event {kind} {number} of {name} at {ts} lies in {top}")
        if top.has_flow_event:
            raise AssertionError(f"two flow events in {top}")
        top.has_flow_event = True
        found[number].append((ts, kind, top))


def innermost(slices, begins, ts):
    one = slices[bisect.bisect_right(begins, ts) - 1] if begins and begins[0] <= ts else None
    while one and one.end < ts:
        one = one.parent
    return one


def creation(ends, threads, begins):
    """Both ends lie inside the slices that they join, strictly, and time goes on from one to the other."""
    if [kind for kind, *_ in ends] != ["s", "f"]:
        raise AssertionError(f"a creation is reported by {ends}")
    (_, there, begin, name), (_, here, end, same) = ends
    maker, made = innermost(threads[there], begins[there], begin), innermost(threads[here], begins[here], end)
    if not maker or not made or not maker.begin < begin < maker.end or end != made.begin + 1 or begin >= end or \
            not name == same == made.function.name or made.function.cat not in CONTINUABLE:
        raise AssertionError(f"the creation {ends} is from {maker} to {made}")
    return Creation(maker, made)


def work(ends, threads, begins):
    """Both ends lie inside the slices that they join, strictly; from one thread to another, and back in no case."""
    (start, there, begin, name), (end, here, at, same) = ends
    maker, made = innermost(threads[there], begins[there], begin), innermost(threads[here], begins[here], at)
    if (start, end) != ("s", "f") or not maker or not made or not maker.begin < begin < maker.end or \
            not made.begin < at < made.end or begin > at or not name == same == made.function.name:
        raise AssertionError(f"the work {ends} is from {maker} to {made}")
    return Work(maker, made)


def task(events, slices, sources):
    """It begins with its first run and ends with its last one, or at the end of its process."""
    (_, name, *_, source), *inner, last = events
    kinds, times = "".join(kind for kind, *_ in events), [event[3] for event in events]
    if kinds != "b" + "be" * (len(inner) // 2) + "e" or {event[1] for event in inner} != {"[running]"} or \
            last[1] != name or times != sorted(times) or times[0] != times[1]:
        raise AssertionError(f"a task is reported by {events}")
    runs = [slices.get((thread, ts)) for kind, _, thread, ts, *_ in inner if kind == "b"]
    ends = [event[3] for event in inner if event[0] == "e"]
    if any(not run or run.end != end or name != run.function.name and not name.endswith(": " + run.function.name) for run, end in zip(runs, ends)):
        raise AssertionError(f"{name} runs in {runs} until {ends}")
    flags = frozenset(last[4]) - {"renamed"}
    if flags - {"unfinished", "cut"} or (not flags and times[-1] != times[-2]):
        raise AssertionError(f"the task {name} ends by {last}")
    args = [event[4] for event in inner if event[0] == "e"]
    waits = [(one.get("waits_for"), one.get("waits_in")) for one in args]
    return Task(name, sources.get(source, ""), times[0], times[-1], runs, flags, waits,
                [one.get("waits_for_task") for one in args], last[4].get("renamed"))


def read_flow(number, steps):
    steps.sort(key=lambda step: step[0])
    kinds = "".join(kind for _, kind, _ in steps)
    if kinds != "s" + "t" * (len(kinds) - 2) + "f":
        raise AssertionError(f"flow {number} of {steps[0][2]} goes {kinds}")
    if len({one.function for _, _, one in steps}) > 1:
        raise AssertionError(f"flow {number} joins functions: {steps[0][2]}, {steps[-1][2]}")
    return [one for _, _, one in steps]


def differences(expected, found, limit=10):
    """The first keys whose values differ, as lines; "" when there are none."""
    keys = [key for key in {**expected, **found} if expected.get(key, 0) != found.get(key, 0)]
    lines = [f"  {key}: {expected.get(key, 0)} expected, {found.get(key, 0)} found" for key in keys[:limit]]
    if len(keys) > limit:
        lines.append(f"  ... and {len(keys) - limit} more")
    return "\n".join(lines)


class EndToEnd(unittest.TestCase):
    """A test with a directory of its own."""

    maxDiff = 4000

    def setUp(self):
        self.directory = os.path.realpath(tempfile.mkdtemp(prefix="panopticon-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def random(self):
        """Returns a source of random numbers. If the test fails, tests/suite.py prints its seed."""
        self.seed = int(os.environ.get("PANOPTICON_SEED") or random.SystemRandom().randrange(10**6))
        return random.Random(self.seed)

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        """Writes a file, its text dedented, and returns its path."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(textwrap.dedent(text).lstrip("\n"))
        return path

    def record(self, text, *arguments, status=0, options=("-q",), **more):
        """Records a program given as text and returns what came of it and the trace; nothing on stderr."""
        capture = self.path("run.pnr")
        shutil.rmtree(capture, ignore_errors=True)
        finished = recorded(capture, [self.write("app.py", text), *arguments], cwd=self.directory, options=options,
                            **more)
        self.assertEqual((finished.status, finished.err), (status, ""))
        return finished, Trace(convert(capture))

    def record_as_plain(self, text, *options):
        """Runs a program alone, and recorded into run.pnr, which must come to the same. Returns what came of it."""
        path = self.write("app.py", text)
        alone = plain([path], cwd=self.directory)
        shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
        found = recorded(self.path("run.pnr"), [path], cwd=self.directory, options=["-q", *options])
        self.assertEqual(found, alone)
        return found

    def script(self, text, *arguments, status=0, **more):
        """Runs a program that records itself: its captures are what it makes in self.directory."""
        finished = plain([self.write("app.py", text), *arguments], cwd=self.directory, **more)
        self.assertEqual((finished.status, finished.err), (status, ""), finished.out)
        return finished

    def trace(self, name="run.pnr"):
        return Trace(convert(self.path(name)))

    def assertSame(self, expected, found, what):
        text = differences(expected, found)
        self.assertFalse(text, f"{what}\n{text}")
