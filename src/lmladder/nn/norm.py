"""Normalisation along the last axis."""

from lmladder import kernels
from lmladder.arrays import FloatArray
from lmladder.autograd import Tensor, functional
from lmladder.nn.module import Module, parameter

import numpy as np


class LayerNorm(Module):
    """Mean 0 and variance 1, then a learnt scale and shift: (..., size) -> (..., size)."""

    def __init__(self, size: int):
        self.weight = parameter(np.ones(size))
        self.bias = parameter(np.zeros(size))

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.weight, self.bias)

    def infer(self, x: FloatArray) -> FloatArray:
        weight, bias = self.weight.value, self.bias.value
        return kernels.layer_norm(x, weight, bias, functional.NORM_EPSILON)[0]


class RmsNorm(Module):
    """Root mean square 1, then a learnt scale: (..., size) -> (..., size)."""

    def __init__(self, size: int):
        self.weight = parameter(np.ones(size))

    def __call__(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.weight)

    def infer(self, x: FloatArray) -> FloatArray:
        return kernels.rms_norm(x, self.weight.value, functional.NORM_EPSILON)[0]
