"""Stochastic gradient descent with momentum (Sutskever et al. 2013)."""

from collections.abc import Mapping

from lmladder.arrays import Array, FloatArray
from lmladder.autograd import Tensor
from lmladder.optim.adam import copy_state

import numpy as np


class Sgd:
    """Gradient descent with classical or Nesterov's momentum and decoupled weight decay.

    The velocity sums gradients, not steps: v <- momentum v + g, and a parameter moves by
    -learning_rate v. While the rate is constant that is the paper's equation 1; with Nesterov's
    momentum, by -learning_rate (g + momentum v), it is equations 3 and 4 as seen from the point
    ahead, where the gradient is taken. A schedule then scales steps, not what is remembered.

    Parameters
    ----------
    parameters : the Tensors to be learnt, by name; their values are changed in place
    learning_rate : of a step whose schedule factor is 1
    momentum : decay of the sum of gradients; 0 is plain gradient descent
    nesterov : whether to step from where momentum alone would lead
    weight_decay : of the matrices (two axes or more), apart from the gradient (SGDW, Loshchilov &
        Hutter 2019)
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        *,
        learning_rate: float,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
    ):
        self.parameters = parameters
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.velocities = {name: np.zeros_like(each.value) for name, each in parameters.items()}

    def step(self, number: int, *, factor: float = 1.0, gradient_scale: float = 1.0) -> None:
        """Change every parameter that has a gradient; see `Adam.step`."""
        rate = self.learning_rate * factor
        for name, tensor in self.parameters.items():
            if tensor.grad is None:
                continue
            grad = tensor.grad * gradient_scale
            velocity = self.velocities[name]
            velocity *= self.momentum
            velocity += grad
            if self.weight_decay and tensor.ndim >= 2:
                tensor.value *= 1 - rate * self.weight_decay
            tensor.value -= rate * (grad + self.momentum * velocity if self.nesterov else velocity)

    def state(self) -> dict[str, FloatArray]:
        """The velocities, by name: all that a checkpoint needs of this optimizer."""
        return {f"velocity.{name}": array for name, array in self.velocities.items()}

    def load_state(self, arrays: Mapping[str, Array]) -> None:
        """Take over what `state` returned. ValueError if names or shapes differ."""
        copy_state(self.state(), arrays)
