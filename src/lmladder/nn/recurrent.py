"""Recurrent layers. Each token of a sequence updates a state, which is initially 0."""

from lmladder.autograd import Tensor, functional
from lmladder.nn.linear import Linear
from lmladder.nn.module import Module

import numpy as np


class RnnLayer(Module):
    """state = tanh(linear(x) + state @ weight) (Elman 1990).

    (batch, time, in_size) -> (batch, time, size), the state after each token.
    """

    gates = 1  # matrices side by side in each weight

    def __init__(self, in_size: int, size: int, *, rng: np.random.Generator):
        self.input = Linear(in_size, self.gates * size, rng=rng)
        self.recurrent = Linear(size, self.gates * size, rng=rng, bias=False)

    def __call__(self, x: Tensor) -> Tensor:
        return functional.rnn(self.input(x), self.recurrent.weight)


class GruLayer(RnnLayer):
    """A gated recurrent unit (Cho et al. 2014), of the same shapes.

    The weights of the reset gate, the update gate and the candidate are side by side.
    """

    gates = 3

    def __call__(self, x: Tensor) -> Tensor:
        return functional.gru(self.input(x), self.recurrent.weight)
