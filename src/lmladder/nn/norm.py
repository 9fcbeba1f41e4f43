"""Normalisation along the last axis."""

from collections.abc import Callable
from typing import TypeAlias

from lmladder import kernels
from lmladder.autograd import Tensor, functional
from lmladder.nn.module import Module, parameter

import numpy as np


class LayerNorm(Module):
    """Mean 0 and variance 1, then a learnt scale and shift, if any: (..., size) -> (..., size)."""

    def __init__(self, size: int, *, weight: bool = True, bias: bool = True):
        self.weight = parameter(np.ones(size)) if weight else None
        self.bias = parameter(np.zeros(size)) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        weight = _filled(1, x) if self.weight is None else self.weight
        bias = _filled(0, x) if self.bias is None else self.bias
        return functional.layer_norm(x, weight, bias)


class RmsNorm(Module):
    """Root mean square 1, then a learnt scale, if any: (..., size) -> (..., size)."""

    def __init__(self, size: int, *, weight: bool = True):
        self.weight = parameter(np.ones(size)) if weight else None

    def __call__(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, _filled(1, x) if self.weight is None else self.weight)


class NoNorm(Module):
    """x as it is, where a norm might stand."""

    def __call__(self, x: Tensor) -> Tensor:
        return x


def _filled(number: float, x: Tensor) -> Tensor:
    """A scale or a shift that is not learnt."""
    return Tensor(kernels.constant(np.full(x.shape[-1], number, x.dtype)))


Norm: TypeAlias = LayerNorm | RmsNorm | NoNorm

# By name: a norm of so many numbers, with a learnt scale or not, and a shift where it may have one.
NORMS: dict[str, Callable[[int, bool, bool], Norm]] = {
    "layernorm": lambda size, weight, bias: LayerNorm(size, weight=weight, bias=bias),
    "rmsnorm": lambda size, weight, _: RmsNorm(size, weight=weight),
    "none": lambda *_: NoNorm(),
}
