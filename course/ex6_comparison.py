"""Exercise 6: a fair comparison of models."""

from itertools import combinations

from lmladder.experiments.intervals import two_sided_quantiles

import numpy as np

LEVEL = 0.05


def interval(a, b, *, level=LEVEL):
    """Return the mean difference of the losses of two models and its confidence interval.

    Both were trained with the same seeds and scored on the same blocks of text. So differences are
    paired, and the difficulty of a block, which both models have, cancels:

        d[s, i] = a[s, i] - b[s, i]

    The mean of d has two errors. Other seeds would give other models, and another text of the same
    kind would have other blocks:

        error_seeds = sd over seeds s  of (mean over i of d[s, i]) / sqrt(S)
        error_text  = sd over blocks i of (mean over s of d[s, i]) / sqrt(B)
        half_width  = sqrt((student(S - 1) error_seeds)^2 + (student(B - 1) error_text)^2)

    sd is the standard deviation with the count minus 1 in its denominator. The function `student`
    is below; it is called with `level`.

    Parameters
    ----------
    a, b : loss of each seed and block, float arrays, shape (S, B); S and B are at least 2
    level : probability that the interval does not contain the true difference

    Returns
    -------
    difference, low, high : three floats; difference = mean of d, low and high are half_width away
    """
    raise NotImplementedError  # write this


def significant(losses):
    """Return which models are better than which others by more than chance.

    A model is better if it has the lower loss and the interval of the difference does not contain
    0. With m models there are P = m (m - 1) / 2 pairs, and with enough pairs some would differ by
    chance. So each interval has the level LEVEL / P (Bonferroni): if all models are equally good,
    a pair is found with a probability of at most LEVEL.

    Parameters
    ----------
    losses : dict of the losses of at least two models by their names, each as in `interval`

    Returns
    -------
    set of pairs of names (better, worse)
    """
    raise NotImplementedError  # write this


def student(freedom, level):
    """Return what |t| exceeds with a probability of `level`, for Student's t distribution.

    Parameters
    ----------
    freedom : its degrees of freedom, at least 1
    """
    return two_sided_quantiles(level, freedom)[1]
