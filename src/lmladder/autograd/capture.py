"""A training step's loss and gradients: in parts that threads work on, recorded, then repeated.

A batch is cut into parts of its rows, as many as its shape says, whatever the number of threads.
Each part goes forward and back by itself, on one thread, which then waits for no other; the
gradients are added up in the order of the parts. So the bits do not depend on the threads.

And what a part does is the same in each step, but for the values. So two steps are traced; if they
did the same, those after them repeat that arithmetic in the same order, without building a graph.
"""

import functools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from lmladder import kernels
from lmladder.autograd.tensor import Tensor, no_grad
from lmladder.system.arrays import Array
from lmladder.tracing import Plan, Program, Trace, plain

import numpy as np

PARTS = 4  # at most; a power of two, whose inverse is exact
PART_NUMBERS = 384  # that the inputs of a part have at least, such as tokens: for products to pay


class CapturedLoss:
    """A loss that is a mean over the rows of its inputs, with its gradients.

    Where no program can repeat it the same is done by graphs, to the same bits: for inputs of other
    shapes than the first ones, and for a loss that does what a trace cannot follow.

    Parameters
    ----------
    loss : of the inputs, one number. NumPy may be used outside of ops. Python's own numbers, such
        as an attribute of a layer, stay as they are if two calls in a row agree on them.
    parameters : the leaves that `loss` depends on, of one type
    share : what the loss counts for, and its gradients; 1 / n for one of n batches that make a step

    Attributes
    ----------
    refusal : why no program can repeat the loss; None if one can, or nothing has been called yet
    programs : one for each part of a batch; none before the third call
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
            a child; and None, numbers and strings
        """
        parts, found = _parts(inputs), self._recording
        if found and not all(map(operator.is_, self._values(), found.values)):
            found = self._recording = None  # the parameters are other arrays now
        fits = found is not None and found.signatures == list(map(_signature, parts))
        if found and fits and found.confirmed:
            return self._repeat(found, parts)
        return self._by_graph(parts, record=self.refusal is None and (fits or found is None))

    def by_graph(self, *inputs: Any) -> float:
        """The same without what was recorded."""
        return self._by_graph(_parts(inputs), record=False)

    def losses(self, *inputs: Any) -> Iterator[Tensor]:
        """The loss of each part as a graph, one after another; they sum to the loss of all."""
        parts = _parts(inputs)
        for part in parts:
            with _on_one_thread(parts):
                yield self._loss_of(len(parts), part)

    def _by_graph(self, parts: list[tuple[Any, ...]], *, record: bool) -> float:
        before = [parameter.grad for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None
        shares = []
        for number, part in enumerate(parts):
            compute = self._record if record and number == 0 else self._forward_and_back
            with _on_one_thread(parts):
                shares.append(compute(len(parts), part)[0])
        total = functools.reduce(operator.add, shares)
        for parameter, earlier in zip(self.parameters, before, strict=True):
            if earlier is not None:
                parameter.grad = earlier if parameter.grad is None else earlier + parameter.grad
        return float(total)

    def _values(self) -> list[Array]:
        return [parameter.value for parameter in self.parameters]

    def _loss_of(self, count: int, part: Sequence[Any]) -> Tensor:
        """What one of `count` parts adds to the loss."""
        loss = self.loss(*part)
        return loss if self.share == count else loss * (self.share / count)

    def _forward_and_back(self, count: int, part: Sequence[Any]) -> list[Array]:
        """What one of `count` parts adds to the loss, and the parameters' gradients so far."""
        loss = self._loss_of(count, part)
        value = loss.value
        loss.backward()
        return [value, *(each.grad for each in self.parameters if each.grad is not None)]

    def _record(self, count: int, part: tuple[Any, ...]) -> list[Array]:
        """The first part of the loss; what it does makes the programs of all parts."""
        compute, values = functools.partial(self._forward_and_back, count), self._values()
        results, plan, self.refusal = _traced(compute, part, self.parameters)
        if plan is not None:
            first = self._recording
            reached = [each for each in self.parameters if each.grad is not None]
            self._recording = _Recording(
                [_signature(part)] * count, values, reached, plan, confirmed=first is not None
            )
            self._threads = 0
            if first is not None and (name := plan.difference(first.plan)) is not None:
                self.refusal = f"{name} depends on more than the inputs and the parameters"
                self._recording = None
        return results

    def _repeat(self, recording: "_Recording", parts: list[tuple[Any, ...]]) -> float:
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
            with _on_one_thread(parts):
                for part in range(worker, len(parts), workers):
                    programs[part](*parts[part])

        kernels.parallel_for(work, workers)
        if len(programs) > 1:
            kernels.sum_into([program.as_flat_vector(share.dtype) for program in programs])
        for parameter, gradient in zip(recording.reached, gradients, strict=True):
            earlier = parameter.grad
            parameter.grad = gradient if earlier is None else earlier + gradient
        return float(share)


@dataclass(frozen=True)
class _Recording:
    """What a program was recorded with, and the plan for others like it.

    Attributes
    ----------
    signatures : of the inputs of each part
    values : of all parameters
    reached : the parameters that have a gradient
    confirmed : whether a second call came to the same plan
    """

    signatures: list[Any]
    values: list[Array]
    reached: list[Tensor]
    plan: Plan
    confirmed: bool


class CapturedFunction:
    """A function of arrays, without gradients, whose second call and later ones are programs.

    Parameters
    ----------
    function : of the inputs; may do and depend on what a loss may that `CapturedLoss` takes
    tensors : leaves that it reads, or whose arrays it writes
    """

    def __init__(self, function: Callable[..., Tensor], tensors: Iterable[Tensor]):
        self.function, self.tensors = function, list(tensors)
        self._program: Program | None = None
        self._recorded: Any = None  # the signature of the inputs that were

    def __call__(self, *inputs: Any) -> Array:
        """What the function returns; an array that the next call may overwrite."""
        signature = _signature(inputs)
        if self._program is not None and signature == self._recorded:
            self._program(*inputs)
            return self._program.results[0]

        def compute(given: Sequence[Any]) -> list[Array]:
            with no_grad():
                return [self.function(*given).value]

        if self._recorded is not None:
            return compute(inputs)[0]
        self._recorded = signature
        (value,), plan, _ = _traced(compute, inputs, self.tensors)
        if plan is not None:
            self._program = plan.program(plan.scratch())
        return value


def _traced(
    compute: Callable[[Sequence[Any]], list[Array]],
    inputs: tuple[Any, ...],
    tensors: Sequence[Tensor],
) -> tuple[list[Array], Plan | None, str | None]:
    """compute(inputs), a plan for programs that repeat it, and the reason if there is none."""
    trace = Trace()
    generators = [each for each in inputs if isinstance(each, np.random.Generator)]
    states = [each.bit_generator.state for each in generators]
    try:
        for tensor in tensors:
            tensor.value = trace.live(plain(tensor.value))
        with trace.on():
            results = compute([trace.input(each) for each in inputs])
            plan = trace.finish(results)
    except Exception as error:  # perhaps of code that expects nothing but arrays
        plan, results, trace.refusal = None, [], f"{type(error).__name__}: {error}"
    finally:
        for tensor in tensors:
            tensor.value, tensor.grad = plain(tensor.value), plain(tensor.grad)
    if not results:
        for each, state in zip(generators, states, strict=True):
            each.bit_generator.state = state
        for tensor in tensors:
            tensor.grad = None
        results = compute(inputs)
    return plain(results), plan, trace.refusal


def _on_one_thread(parts: list[Any]) -> Any:
    """A context for work on one of the parts, if there are several."""
    return kernels.no_partitioning() if len(parts) > 1 else nullcontext()


def _parts(inputs: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """The inputs of each part: rows of arrays, children of generators, all else as it is.

    Arrays are C-contiguous, as sums depend on the layout, and a program has one layout only.
    """
    inputs = tuple(np.asanyarray(each, order="C") if _is_array(each) else each for each in inputs)
    arrays = [each for each in inputs if _is_array(each)]
    count = _count(arrays[0].shape) if arrays else 1
    if count == 1:
        return [inputs]
    if any(len(each) != len(arrays[0]) for each in arrays):
        raise ValueError("the inputs differ in their number of rows")
    return list(zip(*[_cut(each, count) for each in inputs], strict=True))


def _cut(given: Any, count: int) -> Sequence[Any]:
    """An input for each part."""
    if _is_array(given):
        return np.split(given, count)
    return given.spawn(count) if isinstance(given, np.random.Generator) else [given] * count


def _count(shape: tuple[int, ...]) -> int:
    """Into how many parts a batch of this shape is cut."""
    count = 1
    while (
        2 * count <= PARTS
        and math.prod(shape) >= 2 * count * PART_NUMBERS
        and shape[0] % (2 * count) == 0
    ):
        count *= 2
    return count


def _signature(inputs: Sequence[Any]) -> list[Any]:
    """What is to be the same of some inputs for what was recorded with them to do for others."""
    kinds = np.ndarray | np.generic | np.random.Generator
    return [
        (type(each), getattr(each, "shape", None), getattr(each, "dtype", None))
        if isinstance(each, kinds)
        else (type(each), each)
        for each in inputs
    ]


def _is_array(thing: Any) -> bool:
    return isinstance(thing, np.ndarray)
