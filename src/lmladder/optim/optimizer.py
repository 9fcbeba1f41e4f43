"""The base class of optimizers."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from lmladder.autograd import Tensor
from lmladder.autograd.tensor import changed
from lmladder.system.arrays import Array, FloatArray
from lmladder.system.settings import Settings

import numpy as np
from pydantic import Field

DECAY: Any = Field(ge=0, description="decay of matrices, per step times learning_rate")


class OptimizerSettings(Settings):
    """What all optimizers have in common."""

    learning_rate: float = Field(gt=0, description="step size where the schedule's factor is 1")


class Optimizer:
    """An optimizer; a subclass defines `step`, and names its running averages, if any.

    Parameters
    ----------
    parameters : the Tensors to be learned, by name; their values are changed in place
    settings : of this optimizer
    matrices : names of the hidden matrices, for an optimizer that treats them separately

    Attributes
    ----------
    averages : names of the running averages or sums of gradients
    running : for each of them, by name, an array like each parameter, initially 0 and in C order
    """

    averages: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, parameters: Mapping[str, Tensor], settings: Any, matrices: Collection[str] = ()
    ):
        self.parameters, self.settings = parameters, settings
        self._types = {name: (each.shape, each.dtype) for name, each in parameters.items()}
        self.running = {
            average: {name: np.zeros(shape, dtype) for name, (shape, dtype) in self._types.items()}
            for average in self.averages
        }

    def step(self, number: int, *, factor: float = 1.0, gradient_scale: float = 1.0) -> None:
        """Update every parameter that has a gradient.

        Parameters
        ----------
        number : of this step, counted from 0
        factor : of the learning rate, from the schedule
        gradient_scale : factor of each gradient, from clipping

        Raises
        ------
        ValueError
            If a value or gradient has another shape or dtype than the parameter had; then nothing
            changes.
        """
        raise NotImplementedError

    def gradients(self) -> list[tuple[str, FloatArray, FloatArray]]:
        """Return name, value and gradient of all parameters with a gradient; ValueError as `step`.

        The values count as changed.
        """
        found: list[tuple[str, FloatArray, FloatArray]] = [
            (name, tensor.value, tensor.grad)
            for name, tensor in self.parameters.items()
            if tensor.grad is not None
        ]
        for name, value, gradient in found:
            shape, dtype = self._types[name]
            for what, array in ("value", value), ("gradient", gradient):
                if (array.shape, array.dtype) != (shape, dtype):
                    got = f"{array.dtype} {array.shape}"
                    raise ValueError(f"the {what} of {name} must be {dtype} {shape}, got {got}")
        changed(self.parameters.values())
        return found

    def state(self) -> dict[str, FloatArray]:
        """Return all that a checkpoint needs of this optimizer, by name."""
        return {
            f"{average}.{name}": array
            for average, arrays in self.running.items()
            for name, array in arrays.items()
        }

    def load_state(self, arrays: Mapping[str, Array]) -> None:
        """Restore what `state` returned. ValueError if names or shapes differ."""
        state = self.state()
        own, given = ({(k, each.shape) for k, each in held.items()} for held in (state, arrays))
        if unmatched := sorted(own ^ given):
            raise ValueError(f"optimizer state does not match: {unmatched[0]}")
        for name, array in state.items():
            array[...] = arrays[name]
