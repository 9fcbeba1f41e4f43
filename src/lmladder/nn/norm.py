"""Normalization along the last axis."""

from collections.abc import Callable
from typing import TypeAlias

from lmladder.autograd import Tensor, functional
from lmladder.nn.module import Module, parameter
from lmladder.tracing import constant

import numpy as np


class LayerNorm(Module):
    """Mean 0 and variance 1, then an optional learned scale and shift: (..., size) -> the same."""

    def __init__(self, size: int, *, weight: bool = True, bias: bool = True):
        self.weight = parameter(np.ones(size)) if weight else None
        self.bias = parameter(np.zeros(size)) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, _learned(self.weight, 1, x), _learned(self.bias, 0, x))


class RmsNorm(Module):
    """Root mean square 1, then an optional learned scale: (..., size) -> the same."""

    def __init__(self, size: int, *, weight: bool = True):
        self.weight = parameter(np.ones(size)) if weight else None

    def __call__(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, _learned(self.weight, 1, x))


class NoNorm(Module):
    """The identity, used where there is no normalization."""

    def __call__(self, x: Tensor) -> Tensor:
        return x


def _learned(parameter: Tensor | None, default: float, x: Tensor) -> Tensor:
    """Return the parameter, or else a constant vector of the default for the last axis of x."""
    if parameter is not None:
        return parameter
    return Tensor(constant(np.full(x.shape[-1], default, x.dtype)))


Norm: TypeAlias = LayerNorm | RmsNorm | NoNorm

# By name, a function of the size and of whether there is a learned scale, and a learned shift.
NORMS: dict[str, Callable[[int, bool, bool], Norm]] = {
    "layernorm": lambda size, weight, bias: LayerNorm(size, weight=weight, bias=bias),
    "rmsnorm": lambda size, weight, _: RmsNorm(size, weight=weight),
}
