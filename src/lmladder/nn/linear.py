"""The linear layer."""

from lmladder.autograd import Tensor, functional
from lmladder.nn.module import Module, parameter

import numpy as np


class Linear(Module):
    """y = x @ weight + bias: (..., in_size) -> (..., out_size); the bias is optional.

    Weights are initially N(0, std^2), by default with std = 1 / sqrt(in_size), which keeps the
    variance of x; biases are 0.
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        rng: np.random.Generator,
        std: float | None = None,
        bias: bool = True,
    ):
        scale = in_size**-0.5 if std is None else std
        self.weight = parameter(rng.standard_normal((in_size, out_size)) * scale)
        self.bias = parameter(np.zeros(out_size)) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        if self.bias is None:
            return x @ self.weight
        return functional.linear(x, self.weight, self.bias)
