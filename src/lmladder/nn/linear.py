"""The linear layer."""

from lmladder import kernels
from lmladder.arrays import FloatArray
from lmladder.autograd import Tensor, functional
from lmladder.nn.module import Module, parameter

import numpy as np


class Linear(Module):
    """y = x @ weight + bias: (..., in_size) -> (..., out_size).

    Weights start normally distributed, by default with standard deviation 1 / sqrt(in_size), which
    keeps the variance of what flows through; biases start at 0.
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        rng: np.random.Generator,
        deviation: float | None = None,
    ):
        scale = in_size**-0.5 if deviation is None else deviation
        self.weight = parameter(rng.standard_normal((in_size, out_size)) * scale)
        self.bias = parameter(np.zeros(out_size))

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)

    def infer(self, x: FloatArray) -> FloatArray:
        return kernels.linear(x, self.weight.value, self.bias.value)
