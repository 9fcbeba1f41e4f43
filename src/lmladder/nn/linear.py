"""The linear layer."""

from functools import partial

from lmladder import kernels
from lmladder.arrays import FloatArray
from lmladder.autograd import Tensor, functional
from lmladder.nn.module import Calls, Module, parameter

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

    def plan(self, x: FloatArray, calls: Calls) -> FloatArray:
        weight, bias = np.ascontiguousarray(self.weight.value), self.bias.value
        out = np.empty((len(x), len(bias)), x.dtype)
        if len(x) == 1:  # a matter of reading the weights, which BLAS has no good way for
            calls.append(partial(kernels.unshared(x).linear_row, x[0], weight, bias, out[0]))
        else:
            calls.append(partial(np.matmul, x, weight, out))
            calls.append(partial(np.add, out, bias, out))
        return out
