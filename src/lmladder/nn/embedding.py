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

    They are initially 0. Where there are more n-grams than `rows`, several share a vector. The
    number `vocabulary_size` is that of a missing token, before the first one.
    """

    def __init__(self, n: int, vocabulary_size: int, size: int, *, rows: int):
        self.n, self.vocabulary_size = n, vocabulary_size
        self.count = (vocabulary_size + 1) ** (n - 1) * vocabulary_size  # of n-grams
        self.weight = parameter(np.zeros((min(self.count, rows), size)))

    def __call__(self, ids: IntArray, before: IntArray | None = None) -> Tensor:
        """Return the vectors; `before`, (m, at least n - 1), is what precedes the tokens."""
        size = self.vocabulary_size
        if before is None:
            before = constant(np.full((len(ids), self.n - 1), size, ids.dtype))
        tokens = np.concatenate([before, ids], axis=1).astype(np.int64)
        ngrams = tokens[:, -ids.shape[1] :]
        for lag in range(1, self.n):
            earlier = tokens[:, -ids.shape[1] - lag : -lag]
            ngrams = earlier * (size * (size + 1) ** (lag - 1)) + ngrams
        rows = len(self.weight)
        if self.count > rows:
            ngrams = (ngrams * 2_654_435_761 & 0xFFFFFFFF) * rows >> 32  # Fibonacci hashing
        return functional.embedding(self.weight, ngrams)
