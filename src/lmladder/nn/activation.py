"""Activations by name."""

from collections.abc import Callable
from functools import partial

from lmladder import kernels
from lmladder.arrays import FloatArray
from lmladder.autograd import Tensor, functional, ops
from lmladder.nn.module import Calls, planned

import numpy as np

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "tanh": ops.tanh,
    "sigmoid": functional.sigmoid,
    "gelu": functional.gelu,
    "gelu_tanh": functional.gelu_tanh,
    "silu": functional.silu,
}


def plan_activation(
    activation: Callable[[Tensor], Tensor], x: FloatArray, calls: Calls
) -> FloatArray:
    """`Module.plan` of one of these; by the kernel of its name, where there is one."""
    kernel = getattr(kernels.unshared(x), activation.__name__, None)
    if kernel is None:
        return planned(activation, x, calls)
    out = np.empty_like(x)
    calls.append(partial(kernel, x.reshape(-1), out.reshape(-1)))
    return out
