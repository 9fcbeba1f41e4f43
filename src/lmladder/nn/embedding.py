"""A table of vectors, looked up by number."""

from lmladder.arrays import IntArray
from lmladder.autograd import Tensor, functional
from lmladder.nn.module import Module, parameter

import numpy as np


class Embedding(Module):
    """Rows of a table: integers (...) -> (..., size). They start as N(0, deviation^2)."""

    def __init__(self, count: int, size: int, *, rng: np.random.Generator, deviation: float):
        self.weight = parameter(rng.standard_normal((count, size)) * deviation)

    def __call__(self, ids: IntArray) -> Tensor:
        return functional.embedding(self.weight, ids)

    def scores(self, x: Tensor) -> Tensor:
        """Dot product with every row: (..., size) -> (..., count); a head tied to the table."""
        return x @ self.weight.T
