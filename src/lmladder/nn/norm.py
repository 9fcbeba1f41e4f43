"""Normalisation along the last axis."""

from functools import partial

from lmladder import kernels
from lmladder.arrays import FloatArray
from lmladder.autograd import Tensor, functional
from lmladder.nn.module import Calls, Module, parameter

import numpy as np


class LayerNorm(Module):
    """Mean 0 and variance 1, then a learnt scale and shift: (..., size) -> (..., size)."""

    def __init__(self, size: int):
        self.weight = parameter(np.ones(size))
        self.bias = parameter(np.zeros(size))

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.weight, self.bias)

    def plan(self, x: FloatArray, calls: Calls) -> FloatArray:
        out, statistics = np.empty_like(x), np.empty((2, len(x)), x.dtype)
        settings = self.weight.value, self.bias.value, functional.NORM_EPSILON
        calls.append(partial(kernels.unshared(x).layer_norm, x, *settings, out, *statistics))
        return out


class RmsNorm(Module):
    """Root mean square 1, then a learnt scale: (..., size) -> (..., size)."""

    def __init__(self, size: int):
        self.weight = parameter(np.ones(size))

    def __call__(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.weight)

    def plan(self, x: FloatArray, calls: Calls) -> FloatArray:
        out, inverse = np.empty_like(x), np.empty(len(x), x.dtype)
        settings = self.weight.value, functional.NORM_EPSILON
        calls.append(partial(kernels.unshared(x).rms_norm, x, *settings, out, inverse))
        return out
