"""Dropout, which is active only where a random generator is given."""

from lmladder.autograd import Tensor, functional

import numpy as np


def dropout(x: Tensor, rate: float, rng: np.random.Generator | None) -> Tensor:
    """Zero a fraction `rate` of x in training, that is, where `rng` is given; else return x."""
    if rng is None or rate == 0:
        return x
    return functional.dropout(x, rate=rate, rng=rng)
