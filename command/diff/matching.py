"""Finds which function of one side is which of the other.

Functions match by module and qualified name. Lines do not matter. Where a side has that name in several files, files
decide: the same path, else the one with the most folders in common from the end, else those that are left over. Where
one file has the name several times, as lambdas and nested functions do, the first matches the first, and so on. If one
side has more of them than the other, one may be anywhere among them: then all of that name and file are one row.
"""

import os


def match(before, after):
    """Return the pairs of functions of two sides: list of (identities before, identities after), each a tuple; empty for
    a function that is new or gone. before, after: identities (name, kind, file, line)."""
    sides = by_name(before), by_name(after)
    pairs = []
    for name in {**sides[0], **sides[1]}:
        files = [side.get(name, {}) for side in sides]
        for one, other in match_files(*files):
            pairs += match_lines(files[0].get(one, []), files[1].get(other, []))
    return pairs


def by_name(identities):
    """Return dict of name to dict of file to identities, by line."""
    found = {}
    for identity in sorted(identities, key=lambda identity: (identity[3], identity[1])):
        found.setdefault(identity[0], {}).setdefault(identity[2], []).append(identity)
    return found


def match_files(before, after):
    """Yield pairs of files; None where there is no other."""
    if len(before) == len(after) == 1:
        yield next(iter(before)), next(iter(after))
        return
    left = [file for file in before if file not in after]
    right = [file for file in after if file not in before]
    yield from ((file, file) for file in before if file in after)
    alike = sorted(((common_end(one, other), one, other) for one in left for other in right), key=lambda row: -row[0])
    for n, one, other in alike:
        if n and one in left and other in right:
            left.remove(one)
            right.remove(other)
            yield one, other
    if len(left) == len(right) == 1:
        yield left.pop(), right.pop()
    yield from ((file, None) for file in left)
    yield from ((None, file) for file in right)


def common_end(one, other):
    """Return how many parts two paths have in common, from the end."""
    n = 0
    for a, b in zip(reversed(one.split(os.sep)), reversed(other.split(os.sep))):
        if a != b:
            break
        n += 1
    return n


def match_lines(before, after):
    """Return pairs of functions that have the same name, in two files."""
    if len(before) == len(after):
        return [((one,), (other,)) for one, other in zip(before, after)]
    if before and after:
        return [(tuple(before), tuple(after))]
    return [((one,), ()) for one in before] + [((), (one,)) for one in after]
