"""The loss and gradients of a training step: cut into parts for the threads, recorded, repeated.

A batch is cut along its first axis into parts; their number depends on its shape, not on the number
of threads. One thread computes all of the loss and gradients of a part, and the gradients are
summed in the order of the parts. So the bits of the results do not depend on the threads.

Apart from the values, a part repeats the same arithmetic in every step. So two steps are traced;
if they made the same calls, later steps repeat these in the same order without building a graph,
until a Python value changes that the loss may read, such as an attribute of a layer.
"""

import functools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from lmladder import kernels
from lmladder.autograd.state import PythonState
from lmladder.autograd.tensor import Tensor, no_grad
from lmladder.system.arrays import Array
from lmladder.tracing import Plan, Program, Trace, plain

import numpy as np

PARTS = 4  # maximum number of parts: a power of two, so that dividing by it is exact
PART_NUMBERS = 384  # minimum number of elements of an input of a part, for efficient products


class CapturedLoss:
    """A loss that is a mean over the first axis of its inputs, with its gradients.

    The results have the same bits whether programs or graphs compute them. Graphs are used for
    inputs of other shapes than those of the first call, for a loss that cannot be traced, and in
    calls before which a Python value has changed; see `PythonState`.

    Parameters
    ----------
    loss : function of the inputs that returns a Tensor with one element. It may use NumPy outside
        of ops.
    parameters : the leaves that `loss` depends on, all of one dtype
    share : factor of the loss and its gradients; 1 / n for each of the n batches of a step
    split : cut batches into parts, for which the loss must be a mean of independent terms

    Attributes
    ----------
    programs : one for each part of a batch; empty before the third call
    """

    def __init__(
        self,
        loss: Callable[..., Tensor],
        parameters: Iterable[Tensor],
        *,
        share: float = 1.0,
        split: bool = True,
    ):
        self.loss, self.share, self.parameters = loss, share, list(parameters)
        self.most = PARTS if split else 1
        self.programs: list[Program] = []
        self._state = PythonState(loss)
        self._rejected: str | None = None  # why the loss cannot be traced
        self._change: str | None = None  # a Python value that changed before the last call
        self._changes = 0  # number of calls up to the last one, before each of which one changed
        self._recording: _Recording | None = None
        self._threads = 0  # number of threads that the programs are made for

    @property
    def untraceable_reason(self) -> str | None:
        """Why calls compute graphs; None if a program repeats them, or may after further calls."""
        if self._changes > 1:
            return f"{self._change} changes from call to call"
        return self._rejected

    def __call__(self, *inputs: Any) -> float:
        """Return the mean loss times `share`, and add to the `grad` of each parameter.

        A `grad` that was None becomes an array that the next call overwrites.

        Parameters
        ----------
        inputs : arrays of one length; random generators, of which each part gets a child; and None,
            numbers and strings

        Raises
        ------
        ValueError
            If the arrays differ in length.
        """
        parts = _parts(inputs, self.most)
        if self._rejected is not None or self._has_changed():
            return self._by_graph(parts, record=False)
        found = self._recording
        if found and not all(map(operator.is_, found.values, self._values())):
            found = self._recording = None  # the parameters have other arrays than before
        fits = found is not None and found.signature == (len(parts), _signature(parts[0]))
        if found and fits and found.confirmed:
            return self._repeat(found, parts)
        return self._by_graph(parts, record=fits or found is None)

    def _has_changed(self) -> bool:
        """Return whether a value that the loss may read has changed since the call before."""
        self._change = self._state.change()
        if self._change is None:
            self._changes = 0
            return False
        self._changes += 1
        self._state, self._recording = PythonState(self.loss), None
        return True

    def _values(self) -> list[Array]:
        return [parameter._value for parameter in self.parameters]

    def by_graph(self, *inputs: Any) -> float:
        """Do the same as `__call__` without programs."""
        return self._by_graph(_parts(inputs, self.most), record=False)

    def losses(self, *inputs: Any) -> Iterator[Tensor]:
        """Yield the loss of each part as a graph; their sum is the loss of the batch."""
        parts = _parts(inputs, self.most)
        for part in parts:
            with _on_one_thread(parts):
                yield self._loss_of(len(parts), part)

    def _by_graph(self, parts: list[tuple[Any, ...]], *, record: bool) -> float:
        before = [parameter.grad for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None
        losses = []
        for number, part in enumerate(parts):
            compute = self._record if record and number == 0 else self._forward_and_back
            with _on_one_thread(parts):
                losses.append(compute(len(parts), part)[0])
        total = functools.reduce(operator.add, losses)
        for parameter, earlier in zip(self.parameters, before, strict=True):
            if earlier is not None:
                parameter.grad = earlier if parameter.grad is None else earlier + parameter.grad
        return float(total)

    def _loss_of(self, count: int, part: Sequence[Any]) -> Tensor:
        """Return the term of the loss that one of `count` parts contributes."""
        loss = self.loss(*part)
        return loss if self.share == count else loss * (self.share / count)

    def _forward_and_back(self, count: int, part: Sequence[Any]) -> list[Array]:
        """Return the term of the loss of one of `count` parts, and the gradients so far."""
        loss = self._loss_of(count, part)
        loss.backward()
        return [loss.value, *(each.grad for each in self.parameters if each.grad is not None)]

    def _record(self, count: int, part: tuple[Any, ...]) -> list[Array]:
        """Compute the term of the first part, and plan programs for all parts."""
        compute = functools.partial(self._forward_and_back, count)
        values = self._values()
        results, plan, self._rejected = _traced(compute, part, self.parameters)
        if plan is None:
            return results
        first, self._recording, self._threads = self._recording, None, 0
        if first is not None and (name := plan.difference(first.plan)) is not None:
            self._rejected = f"{name} depends on more than the inputs and the parameters"
            return results
        reached = [each for each in self.parameters if each.grad is not None]
        signature = count, _signature(part)
        self._recording = _Recording(signature, values, reached, plan, first is not None)
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
        loss, *gradients = programs[0].results
        for parameter, gradient in zip(recording.reached, gradients, strict=True):
            if parameter.grad is gradient:  # from the call before; the programs overwrite it
                parameter.grad = gradient.copy()

        def work(worker: int) -> None:
            with _on_one_thread(parts):
                for part in range(worker, len(parts), workers):
                    programs[part](*parts[part])

        kernels.parallel_for(work, workers)
        if len(programs) > 1:
            kernels.sum_into([program.memory.view(loss.dtype) for program in programs])
        for parameter, gradient in zip(recording.reached, gradients, strict=True):
            earlier = parameter.grad
            parameter.grad = gradient if earlier is None else earlier + gradient
        return float(loss)


@dataclass(frozen=True)
class _Recording:
    """A plan for programs, and the conditions under which it is valid.

    Attributes
    ----------
    signature : the number of parts, and what the inputs of each have in common
    values : arrays of all parameters
    reached : the parameters that have a gradient
    confirmed : whether a second call resulted in the same plan
    """

    signature: tuple[int, list[Any]]
    values: list[Array]
    reached: list[Tensor]
    plan: Plan
    confirmed: bool


class CapturedFunction:
    """A function of arrays, without gradients, that a program repeats from the second call on.

    Parameters
    ----------
    function : function of the inputs, with the restrictions of the loss of `CapturedLoss`
    tensors : leaves that it reads, or whose arrays it writes
    """

    def __init__(self, function: Callable[..., Tensor], tensors: Iterable[Tensor]):
        self.function, self.tensors = function, list(tensors)
        self._program: Program | None = None
        self._recorded: Any = None  # signature of the recorded inputs

    def __call__(self, *inputs: Any) -> Array:
        """Return the result of the function, an array that the next call may overwrite."""
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
    """Return compute(inputs), a plan for programs that repeat it, and why there is none."""
    trace = Trace()
    generators = [each for each in inputs if isinstance(each, np.random.Generator)]
    states = [each.bit_generator.state for each in generators]
    try:
        for tensor in tensors:
            tensor._value = trace.live(plain(tensor._value))
        with trace.on():
            results = compute([trace.input(each) for each in inputs])
            plan = trace.finish(results)
    except Exception as error:  # for example, of code that requires arrays
        plan, results, trace.untraceable_reason = None, [], f"{type(error).__name__}: {error}"
    finally:
        for tensor in tensors:
            tensor._value, tensor.grad = plain(tensor._value), plain(tensor.grad)
    if not results:
        for each, state in zip(generators, states, strict=True):
            each.bit_generator.state = state
        for tensor in tensors:
            tensor.grad = None
        results = compute(inputs)
    return plain(results), plan, trace.untraceable_reason


def _on_one_thread(parts: list[Any]) -> Any:
    """Return a context in which the computation of a part, if not the only one, uses one thread."""
    return kernels.no_partitioning() if len(parts) > 1 else nullcontext()


def _parts(inputs: tuple[Any, ...], most: int) -> list[tuple[Any, ...]]:
    """Return the inputs of each part: slices of arrays, children of generators, all else as it is.

    Arrays are C-contiguous, because the bits of sums depend on the layout and a program has one.
    """
    inputs = tuple(
        np.asanyarray(each, order="C") if isinstance(each, np.ndarray) else each for each in inputs
    )
    arrays = [each for each in inputs if isinstance(each, np.ndarray)]
    count = _count(arrays[0].shape, most) if arrays else 1
    if count == 1:
        return [inputs]
    if any(len(each) != len(arrays[0]) for each in arrays):
        raise ValueError("the inputs differ in length")
    return list(zip(*[_cut(each, count) for each in inputs], strict=True))


def _cut(given: Any, count: int) -> Sequence[Any]:
    """Return an input for each part."""
    if isinstance(given, np.ndarray):
        return np.split(given, count)
    return given.spawn(count) if isinstance(given, np.random.Generator) else [given] * count


def _count(shape: tuple[int, ...], most: int) -> int:
    """Return the number of parts of a batch of this shape."""
    count, most = 1, min(most, math.prod(shape) // PART_NUMBERS)
    while 2 * count <= most and shape[0] % (2 * count) == 0:
        count *= 2
    return count


def _signature(inputs: Sequence[Any]) -> list[Any]:
    """Return what two calls must have in common for a program of one to be valid for the other."""
    kinds = np.ndarray | np.generic | np.random.Generator
    return [
        (type(each), getattr(each, "shape", None), getattr(each, "dtype", None))
        if isinstance(each, kinds)
        else (type(each), each)
        for each in inputs
    ]
