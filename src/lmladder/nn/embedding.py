"""A table of learned vectors."""

from lmladder.autograd import Tensor, functional
from lmladder.nn.module import Module, parameter
from lmladder.system.arrays import IntArray
from lmladder.tracing import constant

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


class BigramEmbedding(Module):
    """Vectors of pairs of a token and the one before: integers (n, time) -> (n, time, size).

    They are initially 0. Where there are more pairs than `rows`, several share a vector. There is
    also a pair of a first token and nothing.
    """

    def __init__(self, vocabulary_size: int, size: int, *, rows: int):
        self.first = vocabulary_size  # stands for the token before the first
        self.weight = parameter(np.zeros((min((self.first + 1) * self.first, rows), size)))

    def __call__(self, ids: IntArray, before: IntArray | None = None) -> Tensor:
        """Return the vectors; `before`, (n, 1), is what stands before the tokens, if anything."""
        if before is None:
            before = constant(np.full((len(ids), 1), self.first, ids.dtype))
        earlier = np.concatenate([before, ids[:, :-1]], axis=1).astype(np.int64)
        pairs = earlier * self.first + ids
        rows = len(self.weight)
        if (self.first + 1) * self.first > rows:
            pairs = (pairs * 2_654_435_761 & 0xFFFFFFFF) * rows >> 32  # Fibonacci hashing
        return functional.embedding(self.weight, pairs)
