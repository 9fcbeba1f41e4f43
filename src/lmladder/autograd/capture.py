"""A training step's loss and gradients: in parts that threads work on, recorded once.

A batch is cut into parts of its rows, as many as its shape says, whatever the number of threads.
Each part goes forward and back by itself, on one thread, which then waits for no other; the
gradients are added up in the order of the parts. So the bits do not depend on the threads.

And what a part does is the same in each step, but for the numbers. So the first step is recorded,
and those after it do the same arithmetic in the same order, without building a graph.
"""

import functools
import math
import operator
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from lmladder import kernels
from lmladder.arrays import Array
from lmladder.autograd.tensor import Tensor, no_grad
from lmladder.kernels.tape import Plan, Program, RefusedError, Tape

import numpy as np

PARTS = 4  # at most; a power of two, whose inverse is exact
PART_NUMBERS = 384  # that the inputs of a part have at least, such as tokens: for products to pay


class Captured:
    """A loss that is a mean over the rows of its inputs, with its gradients.

    Where nothing can be recorded the same is done by graphs, to the same bits: for inputs of other
    shapes than the first ones, and for a loss that does arithmetic on arrays outside of ops.

    Parameters
    ----------
    loss : of the inputs, one number. Besides what it does by ops it may only look at shapes; what
        it computes with Python's numbers is as it was in the first call.
    parameters : the leaves that `loss` depends on, of one type
    share : what the loss counts for, and its gradients; 1 / n for one of n batches that make a step

    Attributes
    ----------
    refusal : why the loss could not be recorded; None if it was, or has not been called yet
    programs : what was recorded, one for each part of a batch; none before the second call
    """

    def __init__(
        self, loss: Callable[..., Tensor], parameters: Iterable[Tensor], *, share: float = 1.0
    ):
        self.loss = loss
        self.share = share
        self.parameters = list(parameters)
        self.refusal: str | None = None
        self.programs: list[Program] = []
        self._recording: _Recording | None = None
        self._threads = 0  # for which there are programs

    def __call__(self, *inputs: Any) -> float:
        """The mean loss over all rows, times `share`, adding to the parameters' `grad`.

        Where a `grad` was None it becomes an array that the next call overwrites.

        Parameters
        ----------
        inputs : arrays of as many rows each; generators of random numbers, of which each part gets
            a child; and what else the loss takes
        """
        parts, found = _parts(inputs), self._recording
        if found and not all(map(operator.is_, self._values(), found.values)):
            found = self._recording = None  # the parameters are other arrays now
        if found and found.fits(parts):
            return self._again(found, parts)
        return self._by_graph(parts, record=found is None and self.refusal is None)

    def by_graph(self, *inputs: Any) -> float:
        """The same without what was recorded."""
        return self._by_graph(_parts(inputs), record=False)

    def _by_graph(self, parts: list[tuple[Any, ...]], *, record: bool) -> float:
        before = [parameter.grad for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None
        shares = []
        for number, part in enumerate(parts):
            compute = self._record if record and number == 0 else self._forward_and_back
            shares.append(compute(part, len(parts)))
        total = functools.reduce(operator.add, shares)
        for parameter, earlier in zip(self.parameters, before, strict=True):
            if earlier is not None:
                parameter.grad = earlier if parameter.grad is None else earlier + parameter.grad
        return float(total)

    def _values(self) -> list[Array]:
        return [parameter.value for parameter in self.parameters]

    def _forward_and_back(self, part: tuple[Any, ...], count: int) -> Array:
        """One of `count` parts of the loss."""
        with kernels.undivided() if count > 1 else nullcontext():
            loss = self.loss(*part)
            if (share := self.share / count) != 1:
                loss = loss * share
            value = loss.value
            loss.backward()
        return value

    def _record(self, part: tuple[Any, ...], count: int) -> Array:
        """The first part of the loss; what it does makes the programs of all parts."""
        inputs = tuple(np.array(each) if _is_array(each) else each for each in part)
        tape = Tape(inputs)
        values = self._values()
        for value in values:
            tape.keep(value)
        with tape.on():
            share = self._forward_and_back(inputs, count)
        reached = [each for each in self.parameters if each.grad is not None]
        try:
            plan = tape.finish([share, *(each.grad for each in reached if each.grad is not None)])
        except RefusedError as error:
            self.refusal = str(error)
        else:
            self._recording = _Recording(inputs, count, values, reached, plan)
            self._threads = 0
        return share

    def _again(self, recording: "_Recording", parts: list[tuple[Any, ...]]) -> float:
        workers = min(kernels.threads(), len(parts))
        if workers != self._threads:
            memory = [recording.plan.scratch() for _ in range(workers)]
            self.programs = [
                recording.plan.program(memory[part % workers]) for part in range(len(parts))
            ]
            self._threads = workers
        programs = self.programs
        share, *gradients = programs[0].results
        for parameter, gradient in zip(recording.reached, gradients, strict=True):
            if parameter.grad is gradient:  # that of the call before, about to be overwritten
                parameter.grad = gradient.copy()

        def work(worker: int) -> None:
            with kernels.undivided() if len(parts) > 1 else nullcontext():
                for part in range(worker, len(parts), workers):
                    programs[part](*parts[part])

        kernels.share(work, workers)
        if len(programs) > 1:
            kernels.add_up([program.in_a_row(share.dtype) for program in programs])
        for parameter, gradient in zip(recording.reached, gradients, strict=True):
            earlier = parameter.grad
            parameter.grad = gradient if earlier is None else earlier + gradient
        return float(share)


@dataclass(frozen=True)
class _Recording:
    """What a program was recorded with, and the plan for others like it.

    Attributes
    ----------
    inputs : of the first part
    count : of parts
    values : of all parameters
    reached : the parameters that have a gradient
    """

    inputs: tuple[Any, ...]
    count: int
    values: list[Array]
    reached: list[Tensor]
    plan: Plan

    def fits(self, parts: list[tuple[Any, ...]]) -> bool:
        """Whether its programs will do for inputs in these parts."""
        return (
            len(parts) == self.count
            and len(parts[0]) == len(self.inputs)
            and all(map(_alike, parts[0], self.inputs))
        )


class Recorded:
    """A function of arrays, without gradients, whose second call and later ones are programs.

    Parameters
    ----------
    function : of the inputs; may do and depend on what a loss may that `Captured` takes
    kept : arrays besides the inputs that it reads, or writes
    """

    def __init__(self, function: Callable[..., Tensor], kept: Iterable[Array]):
        self.function = function
        self.kept = list(kept)
        self._program: Program | None = None
        self._inputs: tuple[Array, ...] | None = None  # those recorded

    def __call__(self, *inputs: Array) -> Array:
        """What the function gives; an array that the next call may overwrite."""
        if self._program is not None and all(map(_alike, inputs, self._inputs or ())):
            self._program(*inputs)
            return self._program.results[0]
        with no_grad():
            if self._inputs is not None:
                return self.function(*inputs).value
            self._inputs = tuple(map(np.array, inputs))
            tape = Tape(self._inputs)
            for array in self.kept:
                tape.keep(array)
            with tape.on():
                value = self.function(*self._inputs).value
        try:
            plan = tape.finish([value])
        except RefusedError:
            return value  # and so will be the others, without a program
        self._program = plan.program(plan.scratch())
        return value


def _parts(inputs: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """The inputs of each part: rows of arrays, children of generators, all else as it is."""
    arrays = [each for each in inputs if _is_array(each)]
    count = _count(arrays[0].shape) if arrays else 1
    if count == 1:
        return [inputs]
    if any(len(each) != len(arrays[0]) for each in arrays):
        raise ValueError("the inputs differ in their number of rows")
    split = [
        np.split(each, count)
        if _is_array(each)
        else each.spawn(count)
        if isinstance(each, np.random.Generator)
        else [each] * count
        for each in inputs
    ]
    return list(zip(*split, strict=True))


def _count(shape: tuple[int, ...]) -> int:
    """Into how many parts a batch of this shape is cut."""
    count = 1
    while (
        2 * count <= PARTS
        and shape[0] % (2 * count) == 0
        and math.prod(shape) >= 2 * count * PART_NUMBERS
    ):
        count *= 2
    return count


def _alike(given: Any, recorded: Any) -> bool:
    """Whether what was recorded with one input will do for another."""
    if _is_array(recorded):
        return _is_array(given) and given.shape == recorded.shape and given.dtype == recorded.dtype
    if isinstance(recorded, np.random.Generator):
        return isinstance(given, np.random.Generator)
    return given is recorded or (type(given) is type(recorded) and bool(given == recorded))


def _is_array(thing: Any) -> bool:
    return isinstance(thing, np.ndarray)
