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
            write_file(path, folded(converter, sides, selection))
        elif path.endswith(".html"):
            write_file(path, [page(converter, found, sides, selection).encode()])
        else:
            write_timeline(path, converter, sides, selection, align)
    except report.ReportError as error:
        fail(f"diff: {error}")
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


# ---- the page ----

def page(converter, found, sides, selection):
    """Return the text of the page that shows a comparison: that of `panopticon report`, with other data."""
    stacks, n_left_out = tree(converter, found, sides, selection)
    data = {**comparison.as_document(found), "stacks": stacks, "left_out_stacks": n_left_out, "options": selection,
            "version": panopticon_rec.__version__}
    names = [os.path.basename(os.path.normpath(side[0])) for side in sides]
    return report.page(data, " \u2192 ".join(os.fsencode(name).decode("utf-8", "replace") for name in names))


def tree(converter, found, sides, selection):
    """Return the stacks of both sides as one tree, each after its parent: [parent, function, total before, total after]. parent: an
    index, or -1. function: an index in the comparison's rows, or the name of a process or thread. Of several captures a
    side it is the mean. And how many stacks are left out of the capture of which most are."""
    rows = [{identity: number for number, row in enumerate(found.rows) for identity in row.functions[side]}
            for side in range(len(sides))]
    root, n_left_out = Node(None), 0
    for side, paths in enumerate(sides):
        for path in paths:
            stacks, left_out = captures.read_tree(converter, path, selection) or ((), 0)
            n_left_out, nodes = max(n_left_out, left_out), []
            for parent, which, total_ns in stacks:
                node = (nodes[parent] if parent >= 0 else root).child(which if isinstance(which, str) else rows[side][which])
                node.totals[side] += total_ns / len(paths)
                nodes.append(node)
    join_processes(root)
    return list(lines_of(root)), n_left_out


class Node:
    """A stack. which: its innermost function, or the name of a process or thread."""

    def __init__(self, which):
        self.which, self.totals, self.children = which, [0, 0], {}

    def child(self, which):
        if which not in self.children:
            self.children[which] = Node(which)
        return self.children[which]


    def add(self, other):
        """Add the stacks of another node to those of this one."""
        left = [(self, other)]
        while left:
            to, node = left.pop()
            to.totals = [sum(both) for both in zip(to.totals, node.totals)]
            for which, child in node.children.items():
                if which in to.children:
                    left.append((to.children[which], child))
                else:
                    to.children[which] = child


def join_processes(root):
    """Where each side has one process, take them for the same: it may have another path or other arguments."""
    if len(root.children) != 2:
        return
    before, after = sorted(root.children.values(), key=lambda node: node.totals[0], reverse=True)
    if before.totals[1] == after.totals[0] == 0:
        before.add(after)
        before.which += f" \u2192 {after.which}"
        root.children = {before.which: before}


def lines_of(root):
    """Yield the lines of all nodes inside the root, each after its parent."""
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
        fail(f"diff: {path}: the captures cannot be converted")


def labels_of(side, paths):
    """Yield (label, path) of each capture of a side."""
    for number, path in enumerate(paths, 1):
        yield side if len(paths) == 1 else f"{side} {number}", path
