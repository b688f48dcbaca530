"""Decides which differences exceed the noise, and how far off a difference may be.

If the two sides are alike, it does not matter which capture is of which side. The captures are permuted, and each time
the largest difference of all functions is found, in units of its standard error. A function's difference exceeds the
noise if fewer than 5 % of the permutations have one as large, of whichever function. So the chance of one false alarm in
the whole table is less than 5 %, however many functions there are and however their noise is related (P. H. Westfall and
S. S. Young, Resampling-Based Multiple Testing, 1993, the step-down maxT procedure).
"""

import bisect
import itertools
import math
import random
import statistics

ALPHA = 0.05
MAX_PERMUTATIONS = 2000
MIN_RANKED = 8                          # captures a side from which on ranks are compared: with fewer they are too coarse
CLIPPED_PART = 4                        # of the smaller side is taken for outliers, at each end
NORMAL_95 = 1.96
FLOOR = 0.002                           # of the mean: no standard error is smaller, as that of few values may be by chance


def can_exceed(n_before, n_after):
    """Return whether there are enough captures for anything to exceed the noise."""
    return min(n_before, n_after) >= 2 and smallest_p(n_before, n_after) < ALPHA


def smallest_p(n_before, n_after):
    """Return the smallest probability that permutations can show: that of the order in which the captures are, and of its
    mirror image where both sides have as many."""
    return (2 if n_before == n_after else 1) / math.comb(n_before + n_after, n_before)


def probabilities(rows):
    """Return for each row the probability that noise alone has some row differ as much, adjusted for their number.

    rows: list of (values before, values after), each with as many values as the others.
    """
    if not rows:
        return []
    n_before, n = len(rows[0][0]), len(rows[0][0]) + len(rows[0][1])
    choices, are_all = permutations(n, n_before)
    smaller = min(n_before, n - n_before)
    centred = [centre(rank([*before, *after]) if smaller >= MIN_RANKED else clip([*before, *after], smaller // CLIPPED_PART))
               for before, after in rows]
    observed = [statistic(values, range(n_before)) for values in centred]
    order = sorted(range(len(rows)), key=lambda i: observed[i])         # the smallest first
    n_as_large = [0] * len(rows)
    for choice in choices:
        largest = 0
        for i in order:
            largest = max(largest, statistic(centred[i], choice))
            n_as_large[i] += largest >= observed[i] * (1 - 1e-9)
    found, p = [1.0] * len(rows), 0
    for i in reversed(order):
        p = max(p, n_as_large[i] / len(choices) if are_all else (n_as_large[i] + 1) / (len(choices) + 1))
        found[i] = p
    return found


def permutations(n, n_before):
    """Return (list of the choices of n_before among n, whether these are all). Random ones are the same each time."""
    if math.comb(n, n_before) <= MAX_PERMUTATIONS:
        return list(itertools.combinations(range(n), n_before)), True
    chance = random.Random(0)
    return [chance.sample(range(n), n_before) for _ in range(MAX_PERMUTATIONS)], False


# A process that lost the processor may be slower by any factor. So single values must not weigh much. Of which side they
# are plays no part here: probabilities stay exact.

def rank(values):
    """Return the position of each value in their order; of those that are equal the mean."""
    order = sorted(values)
    return [(bisect.bisect_left(order, value) + bisect.bisect_right(order, value)) / 2 for value in values]


def clip(values, n):
    """Return values of which the n largest are as large as the one after them, and the n smallest likewise."""
    order = sorted(values)
    return [min(max(value, order[n]), order[-1 - n]) for value in values]


def centre(values):
    """Return (values less their mean, the sum of their squares, the smallest standard error)."""
    mean = sum(values) / len(values)
    centred = [value - mean for value in values]
    return centred, sum(value * value for value in centred), FLOOR * abs(mean)


def statistic(row, chosen):
    """Return the difference of the means of those that are chosen and the others, in standard errors."""
    values, squares, floor = row
    n, k = len(values), len(chosen)
    total = math.fsum(map(values.__getitem__, chosen))                  # that of the others is its negative
    own = sum(values[i] ** 2 for i in chosen)
    variance = (own - total * total / k) / ((k - 1) * k)
    variance += (squares - own - total * total / (n - k)) / ((n - k - 1) * (n - k))
    error = math.sqrt(max(variance, 0)) + floor
    return abs(total / k + total / (n - k)) / error if error else 0.0


def interval(before, after):
    """Return (low, high): the difference after - before is between them with a probability of 95 %, less if there are
    fewer than 4 captures a side (the interval of the Mann-Whitney test, from the differences of all pairs)."""
    differences = sorted(a - b for a in after for b in before)
    n, m = len(before), len(after)
    k = max(0, math.floor(n * m / 2 - 0.5 - NORMAL_95 * math.sqrt(n * m * (n + m + 1) / 12)))
    return differences[k], differences[-1 - k]


def spread(values):
    """Return half of the distance between the quartiles."""
    if len(values) < 2:
        return None
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / 2
