"""Muon: orthogonalized momentum (Jordan et al. 2024, "Muon: an optimizer for hidden layers")."""

from collections.abc import Collection, Mapping
from typing import Literal

from lmladder.autograd import Tensor
from lmladder.kernels import matmul, parallel_for, square_sums
from lmladder.optim.adam import AdamW, AverageSettings
from lmladder.optim.optimizer import DECAY, Optimizer
from lmladder.system.arrays import FloatArray

from pydantic import Field


class MuonSettings(AverageSettings):
    """The settings of Muon for the hidden matrices, and of AdamW for all other parameters."""

    name: Literal["muon"] = Field(description="the optimizer")
    weight_decay: float = DECAY
    matrix_learning_rate: float = Field(
        gt=0, description="Muon's step size; learning_rate is AdamW's"
    )
    momentum: float = Field(ge=0, lt=1, description="decay of Muon's sum of gradients")


class Muon(Optimizer):
    """Muon with Nesterov momentum for the hidden `matrices`, each of two axes, (in, out).

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
            value -= orthogonalize(grad) * (rate * max(1, n_out / n_in) ** 0.5)

        parallel_for(update, len(found))

    def state(self) -> dict[str, FloatArray]:
        return {**super().state(), **self.adamw.state()}


def orthogonalize(matrix: FloatArray) -> FloatArray:
    """Return the matrix with its singular values moved near 1, between about 0.7 and 1.2.

    For G = U S V^T this is approximately U V^T, without a decomposition: each step applies the odd
    polynomial a s + b s^3 + c s^5 to all singular values at once. Values that are less than
    3.44 ** -5 of the norm of the matrix stay smaller.
    """
    # Quintic iteration that brings singular values in (0, 1] near 1, the small ones last.
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    (squares,) = square_sums([x])
    x = x / (x.dtype.type(squares**0.5) + 1e-7)
    for _ in range(5):
        square = matmul(x, x.T)
        x = a * x + matmul(b * square + c * matmul(square, square), x)
    return x.T if tall else x
