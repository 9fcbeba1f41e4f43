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


class NgramEmbedding(Module):
    """Vectors of n-grams, each a token and those before: integers (m, time) -> (m, time, size).

    They are initially 0. Where there are more n-grams than `rows`, several share a vector. A number
    of its own stands for what is before the first token.
    """

    def __init__(self, n: int, vocabulary_size: int, size: int, *, rows: int):
        self.n, self.base = n, vocabulary_size + 1
        self.count = self.base ** (n - 1) * vocabulary_size  # of n-grams
        self.weight = parameter(np.zeros((min(self.count, rows), size)))

    def __call__(self, ids: IntArray, before: IntArray | None = None) -> Tensor:
        """Return the vectors; `before`, (m, at least n - 1), is what precedes the tokens."""
        first = self.base - 1  # stands for the token before the first
        if before is None:
            before = constant(np.full((len(ids), self.n - 1), first, ids.dtype))
        tokens = np.concatenate([before, ids], axis=1).astype(np.int64)
        ngrams = tokens[:, -ids.shape[1] :]
        for lag in range(1, self.n):
            earlier = tokens[:, -ids.shape[1] - lag : -lag]
            ngrams = earlier * (first * self.base ** (lag - 1)) + ngrams
        rows = len(self.weight)
        if self.count > rows:
            ngrams = (ngrams * 2_654_435_761 & 0xFFFFFFFF) * rows >> 32  # Fibonacci hashing
        return functional.embedding(self.weight, ngrams)
