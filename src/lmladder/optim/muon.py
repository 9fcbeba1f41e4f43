"""Muon, orthogonalized momentum (Jordan et al. 2024), normalized by output (Li et al. 2025)."""

from collections.abc import Collection, Mapping
from typing import Literal

from lmladder.autograd import Tensor
from lmladder.kernels import matmul, parallel_for, square_sums
from lmladder.optim.adam import AdamW, AverageSettings
from lmladder.optim.optimizer import DECAY, Optimizer
from lmladder.system.arrays import FloatArray

import numpy as np
from pydantic import Field

# Odd polynomials a s + b s^3 + c s^5, each the best approximation of 1 on what those before make of
# [0.005, 1] (Amsel et al. 2025, "The Polar Express"). Together they differ from 1 by at most 0.083.
POLAR_EXPRESS = [(8.2987, -24.4305, 18.0903), (3.9152, -2.9211, 0.5592),
                 (3.1746, -2.3804, 0.4978), (2.1895, -1.5672, 0.4079)]  # fmt: skip
TINY = 1e-20  # instead of dividing by 0


class MuonSettings(AverageSettings):
    """The settings of Muon for the hidden matrices, and of AdamW for all other parameters."""

    name: Literal["muon"] = Field(description="the optimizer")
    weight_decay: float = DECAY
    matrix_learning_rate: float = Field(
        gt=0, description="Muon's step size; learning_rate is AdamW's"
    )
    momentum: float = Field(ge=0, lt=1, description="decay of Muon's sum of gradients")


class Muon(Optimizer):
    """NorMuon with Nesterov momentum for the hidden `matrices`, each of two axes, (in, out).

    AdamW updates all other parameters (embeddings, norms, biases). Both decay matrices.
    """

    averages = ("momentum",)
    settings: MuonSettings

    def __init__(
        self, parameters: Mapping[str, Tensor], settings: MuonSettings, matrices: Collection[str]
    ):
        super().__init__({name: parameters[name] for name in matrices}, settings)
        others = {name: each for name, each in parameters.items() if name not in matrices}
        self.adamw = AdamW(others, settings)
        squares = {name: np.zeros_like(each.value[:1]) for name, each in self.parameters.items()}
        self.running["squares"] = squares

    def step(self, number: int, *, factor: float = 1.0, gradient_scale: float = 1.0) -> None:
        found = self.gradients()  # raises before anything changes
        self.adamw.step(number, factor=factor, gradient_scale=gradient_scale)
        rate = self.settings.matrix_learning_rate * factor

        def update(index: int) -> None:
            name, value, gradient = found[index]
            momentum = self.running["momentum"][name]
            grad = gradient * value.dtype.type(gradient_scale)
            momentum *= self.settings.momentum
            momentum += grad
            grad += momentum * self.settings.momentum
            n_in, n_out = value.shape
            value *= value.dtype.type(1 - rate * self.settings.weight_decay)
            step = orthogonalize(grad)
            step *= normalizer(step, self.running["squares"][name], self.settings.betas[1])
            value -= step * (rate * max(1, n_out / n_in) ** 0.5)

        parallel_for(update, len(found))

    def state(self) -> dict[str, FloatArray]:
        return {**super().state(), **self.adamw.state()}


def normalizer(step: FloatArray, squares: FloatArray, beta: float) -> FloatArray:
    """Return factors of the columns of a step, (in, out) -> (1, out), that keep its norm.

    With them, each output changes as much as any other. `squares`, (1, out), is the running average
    of the mean squares of each column, and is updated.
    """
    squares *= beta
    squares += np.add.reduce(step * step, axis=0, keepdims=True) * ((1 - beta) / len(step))
    factors = 1 / (np.sqrt(squares) + step.dtype.type(TINY))
    before, after = square_sums([step, step * factors])
    return factors * step.dtype.type((before / max(after, TINY)) ** 0.5)


def orthogonalize(matrix: FloatArray) -> FloatArray:
    """Return the matrix with its singular values moved towards 1.

    For G = U S V^T this is approximately U V^T, without a decomposition: each step applies an odd
    polynomial to all singular values at once. Those of at least 0.005 of the norm of the matrix end
    near 1, smaller ones below.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    # In C order, that of products, as adding arrays in two orders is slow.
    x = np.ascontiguousarray(matrix.T) if tall else matrix
    (squares,) = square_sums([x])
    x = x / (x.dtype.type(squares**0.5) + 1e-7)
    for a, b, c in POLAR_EXPRESS:
        square = matmul(x, x.T)
        x = a * x + matmul(b * square + c * matmul(square, square), x)
    return np.ascontiguousarray(x.T) if tall else x
