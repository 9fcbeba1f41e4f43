"""Simultaneous intervals of all differences between configurations: which are more than chance.

Two things were drawn by chance: the text and the seeds.

The text: a bootstrap draws texts of the same kind from the blocks of the one text, with replacement
(Carlstein 1986; Koehn 2004 for pairs of models), the same blocks for all: what makes a block hard
for all cancels. Of n blocks n - 1 are drawn, which makes the variance unbiased (Rao and Wu 1988).

The seeds: each configuration has a variance of its own (Welch 1947). The error of a mean of n seeds
is drawn from Student's t with n - 1 degrees of freedom, that of a difference is the difference of
two such draws (Behrens and Fisher). Variances of two or three seeds are rarely right, so each is
moderated by the mean variance of all configurations (as by Smyth 2004).

An interval is a difference plus or minus a multiple of its standard error. One multiple serves all
pairs: the 95% quantile of the largest standardized error of any difference (Tukey; Games and Howell
1976). So all intervals hold at once, also those to the best, which the same scores have chosen:
multiple comparisons with the best (Hsu 1984), whose critical value is smaller, as he lets
configurations that are equally good be called worse.
"""

import math
from statistics import NormalDist

from lmladder.system.arrays import FloatArray
from lmladder.system.streams import stream

import numpy as np

RESAMPLES = 4000
CHUNK = 128  # resamples at a time, which fit into a processor's cache
CONFIDENCE = 0.95
MIN_BLOCKS = 20  # with fewer, intervals are clearly too narrow
POWER = 0.8  # the probability with which a true difference should be found
MAX_SEEDS = 1000
OF_POWER = 1000  # resamples, as it is asked several times


def resampled_nats(nats: FloatArray, tokens: FloatArray) -> FloatArray:
    """Nats per token of each run in each resampled text: (runs, blocks) -> (RESAMPLES, runs).

    Parameters
    ----------
    nats : of each block as a whole
    tokens : of each block, (blocks,)
    """
    n = len(tokens)
    drawn = stream(0, "blocks of the text").multinomial(n - 1, np.full(n, 1 / n), size=RESAMPLES)
    counts = drawn.astype(np.float64)  # else the product is not one of BLAS
    return (counts @ nats.T) / (counts @ tokens)[:, None]


def intervals(
    resampled: FloatArray, blocks: int, variances: FloatArray, seeds: FloatArray
) -> tuple[float, FloatArray]:
    """The multiple of the standard error that all intervals share, and all standard errors.

    Parameters
    ----------
    resampled : score of each configuration in each resampled text, (RESAMPLES, configurations)
    blocks : how many the text has
    variances : of the scores over seeds; 0 where the seed decides nothing, (configurations,)
    seeds : how many each configuration has, (configurations,)

    Returns
    -------
    critical : a difference is real where it exceeds so many standard errors
    errors : of the difference between each two, (configurations, configurations)
    """
    count = len(variances)
    # Student's t for normal (Wallace 1959), at a level that would do for all pairs: few blocks
    # give uncertain variances.
    normal = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / max(2, count * (count - 1)))
    freedom = blocks - 1
    root = normal * (8 * freedom + 3) / (8 * freedom + 1)
    student = math.sqrt(freedom * math.expm1(root**2 / freedom))
    draws = (resampled - resampled.mean(axis=0)).T * (student / normal)
    covariance = np.atleast_2d(np.cov(draws))
    text = np.diag(covariance)
    squares = text[:, None] + text - 2 * covariance

    random = variances > 0
    if random.any():
        moderated, freedoms = _moderated(variances[random], seeds[random])
        of_mean = np.zeros(count)
        of_mean[random] = moderated / seeds[random]
        squares = squares + of_mean[:, None] + of_mean
        t = stream(0, "seeds").standard_t(freedoms, size=(draws.shape[1], random.sum()))
        draws[random] += (np.sqrt(of_mean[random]) * t).T
    errors = np.sqrt(np.maximum(squares, 0))
    return float(np.quantile(_largest(draws, errors), CONFIDENCE)), errors


def _moderated(variances: FloatArray, seeds: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Each variance, drawn towards their mean, and its degrees of freedom.

    The mean counts as few degrees of freedom: more with many configurations, and where their
    variances look equal (Bartlett 1937). With these weights simulated tables keep their 5% where
    variances are equal and where they differ.
    """
    freedoms, others = seeds - 1, len(variances) - 2  # beside the two of a difference
    borrowed = 0.0
    if others > 0:
        total = freedoms.sum()
        mean = (freedoms * variances).sum() / total
        bartlett = (freedoms * np.log(mean / variances)).sum()
        bartlett /= 1 + ((1 / freedoms).sum() - 1 / total) / (3 * (others + 1))
        look_equal = bartlett <= others + 1 + math.sqrt(2 * (others + 1))  # its mean and deviation
        borrowed = min(others / 5, 8.0) if look_equal else min(others / 10, 3.0)
    moderated = (freedoms * variances + borrowed * variances.mean()) / (freedoms + borrowed)
    return moderated, freedoms + borrowed


def _largest(draws: FloatArray, errors: FloatArray) -> FloatArray:
    """The largest standardized difference in each resample, (RESAMPLES,)."""
    scales = np.zeros(errors.shape, np.float32)
    np.divide(1, errors, out=scales, where=errors > 0)  # two that never differ do not count
    largest = np.zeros(draws.shape[1], np.float32)
    for first in range(0, len(largest), CHUNK):
        part = np.ascontiguousarray(draws[:, first : first + CHUNK], np.float32)
        chunk = largest[first : first + CHUNK]
        for each in range(len(part) - 1):
            differences = np.abs(part[each + 1 :] - part[each]) * scales[each, each + 1 :, None]
            np.maximum(chunk, differences.max(axis=0), out=chunk)
    return largest


def against_best(
    scores: FloatArray, margins: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Bounds of the difference of each to the best of the others, and how many are better.

    Parameters
    ----------
    scores : the lowest is the best, (configurations,)
    margins : half the lengths of the intervals of differences, (configurations, configurations)

    Returns
    -------
    low, high : whichever the best of the others is, (configurations,)
    better : how many are shown to be better than each, (configurations,)
    """
    differences = scores[:, None] - scores
    better = (differences > margins).sum(axis=1)
    others = ~np.eye(len(scores), dtype=bool)
    low = np.max(differences - margins, axis=1, where=others, initial=-np.inf)
    may_be_best = others & (better == 0)
    high = np.max(differences + margins, axis=1, where=may_be_best, initial=-np.inf)
    return low, high, better


def seeds_needed(
    difference: float, resampled: FloatArray, blocks: int, variances: FloatArray
) -> int | None:
    """How many seeds each configuration needs for a difference to be found with `POWER`.

    The variance over seeds is taken to be the mean of those that are not 0. None if `MAX_SEEDS`
    are too few: then the text is too short. Parameters as of `intervals`.
    """
    random = variances > 0
    typical = np.where(random, variances[random].mean(), 0.0)
    pairs = np.triu(random[:, None] | random, 1)
    normal = NormalDist().inv_cdf(POWER)

    def enough(seeds: int) -> bool:
        count = np.full(len(variances), float(seeds))
        critical, errors = intervals(resampled[:OF_POWER], blocks, typical, count)
        return bool(difference >= (critical + normal) * np.median(errors[pairs]))

    low, high = 1, MAX_SEEDS  # too few, and perhaps enough
    if not enough(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
