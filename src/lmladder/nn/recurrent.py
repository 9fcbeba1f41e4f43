"""Recurrent layers. Each token of a sequence updates a state, which is initially 0."""

from typing import ClassVar

from lmladder.autograd import Tensor, functional
from lmladder.nn.linear import Linear
from lmladder.nn.module import Module
from lmladder.tracing import constant

import numpy as np


class RnnLayer(Module):
    """state = tanh(linear(x) + state @ weight) (Elman 1990).

    (batch, time, in_size) -> (batch, time, size), the state after each token. The sequences may
    continue others, which ended with the states `start`, (batch, size).
    """

    function: ClassVar = staticmethod(functional.rnn)

    gates = 1  # matrices side by side in each weight

    def __init__(self, in_size: int, size: int, *, rng: np.random.Generator):
        self.input = Linear(in_size, self.gates * size, rng=rng)
        self.recurrent = Linear(size, self.gates * size, rng=rng, bias=False)

    def __call__(self, x: Tensor, start: Tensor | None = None) -> Tensor:
        weight = self.recurrent.weight
        if start is None:
            start = Tensor(constant(np.zeros((len(x), len(weight)), x.dtype)))
        return self.function(self.input(x), weight, start)


class GruLayer(RnnLayer):
    """A gated recurrent unit (Cho et al. 2014), of the same shapes.

    The weights of the reset gate, the update gate and the candidate are side by side.
    """

    function = staticmethod(functional.gru)
    gates = 3
