"""Stochastic gradient descent with momentum (Sutskever et al. 2013)."""

from lmladder.optim.optimizer import Optimizer
from lmladder.optim.settings import SgdSettings


class Sgd(Optimizer):
    """Gradient descent with classical or Nesterov momentum and decoupled weight decay.

    The velocity sums gradients, not steps: v <- momentum v + g, and a parameter changes by
    -learning_rate v. At a constant rate that is equation 1 of the paper; with Nesterov momentum,
    -learning_rate (g + momentum v) is equations 3 and 4 for the point ahead, where the gradient is
    computed. So a schedule scales steps, not the velocity. Weight decay applies to the matrices
    (two axes or more), apart from the gradient (SGDW, Loshchilov & Hutter 2019).
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
