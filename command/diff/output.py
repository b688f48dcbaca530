"""Writes files of both sides: differential folded stacks, or one trace of all captures."""

import itertools
import json
import os
import re
import subprocess

from .. import fail
from ..files import write_file
from . import captures

IDS_OF_SYSTEM = 4194304                 # pids and tids are smaller; those that occur again are shifted by so many


def write(path, converter, sides, selection):
    """Write a file, or end with a line. path: its suffix decides which. sides: the paths of the captures."""
    try:
        write_file(path, (folded if path.endswith(".folded") else timeline)(converter, sides, selection))
    except OSError as error:
        fail(f"diff: {path}: cannot write: {error.strerror}")


def folded(converter, sides, selection):
    """Yield lines as difffolded.pl of FlameGraph writes them and flamegraph.pl reads them: a stack, its self time before
    and after, in microseconds. Of several captures a side it is the mean."""
    found = {}
    for side, paths in enumerate(sides):
        for path in paths:
            for stack, us in (captures.read_stacks(converter, path, selection) or {}).items():
                found.setdefault(stack, [0, 0])[side] += us / len(paths)
    for stack, (before, after) in sorted(found.items()):
        if round(before) or round(after):
            yield b"%s %d %d\n" % (stack, round(before), round(after))


# ---- one timeline ----

def timeline(converter, sides, selection):
    """Yield the lines of a Catapult trace with all captures: each begins at 0, and its processes have the side before their
    names."""
    yield b'{"displayTimeUnit":"ns","traceEvents":['
    events, frames = Renumbered(), []
    separator = b"\n"
    for label, path in labels_of(sides):
        events.begin_capture(label)
        for line in events.lines_of(converter, path, selection, frames):
            yield separator + line
            separator = b",\n"
    yield b'\n],"stackFrames":{\n' + b",\n".join(frames)
    yield b'\n},"otherData":' + json.dumps(dict(zip(("before", "after"), sides))).encode() + b"}\n"


def labels_of(sides):
    """Yield (label, path) of each capture."""
    for side, paths in zip(("before", "after"), sides):
        for number, path in enumerate(paths, 1):
            yield side if len(paths) == 1 else f"{side} {number}", path


class Renumbered:
    """Events of several traces whose ids are made different from each other's: pids and tids, flows and tasks, stack frames,
    and the order of processes."""

    # The text of a name cannot contain these: its quotes have a backslash before them.
    KEYS = re.compile(rb'"(pid|tid|id|sf|sort_index)":(\d+)')
    FRAME = re.compile(rb'"(\d+)":')
    GREENLET = 2**31                    # tids from this on are those of greenlets, and count in their process

    def __init__(self):
        self.label = ""
        self.shifts = dict.fromkeys((b"pid", b"tid", b"id", b"sf", b"sort_index"), 0)
        self.largest = dict.fromkeys(self.shifts, 0)

    def begin_capture(self, label):
        self.label = label
        ids = max(self.largest[b"pid"], self.largest[b"tid"])
        self.shifts = {**{key: n + 1 for key, n in self.largest.items()},
                       **dict.fromkeys((b"pid", b"tid"), (ids // IDS_OF_SYSTEM + 1) * IDS_OF_SYSTEM if ids else 0)}

    def lines_of(self, converter, path, selection, frames):
        """Yield the events of a capture. frames: gets its stack frames."""
        words = ["panopticon diff", *selection, "--quiet", "--format=catapult", "--output=-", "--", path]
        with subprocess.Popen(words, executable=converter, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            lines = iter(process.stdout)
            next(lines, None)           # the head
            for line in itertools.takewhile(lambda line: not line.startswith(b"]"), lines):
                yield self.renumber(line.rstrip(b",\n"))
            for line in itertools.takewhile(lambda line: not line.startswith(b"}"), lines):
                frames.append(self.FRAME.sub(lambda found: b'"%d":' % self.shift(b"sf", found[1]), line.rstrip(b",\n"), 1))
            process.stdout.read()
        if process.returncode not in (0, 1):
            fail(f"diff: {path}: cannot be converted any more")

    def renumber(self, line):
        line = self.KEYS.sub(lambda found: b'"%s":%d' % (found[1], self.shift(found[1], found[2])), line)
        if line.startswith(b'{"name":"process_name"'):
            event = json.loads(line)
            event["args"]["name"] = f"{self.label}: {event['args']['name']}"
            return json.dumps(event, separators=(",", ":")).encode()
        return line

    def shift(self, key, number):
        shifted = int(number)
        if shifted < self.GREENLET:
            shifted += self.shifts[key]
            self.largest[key] = max(self.largest[key], shifted)
        return shifted
