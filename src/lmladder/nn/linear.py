"""The linear layer."""

from functools import partial

from lmladder import kernels
from lmladder.arrays import FloatArray
from lmladder.autograd import Tensor, functional
from lmladder.nn.module import Calls, Module, parameter

import numpy as np

FEW_ROWS = 4  # up to which it pays to read the weights once a row rather than to ask BLAS


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
        if len(x) <= FEW_ROWS:
            kernel = kernels.unshared(x).linear_row
            calls += [partial(kernel, x[i], weight, bias, out[i]) for i in range(len(x))]
        else:
            calls.append(partial(np.matmul, x, weight, out))
            calls.append(partial(np.add, out, bias, out))
        return out
