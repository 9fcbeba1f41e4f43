"""Adam (Kingma & Ba 2015) and AdamW (Loshchilov & Hutter 2019)."""

from collections.abc import Mapping
from typing import Any

from lmladder import kernels
from lmladder.arrays import Array, FloatArray
from lmladder.autograd import Tensor

import numpy as np


class Adam:
    """Adam with bias correction.

    Parameters
    ----------
    parameters : the Tensors to be learnt, by name; their values are changed in place
    learning_rate : of a step whose schedule factor is 1
    betas : decay of the running mean of gradients, and of their squares
    epsilon : added to the root of the second
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        *,
        learning_rate: float,
        betas: tuple[float, float],
        epsilon: float,
    ):
        self.parameters = parameters
        self.learning_rate = learning_rate
        self.betas = betas
        self.epsilon = epsilon
        self.means = {name: np.zeros_like(each.value) for name, each in parameters.items()}
        self.squares = {name: np.zeros_like(each.value) for name, each in parameters.items()}

    def step(self, number: int, *, factor: float = 1.0, gradient_scale: float = 1.0) -> None:
        """Change every parameter that has a gradient.

        Parameters
        ----------
        number : of this step, counted from 0; the correction of the running means needs it
        factor : of the learning rate, from the schedule
        gradient_scale : multiplies each gradient, from clipping
        """
        rate = self.learning_rate * factor
        beta_mean, beta_square = self.betas
        changed = {name: each for name, each in self.parameters.items() if each.grad is not None}
        kernels.adam(
            [each.grad for each in changed.values() if each.grad is not None],
            [self.means[name] for name in changed],
            [self.squares[name] for name in changed],
            [each.value for each in changed.values()],
            [self.shrink(each, rate) for each in changed.values()],
            beta_mean,
            beta_square,
            self.epsilon,
            gradient_scale,
            rate,
            1 - beta_mean ** (number + 1),
            1 - beta_square ** (number + 1),
        )

    def shrink(self, tensor: Tensor, rate: float) -> float:
        """What weight decay multiplies a parameter by before the step: 1 in plain Adam."""
        return 1.0

    def state(self) -> dict[str, FloatArray]:
        """The running means, by name: all that a checkpoint needs of this optimizer."""
        return {
            **{f"mean.{name}": array for name, array in self.means.items()},
            **{f"square.{name}": array for name, array in self.squares.items()},
        }

    def load_state(self, arrays: Mapping[str, Array]) -> None:
        """Take over what `state` returned. ValueError if names or shapes differ."""
        copy_state(self.state(), arrays)


class AdamW(Adam):
    """Adam with decoupled weight decay of the matrices: those with two axes or more."""

    def __init__(self, parameters: Mapping[str, Tensor], *, weight_decay: float, **settings: Any):
        super().__init__(parameters, **settings)
        self.weight_decay = weight_decay

    def shrink(self, tensor: Tensor, rate: float) -> float:
        return 1 - rate * self.weight_decay if tensor.ndim >= 2 else 1.0


def copy_state(state: Mapping[str, FloatArray], arrays: Mapping[str, Array]) -> None:
    """Write `arrays` into an optimizer's own state arrays of the same names and shapes."""
    if odd := sorted(state.keys() ^ arrays.keys()):
        raise ValueError(f"optimizer state does not match: {', '.join(odd[:3])}")
    for name, array in state.items():
        if array.shape != arrays[name].shape:
            raise ValueError(f"optimizer state {name} has shape {arrays[name].shape}")
    for name, array in state.items():
        array[...] = arrays[name]
