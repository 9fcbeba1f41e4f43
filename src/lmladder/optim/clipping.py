"""Clipping of gradients by their common norm (Pascanu et al. 2013)."""

import math
from collections.abc import Iterable

from lmladder import kernels
from lmladder.autograd import Tensor


def global_norm(parameters: Iterable[Tensor]) -> float:
    """Return the Euclidean norm of all gradients as one vector."""
    gradients = [each.grad for each in parameters if each.grad is not None]
    return math.sqrt(math.fsum(kernels.square_sums(gradients)))


def clip_scale(norm: float, limit: float | None) -> float:
    """Return the factor that reduces gradients of this norm to `limit`; None: no limit."""
    return 1.0 if limit is None or norm <= limit else limit / norm
