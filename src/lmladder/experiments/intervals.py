"""Simultaneous confidence intervals of all differences between configurations.

There are two sources of uncertainty: the text and the seeds.

The text: a paired bootstrap draws texts of the same kind from the blocks of the text, with
replacement (Carlstein 1986; Koehn 2004 for pairs of models), the same blocks for all
configurations, so that the common difficulty of a block cancels. Of n blocks n - 1 are drawn, which
makes the variance unbiased (Rao and Wu 1988).

The seeds: each configuration has its own variance (Welch 1947). The error of a mean of n seeds has
Student's t distribution with n - 1 degrees of freedom; that of a difference is the difference of
two such draws (Behrens and Fisher). Variances from two or three seeds are imprecise, so each is
moderated by the mean variance of all configurations (as by Smyth 2004). Where all have the same
seeds, the effect that a seed has on all of them, by the batches that it draws, cancels in their
differences (randomized blocks; Fisher 1935), and counts only against deterministic models.

An interval is a difference plus or minus a multiple of its standard error. The multiple is the same
for all pairs: the 95% quantile of the largest standardized error of any difference (Tukey; Games
and Howell 1976). So all intervals hold simultaneously, including those to the best, which is
selected by the same scores: multiple comparisons with the best (Hsu 1984). His critical value is
smaller, as his method may call one of two equally good configurations worse.

Against a base that was chosen before the runs, only the differences to it count: the quantile is of
the largest of these (Dunnett 1955). Where the variances look equal, they are drawn so far towards
their mean that this is almost Dunnett's test, which assumes one variance of all. A base that is
noisier than all others then has too many false differences: give it more seeds.
"""

import math
from collections.abc import Iterable
from statistics import NormalDist

from lmladder.system.arrays import FloatArray
from lmladder.system.streams import stream

import numpy as np

RESAMPLES = 4000
CONFIDENCE = 0.95
MIN_BLOCKS = 20  # with fewer blocks, intervals are too narrow


def resampled_nats(nats: FloatArray, tokens: FloatArray) -> FloatArray:
    """Return nats per token of each run in each resampled text: (RESAMPLES, runs).

    Parameters
    ----------
    nats : sum over each block, (runs, blocks)
    tokens : number of each block, (blocks,)
    """
    n = len(tokens)
    drawn = stream(0, "blocks of the text").multinomial(n - 1, np.full(n, 1 / n), size=RESAMPLES)
    sums = _sums(drawn.astype(np.float64), [*nats, tokens])
    return np.stack(sums[:-1], axis=1) / sums[-1][:, None]


def _sums(rows: FloatArray, factors: Iterable[FloatArray]) -> list[FloatArray]:
    """Return the sums of each row times a factor, for each factor.

    No product of matrices, whose order of additions depends on the machine. The rows are in parts
    that fit a cache.
    """
    parts = np.array_split(rows, 1 + rows.size // 2**17)
    return [np.concatenate([(part * each).sum(axis=1) for part in parts]) for each in factors]


def over_seeds(scores: FloatArray) -> tuple[FloatArray, float]:
    """Return the variances over seeds: of each configuration by itself, and of what all share.

    Parameters
    ----------
    scores : of two configurations or more with the same two seeds or more, (configurations, seeds)

    Returns
    -------
    variances : of the deviations from the mean of a seed, unbiased, (configurations,)
    shared : of these means
    """
    common, count = scores.mean(axis=0), len(scores)
    own = (scores - common).var(axis=1, ddof=1) * count / (count - 1)
    return own, float(common.var(ddof=1))


def against_base(
    scores: FloatArray, base: int, draws: FloatArray, of_pairs: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return half-widths of the intervals of differences to a base, and adjusted p-values.

    If all configurations are equally good, one of them has a p-value of at most 0.05 with a
    probability of at most 5%. Both are (configurations,).

    Parameters
    ----------
    scores : (configurations,)
    base : index of the configuration to which the others are compared
    draws, of_pairs : of `draw_errors`, with `to_base`
    """
    errors = of_pairs[base]
    scales = np.divide(1, errors, out=np.zeros_like(errors), where=errors > 0)[:, None]
    largest = np.abs((draws - draws[base]) * scales).max(axis=0)
    found = np.abs(scores - scores[base])[:, None] * scales
    p_values = (1 + (largest >= found).sum(axis=1)) / (1 + len(largest))
    return np.quantile(largest, CONFIDENCE) * errors, p_values


def two_sided_quantiles(level: float, freedom: int) -> tuple[float, float]:
    """Return what a normal variable, and one with Student's t, exceed with a probability `level`.

    Student's t follows from the normal distribution as in Wallace (1959).
    """
    normal = NormalDist().inv_cdf(1 - level / 2)
    root = normal * (8 * freedom + 3) / (8 * freedom + 1)
    return normal, math.sqrt(freedom * math.expm1(root**2 / freedom))


def draw_errors(
    resampled: FloatArray,
    blocks: int,
    variances: FloatArray,
    seeds: FloatArray,
    shared: float = 0.0,
    *,
    to_base: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Return draws of the error of each score, and the standard errors of all differences.

    Parameters
    ----------
    resampled : score of each configuration in each resampled text, (RESAMPLES, configurations)
    blocks : number of blocks of the text
    variances : of the scores over seeds; 0 for deterministic models, (configurations,)
    seeds : number of seeds, (configurations,)
    shared : variance over seeds that all but deterministic models have in common; see `over_seeds`
    to_base : whether only the differences to one configuration count

    Returns
    -------
    draws : (configurations, RESAMPLES)
    errors : of the difference of each pair, (configurations, configurations)
    """
    count = len(variances)
    pairs = max(1, count - 1 if to_base else count * (count - 1) // 2)
    # Student's t at the Bonferroni level of all pairs, as variances of few blocks are uncertain
    normal, student = two_sided_quantiles((1 - CONFIDENCE) / pairs, blocks - 1)
    draws = (resampled - resampled.mean(axis=0)).T * (student / normal)
    above = draws - draws.mean(axis=1, keepdims=True)
    halves = [_sums(above[each:], [above[each]])[0] for each in range(count)]
    upper = np.stack([np.pad(each, (count - len(each), 0)) for each in halves])
    covariance = (upper + np.triu(upper, 1).T) / (draws.shape[1] - 1)
    text = np.diag(covariance)
    squares = text[:, None] + text - 2 * covariance

    random = variances > 0
    if random.any():
        moderated, freedoms = _moderated(variances[random], seeds[random], to_base)
        of_mean = np.zeros(count)
        of_mean[random] = moderated / seeds[random]
        squares = squares + of_mean[:, None] + of_mean
        t = stream(0, "seeds").standard_t(freedoms, size=(draws.shape[1], random.sum()))
        draws[random] += (np.sqrt(of_mean[random]) * t).T
        if shared:
            of_all = shared / seeds[random][0]
            squares += of_all * (random[:, None] ^ random)
            t = stream(0, "shared by seeds").standard_t(seeds[random][0] - 1, draws.shape[1])
            draws[random] += math.sqrt(of_all) * t
    return draws, np.sqrt(np.maximum(squares, 0))


def _moderated(
    variances: FloatArray, seeds: FloatArray, to_base: bool
) -> tuple[FloatArray, FloatArray]:
    """Return each variance, moderated by their mean, and its degrees of freedom.

    The mean has the weight of a few degrees of freedom: more with many configurations, and if their
    variances look equal (Bartlett 1937). With these weights simulated tables keep their level of 5%
    for equal and for unequal variances; for differences to a base only if these look equal.
    """
    freedoms, others = seeds - 1, len(variances) - 2  # besides the two of a difference
    borrowed = 0.0
    if others > 0:
        total = freedoms.sum()
        mean = (freedoms * variances).sum() / total
        bartlett = (freedoms * np.log(mean / variances)).sum()
        bartlett /= 1 + ((1 / freedoms).sum() - 1 / total) / (3 * (others + 1))
        # The mean and the deviation of chi-squared.
        look_equal = bartlett <= others + 1 + math.sqrt(2 * (others + 1))
        borrowed = min(others / 5, 8.0) if look_equal else min(others / 10, 3.0)
        if to_base and look_equal:
            borrowed = others
    moderated = (freedoms * variances + borrowed * variances.mean()) / (freedoms + borrowed)
    return moderated, freedoms + borrowed


def critical_value(draws: FloatArray, errors: FloatArray) -> float:
    """Return the multiple of its standard error that a significant difference exceeds.

    It is a quantile of the largest standardized difference in each resample. Parameters as
    returned by `draw_errors`.
    """
    draws = draws.astype(np.float32)
    scales = np.zeros(errors.shape, np.float32)
    np.divide(1, errors, out=scales, where=errors > 0)  # 0 for pairs that never differ
    largest = np.zeros(draws.shape[1], np.float32)
    for each in range(len(draws) - 1):
        differences = np.abs(draws[each + 1 :] - draws[each]) * scales[each, each + 1 :, None]
        np.maximum(largest, differences.max(axis=0), out=largest)
    return float(np.quantile(largest, CONFIDENCE))


def against_best(
    scores: FloatArray, margins: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return bounds of the difference of each to the best of the others, and how many are better.

    Parameters
    ----------
    scores : lower is better, (configurations,)
    margins : half-widths of the intervals of differences, (configurations, configurations)

    Returns
    -------
    low, high : bounds, (configurations,)
    better : how many are significantly better than each, (configurations,)
    """
    differences = scores[:, None] - scores
    better = (differences > margins).sum(axis=1)
    others = ~np.eye(len(scores), dtype=bool)
    low = np.max(differences - margins, axis=1, where=others, initial=-np.inf)
    may_be_best = others & (better == 0)
    high = np.max(differences + margins, axis=1, where=may_be_best, initial=-np.inf)
    return low, high, better
