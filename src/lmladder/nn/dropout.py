"""Dropout, active only where random numbers are handed in."""

from lmladder.autograd import Tensor, ops

import numpy as np


def dropout(x: Tensor, rate: float, rng: np.random.Generator | None) -> Tensor:
    """Zero a fraction `rate` of x in training, which is when there is an `rng`; else x itself."""
    if rng is None or rate == 0:
        return x
    return ops.dropout(x, rate=rate, rng=rng)
