"""Writes files of both sides: differential folded stacks, or one trace of all captures."""

import subprocess

from .. import fail
from ..files import write_file
from . import captures

def write(path, converter, sides, selection, align):
    """Write a file, or end with a line. path: its suffix decides which. sides: the paths of the captures. align: how a trace
    gets one timeline, as panopticon-convert takes it."""
    if not path.endswith(".folded"):
        write_timeline(path, converter, sides, selection, align)
        return
    try:
        write_file(path, folded(converter, sides, selection))
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

def write_timeline(path, converter, sides, selection, align):
    """Write a trace of all captures, whose processes have the side before their names. panopticon-convert makes it, and
    reports what is wrong."""
    named = [one for side in zip(("before", "after"), sides) for one in labels_of(*side)]
    groups = [f"--group={label}" for label, _ in named]
    words = ["panopticon diff", *selection, "--quiet", f"--align={align}", *groups, f"--output={path}", "--",
             *(capture for _, capture in named)]
    status = subprocess.run(words, executable=converter, stdin=subprocess.DEVNULL).returncode
    if status not in (0, 1):
        fail(f"diff: {path}: the captures cannot be converted")


def labels_of(side, paths):
    """Yield (label, path) of each capture of a side."""
    for number, path in enumerate(paths, 1):
        yield side if len(paths) == 1 else f"{side} {number}", path
