"""Dropout, active only where random numbers are handed in."""

from lmladder.autograd import Tensor, functional

import numpy as np


def dropout(x: Tensor, rate: float, rng: np.random.Generator | None) -> Tensor:
    """Zero a fraction `rate` of x in training, which is when there is an `rng`; else x itself."""
    if rng is None or rate == 0:
        return x
    return functional.dropout(x, rate=rate, rng=rng)
