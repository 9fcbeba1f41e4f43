"""Whole graphs: random programs of ops, judged by the engine of single numbers.

A program is data. It begins with leaves, and each step applies an op to any of the arrays so far:
some are used often, some never, and the last is the result.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from lmladder.autograd import Tensor, functional, no_grad, ops
from lmladder.system.arrays import FloatArray
from lmladder.system.streams import stream
from tests.autograd.formulas import FORMULAS, Values, data_of, gradients_of, values_of

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays, basic_indices, valid_tuple_axes

Shape: TypeAlias = tuple[int, ...]
Options: TypeAlias = st.SearchStrategy[dict[str, Any]]

RATE = 0.4  # of dropout

# ------------------------------------------------------------------------------- which arrays


def anything(*_: FloatArray) -> bool:
    return True


def has_axes(a: FloatArray) -> bool:
    return a.ndim > 0


def not_zero(a: FloatArray) -> bool:
    return bool(np.abs(a).min() > 0.2)


def joinable(a: FloatArray, b: FloatArray) -> bool:
    return a.ndim == b.ndim > 0 and sum(m != n for m, n in zip(a.shape, b.shape, strict=True)) < 2


def broadcasting(a: FloatArray, b: FloatArray) -> bool:
    pairs = zip(a.shape[::-1], b.shape[::-1], strict=False)
    return all(m == n or 1 in (m, n) for m, n in pairs)


def multipliable(a: FloatArray, b: FloatArray) -> bool:
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-min(b.ndim, 2)]:
        return False
    return min(a.ndim, b.ndim) == 1 or broadcasting(a[..., 0, 0], b[..., 0, 0])


# ------------------------------------------------------------------------------- which options


def no_options(*_: FloatArray) -> Options:
    return st.just({})


def named(**strategies: st.SearchStrategy[Any]) -> Options:
    return st.fixed_dictionaries(strategies)


def axis_of(a: FloatArray) -> st.SearchStrategy[int]:
    """An axis, counted from the front or the back."""
    return st.integers(-a.ndim, a.ndim - 1)


def odd_axis(a: FloatArray, b: FloatArray) -> st.SearchStrategy[int]:
    """The axis in which they differ; any if there is none."""
    differ = [axis for axis in range(a.ndim) if a.shape[axis] != b.shape[axis]]
    return st.sampled_from(differ or range(a.ndim))


def reduced(a: FloatArray) -> Options:
    several = st.none() | valid_tuple_axes(a.ndim)
    return named(axis=several | axis_of(a) if a.ndim else several, keepdims=st.booleans())


def new_shapes(a: FloatArray) -> Options:
    divisors = [n for n in range(1, a.size + 1) if a.size % n == 0]
    return named(shape=st.sampled_from([-1, *((-1, 1, n) for n in divisors)]))


def indices(a: FloatArray) -> Options:
    found: st.SearchStrategy[Any] = basic_indices(a.shape, allow_newaxis=True)
    if a.ndim:
        found |= arrays(bool, a.shape)
        found |= st.lists(st.integers(-len(a), len(a) - 1), min_size=1, max_size=3)
        along = arrays(np.int64, 3, elements=st.integers(-a.shape[-1], a.shape[-1] - 1))
        found |= st.tuples(st.just(...), along)
    return named(index=found)


# ------------------------------------------------------------------------------- the ops


@dataclass(frozen=True)
class Op:
    """What a step may be.

    Parameters
    ----------
    inputs : how many arrays the op takes
    fits : whether it takes these arrays, and none has a kink, a tie or a pole nearby
    options : those that it may have for these arrays
    """

    inputs: int
    fits: Callable[..., bool] = anything
    options: Callable[..., Options] = no_options


# One or more of each sort: the others differ from these in their formula only.
OPS: dict[str, Op] = {
    "add": Op(2, broadcasting),
    "multiply": Op(2, broadcasting),
    "divide": Op(2, lambda a, b: broadcasting(a, b) and not_zero(b)),
    "matmul": Op(2, multipliable),
    "sum": Op(1, options=reduced),
    "tanh": Op(1),
    "relu": Op(1, not_zero),
    "reshape": Op(1, options=new_shapes),
    "transpose": Op(1, options=lambda a: named(axes=st.none() | st.permutations(range(a.ndim)))),
    "concat": Op(2, joinable, lambda a, b: named(axis=odd_axis(a, b))),
    "getitem": Op(1, options=indices),
    "softmax": Op(1, has_axes),
    "dropout": Op(1, options=lambda _: named(seed=st.integers(0, 9))),
}

# ------------------------------------------------------------------------------- programs


@dataclass(frozen=True)
class Step:
    """An op of the arrays with these numbers."""

    op: str
    inputs: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def on_tensors(self, *inputs: Tensor) -> Tensor:
        module = ops if hasattr(ops, self.op) else functional
        return self._call(getattr(module, self.op), inputs)

    def on_values(self, *inputs: Values) -> Values:
        return values_of(self._call(FORMULAS[self.op], inputs))

    def _call(self, function: Callable[..., Any], inputs: Sequence[Any]) -> Any:
        if self.op == "dropout":  # whose generator is made of an option of the step
            rng = np.random.default_rng(self.options["seed"])
            return function(*inputs, rate=RATE, rng=rng)
        return function(*inputs, **self.options)


@dataclass(frozen=True)
class Program:
    """Leaves of these shapes, whose values the seed determines, and steps."""

    shapes: tuple[Shape, ...]
    steps: tuple[Step, ...]
    seed: int

    def arrays(self) -> list[FloatArray]:
        """The values of the leaves."""
        rng = stream(self.seed, "leaves")
        return [np.asarray(rng.uniform(-2, 2, shape)) for shape in self.shapes]

    def upstream(self, out: Tensor) -> FloatArray:
        """A gradient for the result."""
        return np.asarray(stream(self.seed, "upstream").standard_normal(out.shape), out.dtype)

    def run(self, leaves: Sequence[Any], do: Callable[..., Any] = Step.on_tensors) -> Any:
        """Return the result of the last step."""
        found = list(leaves)
        for step in self.steps:
            found.append(do(step, *(found[number] for number in step.inputs)))
        return found[-1]


SHAPES: list[Shape] = [
    (), (1,), (2,), (3,), (1, 3), (2, 3), (3, 2), (3, 1), (2, 2), (3, 3), (2, 1, 3), (1, 4, 3),
]  # fmt: skip
MAX_SIZE, MAX_VALUE = 48, 20.0
NO_STEP = "nothing"  # what Hypothesis makes of steps that a failure does not need


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Programs of up to 12 steps, each of the result before if that fits, and of any others.

    A step that nothing fits is left out, and one whose result would be empty, or huge.
    """
    shapes = tuple(draw(st.lists(st.sampled_from(SHAPES), min_size=2, max_size=4)))
    program = Program(shapes, (), seed=draw(st.integers(0, 999)))
    found = program.arrays()
    for name in draw(st.lists(st.sampled_from([NO_STEP, *OPS]), min_size=6, max_size=12)):
        if name == NO_STEP:
            continue
        op = OPS[name]
        fitting = [
            numbers
            for numbers in itertools.product(range(len(found)), repeat=op.inputs)
            if op.fits(*(found[number] for number in numbers))
        ]
        if not fitting:
            continue
        of_the_last = [numbers for numbers in fitting if len(found) - 1 in numbers]
        numbers = draw(st.sampled_from(of_the_last or fitting))
        inputs = [found[number] for number in numbers]
        step = Step(name, numbers, draw(op.options(*inputs)))
        with no_grad():
            out = step.on_tensors(*map(Tensor, inputs)).value
        if 0 < out.size <= MAX_SIZE and np.abs(out).max() <= MAX_VALUE:
            program = replace(program, steps=(*program.steps, step))
            found.append(out)
    return program


# ------------------------------------------------------------------------------- properties

any_program = given(programs())
thoroughly = settings(max_examples=80, derandomize=True, deadline=None, database=None)


def tensors_of(program: Program) -> list[Tensor]:
    return [Tensor(array, requires_grad=True) for array in program.arrays()]


def gradient(leaf: Tensor) -> FloatArray:
    return np.zeros_like(leaf.value) if leaf.grad is None else leaf.grad


def test_values_and_gradients_are_those_of_single_numbers() -> None:
    steps, uses = Counter[str](), Counter[int]()

    @any_program
    @thoroughly
    def compare(program: Program) -> None:
        tensors, values = tensors_of(program), [values_of(each) for each in program.arrays()]
        out, expected = program.run(tensors), program.run(values, Step.on_values)
        np.testing.assert_allclose(out.value, data_of(expected), rtol=1e-9, atol=1e-12)
        upstream = program.upstream(out)
        out.backward(upstream)
        values_of(np.sum(expected * upstream)).item().backward()
        for leaf, each in zip(tensors, values, strict=True):
            np.testing.assert_allclose(gradient(leaf), gradients_of(each), rtol=1e-9, atol=1e-12)
        steps.update(step.op for step in program.steps)
        used = Counter(number for step in program.steps for number in step.inputs)
        uses.update(used[number] for number in range(len(tensors) + len(program.steps) - 1))

    compare()
    assert len(steps) > 0.9 * len(OPS)
    assert min(uses[0], uses.total() - uses[0] - uses[1]) > uses.total() / 10  # never, often
