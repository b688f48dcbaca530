"""Writes files of both sides: differential folded stacks, a page, or one trace of all captures."""

import os
import subprocess

import panopticon_rec

from .. import fail, report
from ..files import write_file
from . import captures, comparison


def write(path, converter, found, selection, align):
    """Write a file, or end with a line. path: its suffix decides which. found: the comparison. align: how a trace gets one
    timeline, as panopticon-convert takes it."""
    sides = [[capture.path for capture in side] for side in found.sides]
    try:
        if path.endswith(".folded"):
            write_file(path, folded(path, converter, sides, selection))
        elif path.endswith(".html"):
            write_file(path, [page(found, selection).encode()])
        else:
            write_timeline(path, converter, sides, selection, align)
    except report.ReportError as error:
        fail(f"diff: {error}")
    except OSError as error:
        fail(f"diff: {path}: cannot write: {error.strerror}")


def folded(path, converter, sides, selection):
    """Yield lines as difffolded.pl of FlameGraph writes them and flamegraph.pl reads them: a stack, its self time before
    and after, in microseconds. Of several captures a side it is the mean. Or end with a line when a capture cannot be
    converted: the mean of the others is another one. path: of the file."""
    found = {}
    for side, paths in enumerate(sides):
        for capture in paths:
            stacks = captures.read_stacks(converter, capture, selection)
            if stacks is None:
                fail_to_convert(path)
            for stack, us in stacks.items():
                found.setdefault(stack, [0, 0])[side] += us / len(paths)
    for stack, (before, after) in sorted(found.items()):
        if round(before) or round(after):
            yield b"%s %d %d\n" % (stack, round(before), round(after))


# ---- the page ----

def page(found, selection):
    """Return the text of the page that shows a comparison: that of `panopticon report`, with other data."""
    n_left_out = max(capture.n_left_out for side in found.sides for capture in side)
    data = {**comparison.as_document(found), "stacks": list(lines_of(tree(found))), "left_out_stacks": n_left_out,
            "options": selection, "version": panopticon_rec.__version__}
    names = [os.path.basename(os.path.normpath(side[0].path)) for side in found.sides]
    return report.page(data, " \u2192 ".join(os.fsencode(name).decode("utf-8", "replace") for name in names))


class Node:
    """A stack. which: its innermost function, the index of a row of the comparison; or the name of a process or thread.
    totals: its time before and after, in nanoseconds."""

    def __init__(self, which):
        self.which, self.totals, self.children = which, [0, 0], {}

    def child(self, which):
        if which not in self.children:
            self.children[which] = Node(which)
        return self.children[which]


def tree(found):
    """Return the node whose children are the processes of both sides. Of several captures a side the times are the mean."""
    rows = [{identity: number for number, row in enumerate(found.rows) for identity in row.functions[side]}
            for side in range(len(found.sides))]
    root, one_name = Node(None), name_of_process(found.sides)
    for side, of_side in enumerate(found.sides):
        for capture in of_side:
            nodes = []
            for parent, which, total_ns in capture.stacks:
                if parent < 0:
                    node = root.child(one_name or which)
                else:
                    node = nodes[parent].child(which if isinstance(which, str) else rows[side][which])
                node.totals[side] += total_ns / len(of_side)
                nodes.append(node)
    return root


def name_of_process(sides):
    """Return one name for the processes if each capture has one process: they are taken for the same, which may have
    another path or other arguments. Else None."""
    names = [[[which for parent, which, _ in capture.stacks if parent < 0] for capture in side] for side in sides]
    if any(len(of_capture) != 1 for side in names for of_capture in side):
        return None
    of_sides = [", ".join(dict.fromkeys(name for name, in side)) for side in names]
    return " \u2192 ".join(dict.fromkeys(of_sides))


def lines_of(root):
    """Yield the lines of all nodes inside the root, each after its parent: [parent, which, total before, total after].
    parent: the index of its line, or -1."""
    number, left = 0, [(-1, node) for node in reversed(root.children.values())]
    while left:
        parent, node = left.pop()
        yield [parent, node.which, *map(round, node.totals)]
        left += [(number, child) for child in reversed(node.children.values())]
        number += 1


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
        fail_to_convert(path)


def fail_to_convert(path):
    """End with a line, after the converter has reported why. path: of the file that is not written."""
    fail(f"diff: {path}: the captures cannot be converted")


def labels_of(side, paths):
    """Yield (label, path) of each capture of a side."""
    for number, path in enumerate(paths, 1):
        yield side if len(paths) == 1 else f"{side} {number}", path
