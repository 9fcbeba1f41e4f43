"""Activations by name: the choices of all models."""

from collections.abc import Callable

from lmladder.autograd import Tensor, functional, ops

_FUNCTIONS = (
    functional.relu,
    functional.relu_squared,
    ops.tanh,
    functional.sigmoid,
    functional.gelu,
    functional.gelu_tanh,
)
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {each.__name__: each for each in _FUNCTIONS}
