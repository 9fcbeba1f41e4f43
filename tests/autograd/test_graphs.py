"""Whole graphs: random programs of ops, judged by differences and by the engine of single numbers.

A program is data. It begins with leaves, and each step applies an op to any of the arrays so far:
some are used often, some never, and the last is the result. What a step may be is the table OPS,
where every op has its formula in NumPy; on object arrays of Values the formulas are the judge.
"""

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from string import ascii_lowercase
from typing import Any, TypeAlias

from lmladder.autograd import Tensor, functional, gradcheck, no_grad, ops
from lmladder.autograd.cases import CASES
from lmladder.autograd.gradcheck import TOLERANCE
from lmladder.autograd.scalar import Value
from lmladder.system.arrays import Array, FloatArray
from lmladder.system.streams import stream

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays, basic_indices, valid_tuple_axes

Shape: TypeAlias = tuple[int, ...]
Options: TypeAlias = st.SearchStrategy[dict[str, Any]]
Values: TypeAlias = Any  # an object array of Values

# ------------------------------------------------------------------------------- formulas

RATE = 0.4  # of dropout


def erf(x: Value) -> Value:
    return Value(math.erf(x.data), (x,), (2 / math.sqrt(math.pi) * math.exp(-(x.data**2)),))


def gelu(a: Values) -> Values:
    return a * (1 + np.frompyfunc(erf, 1, 1)(a / 2**0.5)) / 2


def gelu_tanh(a: Values) -> Values:
    return a * (1 + np.tanh((2 / math.pi) ** 0.5 * (a + 0.044715 * a**3))) / 2


def var(a: Values, axis: Any, keepdims: bool) -> Values:
    return np.mean((a - np.mean(a, axis, keepdims=True)) ** 2, axis, keepdims=keepdims)


def softmax(a: Values) -> Values:
    return np.exp(a) / np.exp(a).sum(axis=-1, keepdims=True)


def cross_entropy(logits: Values, *, targets: Array) -> Values:
    return -np.mean(np.take_along_axis(np.log(softmax(logits)), targets[..., None], axis=-1))


def rms_norm(x: Values, weight: Values) -> Values:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-5) * weight


def layer_norm(x: Values, weight: Values, bias: Values) -> Values:
    return rms_norm(x - np.mean(x, axis=-1, keepdims=True), weight) + bias


def causal_attention(q: Values, k: Values, v: Values) -> Values:
    queries, keys = q.shape[-2], k.shape[-2]
    powers = np.exp(q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5)
    powers = powers * np.tri(queries, keys, keys - queries)
    return powers / powers.sum(axis=-1, keepdims=True) @ v


def rotary(x: Values, *, positions: Array) -> Values:
    time, size = x.shape[-2:]
    out = x.copy()
    for t, i in np.ndindex(time, size // 2):
        angle = positions[t] / 10_000 ** (2 * i / size)
        a, b = x[..., t, i], x[..., t, i + size // 2]
        out[..., t, i] = a * math.cos(angle) - b * math.sin(angle)
        out[..., t, i + size // 2] = b * math.cos(angle) + a * math.sin(angle)
    return out


def sigmoid(a: Values) -> Values:
    return 1 / (1 + np.exp(-a))


def rnn(x: Values, weight: Values) -> Values:
    state = x[:, 0] * 0
    out = x.copy()
    for t in range(x.shape[1]):
        out[:, t] = state = np.tanh(x[:, t] + state @ weight)
    return out


def gru(x: Values, weight: Values) -> Values:
    n = len(weight)
    state = x[:, 0, :n] * 0
    out = x[..., :n].copy()
    for t in range(x.shape[1]):
        r, z, c = x[:, t, :n], x[:, t, n : 2 * n], x[:, t, 2 * n :]
        reset = sigmoid(r + state @ weight[:, :n])
        update = sigmoid(z + state @ weight[:, n : 2 * n])
        candidate = np.tanh(c + (reset * state) @ weight[:, 2 * n :])
        out[:, t] = state = update * state + (1 - update) * candidate
    return out


def scatter_add(a: Values, updates: Values, *, indices: Array, axis: int) -> Values:
    out = a.copy()
    for place in np.ndindex(indices.shape):
        target = list(place)
        target[axis] = indices[place]
        out[tuple(target)] += updates[place]
    return out


def dropout(x: Values, *, seed: int) -> Values:
    kept = np.random.default_rng(seed).random(x.shape, dtype=np.float32) >= RATE
    return x * kept / (1 - RATE)


# ------------------------------------------------------------------------------- which arrays

GAP = 0.01  # how far numbers stay from kinks and ties


def anything(*_: FloatArray) -> bool:
    return True


def has_axes(a: FloatArray) -> bool:
    return a.ndim > 0


def not_zero(a: FloatArray) -> bool:
    return bool(np.abs(a).min() > GAP)


def positive(a: FloatArray) -> bool:
    return bool(a.min() > 0.2)


def all_different(a: FloatArray) -> bool:
    return bool(np.diff(np.sort(a, axis=None)).min(initial=1) > GAP)


def of_one_shape(a: FloatArray, b: FloatArray, c: FloatArray) -> bool:
    return a.shape == b.shape == c.shape


def joinable(a: FloatArray, b: FloatArray) -> bool:
    return a.ndim == b.ndim > 0 and sum(m != n for m, n in zip(a.shape, b.shape, strict=True)) < 2


def broadcasting(a: FloatArray, b: FloatArray) -> bool:
    pairs = zip(a.shape[::-1], b.shape[::-1], strict=False)
    return all(m == n or 1 in (m, n) for m, n in pairs)


def never_equal(a: FloatArray, b: FloatArray) -> bool:
    return broadcasting(a, b) and not_zero(a - b)


def multipliable(a: FloatArray, b: FloatArray) -> bool:
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-min(b.ndim, 2)]:
        return False
    return min(a.ndim, b.ndim) == 1 or broadcasting(a[..., 0, 0], b[..., 0, 0])


def weight_and_bias(x: FloatArray, weight: FloatArray, bias: FloatArray) -> bool:
    return x.ndim > 0 and bias.ndim == 1 and weight.shape == (x.shape[-1], len(bias))


def scales(x: FloatArray, *weights: FloatArray) -> bool:
    """Weights of x's last axis, along which x varies: next to 0 a norm bends sharply."""
    if not x.ndim or any(weight.shape != x.shape[-1:] for weight in weights):
        return False
    return bool(x.std(axis=-1).min() > 0.2)


def queries_keys_values(q: FloatArray, k: FloatArray, v: FloatArray) -> bool:
    if q.ndim != 4 or k.shape != v.shape or not joinable(q, k):
        return False
    return q.shape[2] <= k.shape[2] and q[:, :, 0].shape == k[:, :, 0].shape


def points(x: FloatArray) -> bool:
    return x.ndim > 1 and x.shape[-1] % 2 == 0


def recurrent(x: FloatArray, weight: FloatArray) -> bool:
    return x.ndim == 3 and weight.shape == (x.shape[2], x.shape[2])


def gated_recurrent(x: FloatArray, weight: FloatArray) -> bool:
    return x.ndim == 3 and weight.shape == (x.shape[2] // 3, x.shape[2]) and x.shape[2] % 3 == 0


# ------------------------------------------------------------------------------- which options


def no_options(*_: FloatArray) -> Options:
    return st.just({})


def named(**strategies: st.SearchStrategy[Any]) -> Options:
    return st.fixed_dictionaries(strategies)


def axis_of(a: FloatArray, *, more: int = 0) -> st.SearchStrategy[int]:
    """An axis from the front or the back, of an array that has so many more."""
    return st.integers(-a.ndim - more, a.ndim + more - 1)


def some_axes_of(a: FloatArray) -> st.SearchStrategy[Any]:
    several = st.none() | valid_tuple_axes(a.ndim)
    return several | axis_of(a) if a.ndim else several


def odd_axis(a: FloatArray, b: FloatArray) -> st.SearchStrategy[int]:
    """The one in which they differ; any if there is none."""
    differ = [axis for axis in range(a.ndim) if a.shape[axis] != b.shape[axis]]
    return st.sampled_from(differ or range(a.ndim))


def numbers_below(count: int, shape: Shape) -> st.SearchStrategy[Array]:
    return arrays(np.int64, shape, elements=st.integers(0, count - 1))


def places_in(length: int, shape: Shape) -> st.SearchStrategy[Array]:
    """Indices along an axis, from the front or the back."""
    return arrays(np.int64, shape, elements=st.integers(-length, length - 1))


def reduced(a: FloatArray) -> Options:
    return named(axis=some_axes_of(a), keepdims=st.booleans())


def exponents(a: FloatArray) -> Options:
    return named(exponent=st.sampled_from([0.0, 1.0, 2.0, 3.0] + [-1.0, 0.5] * positive(a)))


def to_one(_: FloatArray) -> Options:
    return st.just({"min": -1.0, "max": 1.0})


def condition(a: FloatArray, b: FloatArray) -> Options:
    return named(condition=arrays(bool, np.broadcast_shapes(a.shape, b.shape)))


def new_shapes(a: FloatArray) -> Options:
    divisors = [n for n in range(1, a.size + 1) if a.size % n == 0]
    shapes = [-1, *((n, -1) for n in divisors), *((-1, 1, n) for n in divisors)]
    return named(shape=st.sampled_from(shapes))


def indices(a: FloatArray) -> Options:
    found: st.SearchStrategy[Any] = basic_indices(a.shape, allow_newaxis=True)
    if a.ndim:
        found |= arrays(bool, a.shape)
        found |= places_in(len(a), (2, 2))
        found |= st.lists(st.integers(-len(a), len(a) - 1), min_size=1, max_size=3)
        found |= st.tuples(st.just(...), places_in(a.shape[-1], (3,)))
    return named(index=found)


def permuted(a: FloatArray) -> Options:
    return named(axes=st.none() | st.permutations(range(a.ndim)))


def joined(a: FloatArray, b: FloatArray) -> Options:
    return named(axis=odd_axis(a, b))


def stacked(a: FloatArray, *_: FloatArray) -> Options:
    return named(axis=axis_of(a, more=1))


def ids(table: FloatArray) -> Options:
    return named(ids=numbers_below(len(table), (2, 2)))


def targets(logits: FloatArray) -> Options:
    return named(targets=numbers_below(logits.shape[-1], logits.shape[:-1]))


@st.composite
def gathered(draw: st.DrawFn, a: FloatArray) -> dict[str, Any]:
    axis = draw(axis_of(a))
    shape = list(a.shape)
    shape[axis] = draw(st.integers(1, 3))
    return {"indices": draw(places_in(a.shape[axis], tuple(shape))), "axis": axis}


@st.composite
def scattered(draw: st.DrawFn, a: FloatArray, updates: FloatArray) -> dict[str, Any]:
    axis = draw(odd_axis(a, updates))
    return {"indices": draw(places_in(a.shape[axis], updates.shape)), "axis": axis}


@st.composite
def subscripts(draw: st.DrawFn, *inputs: FloatArray) -> dict[str, Any]:
    """A letter for each axis, a new one or one of the same length; some of them are left."""
    lengths: dict[str, int] = {}
    labels = [""] * len(inputs)
    for place, array in enumerate(inputs):
        for length in array.shape:
            known = [letter for letter in lengths if lengths[letter] == length]
            letter = draw(st.sampled_from([*known, ascii_lowercase[len(lengths)]]))
            lengths[letter] = length
            labels[place] += letter
    left = draw(st.permutations(list(lengths)))[: draw(st.integers(0, 3))]
    return {"subscripts": f"{','.join(labels)}->{''.join(left)}"}


# ------------------------------------------------------------------------------- the ops


@dataclass(frozen=True)
class Op:
    """What a step may be.

    Parameters
    ----------
    inputs : how many arrays the op takes
    formula : what it does, in NumPy
    fits : whether it takes these arrays, and none has a kink, a tie or a pole nearby
    options : those that it may have for these arrays
    """

    inputs: int
    formula: Callable[..., Any]
    fits: Callable[..., bool] = anything
    options: Callable[..., Options] = no_options


OPS: dict[str, Op] = {
    "add": Op(2, np.add, broadcasting),
    "subtract": Op(2, np.subtract, broadcasting),
    "multiply": Op(2, np.multiply, broadcasting),
    "divide": Op(2, np.divide, lambda a, b: broadcasting(a, b) and np.abs(b).min() > 0.2),
    "negative": Op(1, np.negative),
    "power": Op(1, lambda a, exponent: a**exponent, options=exponents),
    "matmul": Op(2, np.matmul, multipliable),
    "einsum": Op(2, lambda *a, subscripts: np.einsum(subscripts, *a), options=subscripts),
    "sum": Op(1, np.sum, options=reduced),
    "mean": Op(1, np.mean, options=reduced),
    "var": Op(1, var, options=reduced),
    "max": Op(1, np.max, all_different, reduced),
    "min": Op(1, np.min, all_different, reduced),
    "logsumexp": Op(1, lambda a, **over: np.log(np.sum(np.exp(a), **over)), options=reduced),
    "norm": Op(1, lambda a, **over: np.sqrt(np.sum(a * a, **over)), not_zero, reduced),
    "cumsum": Op(1, np.cumsum, has_axes, lambda a: named(axis=st.none() | axis_of(a))),
    "exp": Op(1, np.exp, lambda a: a.max() < 2),
    "log": Op(1, np.log, positive),
    "sqrt": Op(1, np.sqrt, positive),
    "tanh": Op(1, np.tanh),
    "abs": Op(1, lambda a: np.where(a > 0, a, -a), not_zero),
    "clip": Op(1, np.clip, lambda a: not_zero(np.abs(a) - 1), to_one),
    "maximum": Op(2, np.maximum, never_equal),
    "minimum": Op(2, np.minimum, never_equal),
    "where": Op(2, lambda a, b, condition: np.where(condition, a, b), broadcasting, condition),
    "reshape": Op(1, np.reshape, options=new_shapes),
    "transpose": Op(1, np.transpose, options=permuted),
    "flip": Op(1, np.flip, options=lambda a: named(axis=some_axes_of(a))),
    "squeeze": Op(1, np.squeeze),
    "expand_dims": Op(1, np.expand_dims, options=lambda a: named(axis=axis_of(a, more=1))),
    "swapaxes": Op(1, np.swapaxes, has_axes, lambda a: named(axis1=axis_of(a), axis2=axis_of(a))),
    "concat": Op(2, lambda *a, axis: np.concat(a, axis), joinable, joined),
    "stack": Op(3, lambda *a, axis: np.stack(a, axis), of_one_shape, stacked),
    "getitem": Op(1, lambda a, index: a[index], options=indices),
    "take_along_axis": Op(1, np.take_along_axis, has_axes, gathered),
    "scatter_add": Op(2, scatter_add, joinable, scattered),
    "linear": Op(3, lambda x, weight, bias: x @ weight + bias, weight_and_bias),
    "sigmoid": Op(1, sigmoid),
    "relu": Op(1, lambda a: np.maximum(a, 0.0), not_zero),
    "relu_squared": Op(1, lambda a: np.maximum(a, 0.0) ** 2, not_zero),
    "gelu": Op(1, gelu),
    "gelu_tanh": Op(1, gelu_tanh),
    "silu": Op(1, lambda a: a / (1 + np.exp(-a))),
    "embedding": Op(1, lambda table, ids: table[ids], lambda a: a.ndim == 2, ids),
    "softmax": Op(1, softmax, has_axes),
    "log_softmax": Op(1, lambda a: np.log(softmax(a)), has_axes),
    "cross_entropy": Op(1, cross_entropy, has_axes, targets),
    "layer_norm": Op(3, layer_norm, scales),
    "rms_norm": Op(2, rms_norm, scales),
    "causal_attention": Op(3, causal_attention, queries_keys_values),
    "rotary": Op(1, rotary, points, lambda x: named(positions=numbers_below(9, x.shape[-2:-1]))),
    "rnn": Op(2, rnn, recurrent),
    "gru": Op(2, gru, gated_recurrent),
    "dropout": Op(1, dropout, options=lambda _: named(seed=st.integers(0, 9))),
}
OTHERS = {
    "astype",  # a program is of one type
    "split",  # has several results, each a getitem
}

# Ops that take generators, or arrays that are no Tensors: both are options of a step.
CALLS: dict[str, Callable[..., Tensor]] = {
    "where": lambda a, b, condition: ops.where(condition, a, b),
    "take_along_axis": lambda a, indices, axis: ops.take_along_axis(a, indices, axis=axis),
    "scatter_add": lambda a, b, indices, axis: ops.scatter_add(a, indices, b, axis=axis),
    "embedding": lambda table, ids: functional.embedding(table, ids),
    "cross_entropy": lambda logits, targets: functional.cross_entropy(logits, targets),
    "rotary": lambda x, positions: functional.rotary(x, positions),
    "dropout": lambda x, seed: functional.dropout(x, rate=RATE, rng=np.random.default_rng(seed)),
}

# ------------------------------------------------------------------------------- programs


@dataclass(frozen=True)
class Step:
    """An op of the arrays with these numbers."""

    op: str
    inputs: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        options = (f"{name}={' '.join(repr(each).split())}" for name, each in self.options.items())
        return f"{self.op}({', '.join([*(f'x{place}' for place in self.inputs), *options])})"

    def on_tensors(self, *inputs: Tensor) -> Tensor:
        module = ops if hasattr(ops, self.op) else functional
        call = CALLS.get(self.op) or getattr(module, self.op)
        return call(*inputs, **self.options)

    def on_values(self, *inputs: Values) -> Values:
        return of_values(OPS[self.op].formula(*inputs, **self.options))


def of_values(numbers: Any) -> Values:
    """An array of Values; those that are no Values yet become leaves."""
    lift = np.frompyfunc(lambda each: each if isinstance(each, Value) else Value(each), 1, 1)
    return np.asarray(lift(np.asarray(numbers, object)), object)


@dataclass(frozen=True, repr=False)
class Program:
    """Leaves of these shapes, whose numbers the seed decides, and steps."""

    shapes: tuple[Shape, ...]
    steps: tuple[Step, ...]
    seed: int

    def __repr__(self) -> str:
        leaves = [f"x{place} = leaf{shape}" for place, shape in enumerate(self.shapes)]
        steps = [f"x{place} = {step}" for place, step in enumerate(self.steps, len(leaves))]
        return "\n    ".join([f"program of seed {self.seed}:", *leaves, *steps])

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(repr(self))  # in Hypothesis's reports too

    def arrays(self) -> list[FloatArray]:
        """The numbers of the leaves."""
        rng = stream(self.seed, "leaves")
        return [np.asarray(rng.uniform(-2, 2, shape)) for shape in self.shapes]

    def tensors(self, dtype: Any = np.float64) -> list[Tensor]:
        return [Tensor(array.astype(dtype), requires_grad=True) for array in self.arrays()]

    def upstream(self, out: Tensor) -> FloatArray:
        """A gradient for the result."""
        return np.asarray(stream(self.seed, "upstream").standard_normal(out.shape), out.dtype)

    def results(self, leaves: Sequence[Any], do: Callable[..., Any] = Step.on_tensors) -> list[Any]:
        """The leaves, and after them the result of each step."""
        found = list(leaves)
        for step in self.steps:
            found.append(do(step, *(found[place] for place in step.inputs)))
        return found

    def run(self, leaves: Sequence[Tensor]) -> Tensor:
        return self.results(leaves)[-1]

    def run_on_demand(self, leaves: Sequence[Tensor]) -> Tensor:
        """The same, but each step when something wants it, its last input first, or never."""

        @functools.cache
        def result(place: int) -> Tensor:
            if place < len(leaves):
                return leaves[place]
            step = self.steps[place - len(leaves)]
            inputs = [result(each) for each in reversed(step.inputs)]
            return step.on_tensors(*reversed(inputs))

        return result(len(leaves) + len(self.steps) - 1)


SHAPES: list[Shape] = [
    (), (1,), (2,), (3,), (1, 3), (2, 3), (3, 2), (3, 1), (2, 2), (3, 3), (2, 1, 3), (1, 4, 3),
    (1, 2, 3, 2),
]  # fmt: skip
LARGEST_SIZE, LARGEST_NUMBER = 48, 20.0
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
            places
            for places in itertools.product(range(len(found)), repeat=op.inputs)
            if op.fits(*(found[place] for place in places))
        ]
        if not fitting:
            continue
        of_the_last = [places for places in fitting if len(found) - 1 in places]
        places = draw(st.sampled_from(of_the_last or fitting))
        inputs = [found[place] for place in places]
        step = Step(name, places, draw(op.options(*inputs)))
        with no_grad():
            out = step.on_tensors(*map(Tensor, inputs)).value
        if 0 < out.size <= LARGEST_SIZE and np.abs(out).max() <= LARGEST_NUMBER:
            program = replace(program, steps=(*program.steps, step))
            found.append(out)
    return program


# ------------------------------------------------------------------------------- properties

any_program = given(programs())
thoroughly = settings(max_examples=100, derandomize=True, deadline=None, database=None)


def gradients(
    program: Program,
    run: Callable[[Program, Sequence[Tensor]], Tensor] = Program.run,
    *,
    times: int = 1,
    passes: int = 1,
) -> list[FloatArray]:
    """Of each leaf, after so many passes with so many times the upstream gradient."""
    leaves = program.tensors()
    for _ in range(passes):
        out = run(program, leaves)
        out.backward(times * program.upstream(out))
    return [gradient(leaf) for leaf in leaves]


def gradient(leaf: Tensor) -> FloatArray:
    return np.zeros_like(leaf.value) if leaf.grad is None else leaf.grad


def same(found: Sequence[FloatArray], wanted: Sequence[FloatArray]) -> bool:
    """To the last digit."""
    return all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


@any_program
@thoroughly
def test_gradients_agree_with_central_differences(program: Program) -> None:
    rng = stream(program.seed, "directions")
    worst = gradcheck(lambda *leaves: program.run(leaves), program.arrays(), rng=rng)
    assert worst < TOLERANCE


@any_program
@thoroughly
def test_values_and_gradients_are_those_of_single_numbers(program: Program) -> None:
    agree = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
    of_data = np.vectorize(lambda value: value.data, otypes=[float])
    of_grad = np.vectorize(lambda value: value.grad, otypes=[float])
    tensors, values = program.tensors(), [of_values(array) for array in program.arrays()]
    out = program.run(tensors)
    out_of_values = program.results(values, Step.on_values)[-1]
    agree(out.value, of_data(out_of_values))
    upstream = program.upstream(out)
    out.backward(upstream)
    np.sum(out_of_values * upstream).backward()
    for leaf, numbers in zip(tensors, values, strict=True):
        agree(gradient(leaf), of_grad(numbers))


@any_program
@thoroughly
def test_twice_the_upstream_gradient_gives_exactly_twice_the_gradients(program: Program) -> None:
    assert same(gradients(program, times=2), [2 * each for each in gradients(program)])


@any_program
@thoroughly
def test_two_passes_add_up_to_exactly_twice_the_gradients(program: Program) -> None:
    assert same(gradients(program, passes=2), [2 * each for each in gradients(program)])


@any_program
@thoroughly
def test_neither_the_order_of_steps_nor_unused_ones_change_a_gradient(program: Program) -> None:
    """But for rounding: the order of steps is that in which three gradients of one array add up."""
    found = gradients(program, Program.run_on_demand)
    for a, b in zip(found, gradients(program), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@any_program
@thoroughly
def test_among_constants_a_leaf_gets_the_same_gradient_to_the_bit(program: Program) -> None:
    for place, wanted in enumerate(gradients(program)):
        leaves = [Tensor(array) for array in program.arrays()]
        leaves[place].requires_grad = True
        out = program.run(leaves)
        if out.requires_grad:
            out.backward(program.upstream(out))
        assert same([gradient(leaves[place])], [wanted])


@any_program
@thoroughly
def test_float32_stays_float32_everywhere(program: Program) -> None:
    leaves = program.tensors(np.float32)
    results = program.results(leaves)
    results[-1].backward(program.upstream(results[-1]))
    assert {each.dtype for each in results} == {np.dtype(np.float32)}
    assert {gradient(leaf).dtype for leaf in leaves} == {np.dtype(np.float32)}


# ------------------------------------------------------------------------------- the programs


def test_every_op_may_be_in_a_program() -> None:
    assert OPS.keys() | OTHERS == {case.op for case in CASES}


def test_programs_have_every_op_and_both_reused_and_unused_results() -> None:
    steps, uses = Counter[str](), Counter[int]()

    @any_program
    @settings(thoroughly, max_examples=600)
    def look(program: Program) -> None:
        steps.update(step.op for step in program.steps)
        used = Counter(place for step in program.steps for place in step.inputs)
        uses.update(used[place] for place in range(len(program.shapes) + len(program.steps) - 1))

    look()
    assert steps.keys() == OPS.keys()
    never, often = uses[0], uses.total() - uses[0] - uses[1]
    assert min(never, often) > uses.total() / 10


def test_a_program_can_be_read() -> None:
    steps = (
        Step("multiply", (0, 1)),
        Step("getitem", (2,), {"index": (..., np.array([[0], [2]]))}),
        Step("sum", (3,), {"axis": (0, -1), "keepdims": True}),
    )
    assert repr(Program(((2, 3), ()), steps, seed=7)).splitlines() == [
        "program of seed 7:",
        "    x0 = leaf(2, 3)",
        "    x1 = leaf()",
        "    x2 = multiply(x0, x1)",
        "    x3 = getitem(x2, index=(Ellipsis, array([[0], [2]])))",
        "    x4 = sum(x3, axis=(0, -1), keepdims=True)",
    ]
