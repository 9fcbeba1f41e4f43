"""Recurrent layers: a state that each token of a row changes, 0 before the first."""

from collections.abc import Callable
from typing import TypeAlias

from lmladder.autograd import Tensor, functional
from lmladder.nn.linear import Linear
from lmladder.nn.module import Module

import numpy as np


class RnnLayer(Module):
    """state = tanh(linear(x) + state @ weight) (Elman 1990).

    (rows, time, in_size) -> (rows, time, size), the state after each token.
    """

    def __init__(self, in_size: int, size: int, *, rng: np.random.Generator):
        self.input = Linear(in_size, size, rng=rng)
        self.recurrent = Linear(size, size, rng=rng, bias=False)

    def __call__(self, x: Tensor) -> Tensor:
        return functional.rnn(self.input(x), self.recurrent.weight)


class GruLayer(Module):
    """A gated recurrent unit: what of the state is kept, and seen, is learnt (Cho et al. 2014).

    (rows, time, in_size) -> (rows, time, size), the state after each token. Weights of the reset
    gate, the update gate and the candidate stand side by side.
    """

    def __init__(self, in_size: int, size: int, *, rng: np.random.Generator):
        self.input = Linear(in_size, 3 * size, rng=rng)
        self.recurrent = Linear(size, 3 * size, rng=rng, bias=False)

    def __call__(self, x: Tensor) -> Tensor:
        return functional.gru(self.input(x), self.recurrent.weight)


RecurrentLayer: TypeAlias = RnnLayer | GruLayer
RECURRENT: dict[str, Callable[..., RecurrentLayer]] = {"rnn": RnnLayer, "gru": GruLayer}
