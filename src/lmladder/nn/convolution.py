"""A short convolution over the positions before, element by element."""

from lmladder import kernels
from lmladder.autograd import Tensor, functional
from lmladder.nn.cache import Cache
from lmladder.nn.module import Module, parameter
from lmladder.system.arrays import IntArray

import numpy as np


class CausalConvolution(Module):
    """x plus a weighted sum, by element, of the last `lags` vectors: (batch, time, size) -> same.

    The weights are initially 0. Such a layer lets each position see those just before it without
    attention (So et al. 2021, Allen-Zhu 2025).
    """

    def __init__(self, size: int, lags: int):
        self.weight = parameter(np.zeros((lags, size)))

    def __call__(self, x: Tensor, positions: IntArray, cache: Cache | None = None) -> Tensor:
        """Return the result at `positions`, consecutive, shape (time,).

        Parameters
        ----------
        cache : where the vectors are stored. Several are at positions from 0; a single one follows
            those stored.
        """
        if cache is None:
            return functional.causal_convolution(x, self.weight)
        (inputs,) = cache.arrays
        if len(positions) == 1:
            arrays = x.value, self.weight.value, inputs.value, positions
            return Tensor(kernels.cached_convolution(*arrays))
        inputs.value[:, : x.shape[1]] = x.value
        return functional.causal_convolution(x, self.weight)

    def cache(self, positions: int) -> Cache:
        """Return an empty cache for this layer: one sequence of `positions` vectors."""
        return Cache((1, positions, self.weight.shape[1]), dtype=self.weight.dtype)


class NoConvolution(Module):
    """The identity, used where there is no convolution."""

    def __call__(self, x: Tensor, positions: IntArray, cache: Cache | None = None) -> Tensor:
        return x

    def cache(self, positions: int) -> Cache:
        return Cache()
