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


class NgramEmbedding(Module):
    """Vectors of the last `order` tokens, initially 0: integers (n, time) -> (n, time, size).

    Where there are more such n-grams than rows of the table, several share a row. Before the first
    token is one with an index of its own.
    """

    def __init__(self, vocabulary_size: int, order: int, rows: int, size: int):
        self.base, self.order = vocabulary_size + 1, order
        self.weight = parameter(np.zeros((rows, size)))

    def __call__(self, ids: IntArray) -> Tensor:
        rows, count = len(self.weight), ids.shape[1]
        start = np.full((len(ids), self.order - 1), self.base - 1, ids.dtype)
        padded = np.concatenate([start, ids], axis=1)
        index = padded[:, :count]
        for lag in range(1, self.order):
            index = index * self.base + padded[:, lag : lag + count]
        if self.base**self.order > rows:
            index = (index * 2_654_435_761 & 0xFFFFFFFF) * rows >> 32  # Fibonacci hashing
        return functional.embedding(self.weight, index)
