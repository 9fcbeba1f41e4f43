"""Adam (Kingma & Ba 2015) and AdamW (Loshchilov & Hutter 2019)."""

from operator import is_
from typing import Annotated, Any, Literal

from lmladder import kernels
from lmladder.autograd.tensor import changed
from lmladder.optim.optimizer import DECAY, Optimizer, OptimizerSettings
from lmladder.system.arrays import FloatArray

import numpy as np
from pydantic import Field


class AverageSettings(OptimizerSettings):
    """The settings of Adam, and of optimizers that use it."""

    betas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(
        min_length=2,
        max_length=2,
        description="decay of the averages of gradients and their squares",
    )
    epsilon: float = Field(gt=0, description="added to the square root of the second average")


class AdamSettings(AverageSettings):
    """The settings of Adam."""

    name: Literal["adam"] = Field(description="the optimizer")


class AdamWSettings(AverageSettings):
    """The settings of AdamW."""

    name: Literal["adamw"] = Field(description="the optimizer")
    weight_decay: float = DECAY


class Adam(Optimizer):
    """Adam with bias correction."""

    averages = ("mean", "square")
    settings: AverageSettings

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self._arrays: list[Any] = []  # the values and gradients that the pieces are views of
        self._matrices: list[tuple[FloatArray, ...]] = []  # pieces of matrices
        self._others: list[tuple[FloatArray, ...]] = []  # pieces of all other parameters

    def step(self, number: int, *, factor: float = 1.0, gradient_scale: float = 1.0) -> None:
        rate = self.settings.learning_rate * factor
        beta_mean, beta_square = self.settings.betas
        corrections = 1 - beta_mean ** (number + 1), 1 - beta_square ** (number + 1)
        epsilon, decay = self.settings.epsilon, getattr(self.settings, "weight_decay", 0.0)
        settings = beta_mean, beta_square, epsilon, gradient_scale, rate, *corrections
        self._cut_into_pieces()
        kernels.adam(self._matrices, *settings, 1 - rate * decay)
        kernels.adam(self._others, *settings, 1.0)

    def _cut_into_pieces(self) -> None:
        """Cut the arrays into pieces, unless they are the same as in the step before."""
        tensors = self.parameters.values()
        values = [tensor.value for tensor in tensors]
        arrays = [*values, *[tensor.grad for tensor in tensors]]
        if len(arrays) == len(self._arrays) and all(map(is_, arrays, self._arrays)):
            changed(tensors)
            return
        self._arrays, self._matrices, self._others = [], [], []
        views = True
        means, squares = self.running["mean"], self.running["square"]
        for name, value, gradient in self.gradients():
            if not value.flags.c_contiguous:
                self.parameters[name].value = value = np.array(value, order="C")
            views = views and gradient.flags.c_contiguous
            pieces = self._matrices if value.ndim >= 2 else self._others
            pieces += kernels.cut(gradient, means[name], squares[name], value)
        if views:
            self._arrays = [*[each.value for each in tensors], *[each.grad for each in tensors]]


class AdamW(Adam):
    """Adam with decoupled weight decay of the matrices: parameters with two axes or more."""
