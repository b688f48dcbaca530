"""Writes files of both sides: differential folded stacks."""

import contextlib
import os

from .. import fail
from . import captures


def write(path, converter, sides, selection):
    """Write a file, or end with a line. sides: the paths of the captures."""
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


def write_file(path, lines):
    """Write a file under a temporary name that then becomes the path: at no time is there half a file."""
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:
            file.writelines(lines)
        return
    real = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(real), f".panopticon-diff-{os.getpid()}-{os.urandom(6).hex()}")
    try:
        with open(temporary, "xb") as file:
            file.writelines(lines)
        os.replace(temporary, real)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
