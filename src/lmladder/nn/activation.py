"""Activations by name."""

from collections.abc import Callable

from lmladder.autograd import Tensor, functional, ops

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "relu_squared": functional.relu_squared,
    "tanh": ops.tanh,
    "sigmoid": functional.sigmoid,
    "gelu": functional.gelu,
    "gelu_tanh": functional.gelu_tanh,
    "silu": functional.silu,
}
