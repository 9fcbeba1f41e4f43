"""A table of learned vectors."""

from lmladder.autograd import Tensor, functional
from lmladder.nn.module import Module, parameter
from lmladder.system.arrays import IntArray

import numpy as np


class Embedding(Module):
    """Vectors by index: integers (...) -> (..., size), initially N(0, std^2)."""

    def __init__(self, count: int, size: int, *, rng: np.random.Generator, std: float):
        self.weight = parameter(rng.standard_normal((count, size)) * std)

    def __call__(self, ids: IntArray) -> Tensor:
        return functional.embedding(self.weight, ids)

    def logits(self, x: Tensor) -> Tensor:
        """Return dot products with all vectors, (..., size) -> (..., count), for a tied head."""
        return x @ self.weight.T
