"""Activations by name."""

from collections.abc import Callable

from lmladder.autograd import Tensor
from lmladder.autograd.functional import gelu, gelu_tanh, relu, relu_squared
from lmladder.autograd.ops import tanh

_FUNCTIONS = relu, relu_squared, tanh, gelu, gelu_tanh
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {each.__name__: each for each in _FUNCTIONS}
