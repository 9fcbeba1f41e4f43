"""Clipping of gradients by their common norm (Pascanu et al. 2013)."""

import math
from collections.abc import Iterable

from lmladder.autograd import Tensor

import numpy as np


def global_norm(parameters: Iterable[Tensor]) -> float:
    """Euclidean norm of all gradients taken as one vector."""
    squares = (np.vdot(each.grad, each.grad) for each in parameters if each.grad is not None)
    return math.sqrt(math.fsum(float(square) for square in squares))


def clip_scale(norm: float, limit: float | None) -> float:
    """What to multiply gradients by so that their norm does not exceed `limit`; None: no limit."""
    return 1.0 if limit is None or norm <= limit else limit / norm
