"""Solution of exercise 6: a fair comparison of models."""

from itertools import combinations

from lmladder.experiments.intervals import two_sided_quantiles

import numpy as np

LEVEL = 0.05


def interval(a, b, *, level=LEVEL):
    d = a - b
    seeds, blocks = d.shape
    error_seeds = d.mean(axis=1).std(ddof=1) / np.sqrt(seeds)
    error_text = d.mean(axis=0).std(ddof=1) / np.sqrt(blocks)
    half_width = np.hypot(
        student(seeds - 1, level) * error_seeds, student(blocks - 1, level) * error_text
    )
    return d.mean(), d.mean() - half_width, d.mean() + half_width


def significant(losses):
    pairs = list(combinations(losses, 2))
    found = set()
    for one, other in pairs:
        _, low, high = interval(losses[one], losses[other], level=LEVEL / len(pairs))
        if high < 0:
            found.add((one, other))
        if low > 0:
            found.add((other, one))
    return found


def student(freedom, level):
    return two_sided_quantiles(level, freedom)[1]
