"""Stochastic gradient descent with momentum (Sutskever et al. 2013)."""

from typing import Literal

from lmladder.optim.optimizer import DECAY, Optimizer, OptimizerSettings

from pydantic import Field


class SgdSettings(OptimizerSettings):
    """The settings of gradient descent with momentum."""

    name: Literal["sgd"] = Field(description="the optimizer")
    momentum: float = Field(ge=0, lt=1, description="decay of the sum of gradients; 0: none")
    nesterov: bool = Field(description="Nesterov momentum: the gradient at the point ahead")
    weight_decay: float = DECAY


class Sgd(Optimizer):
    """Gradient descent with classical or Nesterov momentum and decoupled weight decay.

    The velocity is a sum of gradients, not of steps: v <- momentum v + g, and a parameter changes
    by -learning_rate v. At a constant rate this is equation 1 of the paper. With Nesterov momentum
    it changes by -learning_rate (g + momentum v), which is equations 3 and 4 for the point at which
    the gradient is computed. So a schedule scales the steps and not the velocity. Weight decay
    applies to matrices (two axes or more) separately from the gradient (SGDW, Loshchilov & Hutter
    2019).
    """

    averages = ("velocity",)
    settings: SgdSettings

    def step(self, number: int, *, factor: float = 1.0, gradient_scale: float = 1.0) -> None:
        rate, momentum = self.settings.learning_rate * factor, self.settings.momentum
        for name, value, gradient in self.gradients():
            velocity = self.running["velocity"][name]
            grad = gradient * value.dtype.type(gradient_scale)
            velocity *= momentum
            velocity += grad
            if value.ndim >= 2:
                value *= value.dtype.type(1 - rate * self.settings.weight_decay)
            if self.settings.nesterov:
                grad += momentum * velocity
            value -= rate * (grad if self.settings.nesterov else velocity)
