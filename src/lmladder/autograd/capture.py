"""A loss and its gradients, recorded once and then computed again without a graph."""

from collections.abc import Callable, Iterable
from typing import Any

from lmladder.arrays import Array
from lmladder.autograd.tensor import Tensor
from lmladder.kernels.tape import Program, RefusedError, Tape

import numpy as np


class Captured:
    """A loss of inputs that change from call to call, and the gradients that its backward leaves.

    The first call is done as ever and recorded. Those after it, with inputs of the same shapes and
    types, do the same arithmetic in the same order, to the same bits, but build no graph and
    allocate no arrays. Where that cannot be, all is done as ever: for other inputs, and for a loss
    that does arithmetic on arrays outside of ops.

    Parameters
    ----------
    loss : of the inputs, one number. Besides what it does by ops it may only look at shapes; what
        it computes with Python's numbers is as it was in the first call.
    parameters : the leaves that `loss` depends on

    Attributes
    ----------
    refusal : why the loss could not be recorded; None if it was, or has not been called yet
    """

    def __init__(self, loss: Callable[..., Tensor], parameters: Iterable[Tensor]):
        self.loss = loss
        self.parameters = list(parameters)
        self.refusal: str | None = None
        self._program: Program | None = None
        self._reached: list[Tensor] = []  # the parameters that have a gradient
        self._values: list[Array] = []  # those of all parameters, when it was recorded
        self._inputs: list[Any] = []  # arrays that take the inputs' place, and other inputs

    def __call__(self, *inputs: Any) -> float:
        """The loss of these inputs; its gradients are added to the parameters' `grad`.

        Where a `grad` was None it is an array that the next call will overwrite.

        Parameters
        ----------
        inputs : arrays, generators of random numbers, and what else the loss takes; with another
            value in such a place nothing is recorded
        """
        if self._program is not None and not self._is_current():
            self._program = None  # the parameters are other arrays now
        if self._program is not None and self._fits(inputs):
            return self._again(self._program, inputs)
        if self._program is None and self.refusal is None:
            return self._first(inputs)
        loss = self.loss(*inputs)
        loss.backward()
        return loss.item()

    def _first(self, inputs: tuple[Any, ...]) -> float:
        self._inputs = [np.array(each) if _is_array(each) else each for each in inputs]
        self._values = [each.value for each in self.parameters]
        before = [each.grad for each in self.parameters]
        for each in self.parameters:
            each.grad = None
        tape = Tape(self._inputs)
        for value in self._values:
            tape.keep(value)
        with tape.on():
            loss = self.loss(*self._inputs)
            value = loss.value
            loss.backward()
        self._reached = [each for each in self.parameters if each.grad is not None]
        try:
            gradients = [each.grad for each in self._reached if each.grad is not None]
            self._program = tape.finish([value, *gradients])
        except RefusedError as error:
            self.refusal = str(error)
        for parameter, earlier in zip(self.parameters, before, strict=True):
            _add(parameter, earlier)
        return float(value)

    def _again(self, program: Program, inputs: tuple[Any, ...]) -> float:
        for own, given in zip(self._inputs, inputs, strict=True):
            if _is_array(own):
                np.copyto(own, given)
        program(*inputs)
        value, *gradients = program.results
        for parameter, gradient in zip(self._reached, gradients, strict=True):
            _add(parameter, gradient)
        return float(value)

    def _is_current(self) -> bool:
        pairs = zip(self.parameters, self._values, strict=True)
        return all(parameter.value is value for parameter, value in pairs)

    def _fits(self, inputs: tuple[Any, ...]) -> bool:
        return len(inputs) == len(self._inputs) and all(map(_alike, inputs, self._inputs))


def _add(parameter: Tensor, gradient: Array | None) -> None:
    if gradient is None:
        return
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def _alike(given: Any, recorded: Any) -> bool:
    """Whether a program of one input will do for another."""
    if _is_array(recorded):
        return _is_array(given) and given.shape == recorded.shape and given.dtype == recorded.dtype
    if isinstance(recorded, np.random.Generator):
        return isinstance(given, np.random.Generator)
    return given is recorded or (type(given) is type(recorded) and bool(given == recorded))


def _is_array(thing: Any) -> bool:
    return isinstance(thing, np.ndarray)
