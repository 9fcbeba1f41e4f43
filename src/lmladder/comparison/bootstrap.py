"""Whether a difference in score is more than chance: the paired block bootstrap.

Had the text been another of the same kind, and the seeds others, scores would differ. A bootstrap
draws such texts from the blocks of the one text, with replacement (Carlstein 1986; Koehn 2004 for
pairs of models), the same blocks for all models: what makes a block hard for both cancels. Of n
blocks n - 1 are drawn: so the variance of a mean comes out unbiased (Rao and Wu 1988).

Two or three seeds are too few to be drawn from. What others would have added is taken from
Student's t distribution, under the assumption of his test: one variance over seeds in both lines.
"""

import math
from collections.abc import Sequence

from lmladder.arrays import FloatArray
from lmladder.rng import stream

import numpy as np

RESAMPLES = 4000
CONFIDENCE = 0.95
LEAST_BLOCKS = 20  # of fewer, intervals come out clearly too narrow


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


def other_seeds(scores: Sequence[float], best: Sequence[float], name: str) -> FloatArray:
    """What other seeds might add to the difference of the means of two lines: (RESAMPLES,).

    Nothing where both have one seed, as then there is no telling. `name` tells this pair from
    others, so that its draws are its own.
    """
    groups = [np.asarray(scores), np.asarray(best)]
    freedom = sum(len(group) - 1 for group in groups)
    if freedom == 0:
        return np.zeros(RESAMPLES)
    squares = sum(float(np.square(group - group.mean()).sum()) for group in groups)
    error = math.sqrt(squares / freedom * sum(1 / len(group) for group in groups))
    return error * stream(0, f"seeds of {name}").standard_t(freedom, size=RESAMPLES)


def interval(differences: FloatArray) -> tuple[float, float]:
    """Between which the middle `CONFIDENCE` of the resampled differences lies."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(differences, (tail, 1 - tail))
    return float(low), float(high)
