"""The cases of every op, and the check of its gradients by them.

A case draws its arrays from a generator, so any seed will do. The shapes include 0-d and empty
arrays, axes of length 1 and broadcasting. Draws avoid kinks and ties, where differences do not
approximate a derivative; `KINKS` has those, with their gradients.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lmladder.autograd import Tensor, functional, gradcheck, ops
from lmladder.autograd.gradcheck import TOLERANCE
from lmladder.nn import ACTIVATIONS
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.tracing import constant

import numpy as np

Function: TypeAlias = Callable[..., Tensor]
Draw: TypeAlias = Callable[[np.random.Generator], FloatArray]
Shape: TypeAlias = tuple[int, ...]


class Case:
    """A function of arrays made by `draws`, with options; the name begins with that of an op."""

    def __init__(self, name: str, function: Function, *draws: Draw, **options: Any):
        self.name, self.function, self.draws, self.options = name, function, draws, options
        self.op = name.partition(" ")[0]

    def __call__(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs, **self.options)

    def leaves(
        self, dtype: Any = np.float64, *, seed: int = 0, layout: str = "rows"
    ) -> tuple[list[Tensor], np.random.Generator]:
        """Return Tensors of the drawn arrays, and the generator for further draws."""
        rng = np.random.default_rng(seed)
        arrays = [LAYOUTS[layout](draw(rng).astype(dtype)) for draw in self.draws]
        return [Tensor(array, requires_grad=True) for array in arrays], rng

    def results(self, dtype: Any = np.float64, **options: Any) -> list[FloatArray]:
        """Return the value, then the gradients for a random upstream gradient."""
        leaves, rng = self.leaves(dtype, **options)
        out = self(*leaves)
        out.backward(np.asarray(rng.standard_normal(out.shape), out.dtype))
        return [out.value, *(leaf.grad for leaf in leaves if leaf.grad is not None)]


@dataclass(frozen=True)
class Kink:
    """Inputs at a kink or a tie, and the gradients for an upstream gradient of ones."""

    op: str
    function: Function
    inputs: list[list[float]]
    gradients: list[list[float]]

    def holds(self) -> bool:
        """Return whether the gradients are exactly these."""
        tensors = [Tensor(np.array(values, float), requires_grad=True) for values in self.inputs]
        out = self.function(*tensors)
        out.backward(np.ones_like(out.value))
        return [t.grad.tolist() for t in tensors if t.grad is not None] == self.gradients


# Functions that copy an array into another memory layout.
LAYOUTS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "rows": lambda array: np.array(array, order="C"),
    "columns": lambda array: np.array(array, order="F"),
    "reversed": lambda array: np.flip(np.flip(array).copy()),
    "gaps": lambda array: np.stack([array, np.full_like(array, np.nan)], axis=-1)[..., 0],
}

# ------------------------------------------------------------------------------- draws


def normal(*shape: int) -> Draw:
    return lambda rng: np.asarray(rng.standard_normal(shape))


def positive(*shape: int) -> Draw:
    return lambda rng: np.asarray(rng.uniform(0.5, 2.0, shape))


def apart(*shape: int) -> Draw:
    """Return a draw of odd multiples of 0.1: at least 0.1 from 0 and 0.2 from each other."""
    size = int(np.prod(shape))
    return lambda rng: np.asarray((rng.permutation(size) - size // 2 + 0.5).reshape(shape) * 0.2)


# ------------------------------------------------------------------------------- cases


def cases(
    function: Function,
    shapes: Iterable[Sequence[Shape]],
    *draws: Callable[..., Draw],
    **options: Any,
) -> list[Case]:
    """Return a case for each sequence of shapes; arrays without a draw of their own are normal."""
    op, suffix = function.__name__.strip("_"), f" {options}" if options else ""
    found = []
    for each in shapes:
        makers = [*draws, *[normal] * (len(each) - len(draws))]
        arrays = [draw(*shape) for draw, shape in zip(makers, each, strict=True)]
        name = f"{op} {' '.join(map(str, each))}{suffix}"
        found.append(Case(name, function, *arrays, **options))
    return found


def each_of(functions: Iterable[Function], *arguments: Any) -> list[Case]:
    """Return the `cases` of several functions."""
    return [case for function in functions for case in cases(function, *arguments)]


def reductions(function: Function, draw: Callable[..., Draw] = normal) -> list[Case]:
    """Return cases of a reduction over one axis, several axes and all axes."""
    return [
        *cases(function, [((2, 3),), ((),)], draw),
        *cases(function, [((2, 3),)], draw, keepdims=True),
        *cases(function, [((2, 3, 4),), ((2, 1, 3),), ((0, 3),)], draw, axis=1),
        *cases(function, [((2, 3, 4),)], draw, axis=(0, -1), keepdims=True),
        *cases(function, [((1,),)], draw, axis=0),
    ]


def embed(ids: Any) -> Function:
    return lambda table: functional.embedding(table, constant(ids))


def predict(targets: Any) -> Function:
    return lambda logits: functional.cross_entropy(logits, constant(targets))


def shared(logits: Tensor, gate: Tensor) -> Tensor:
    return functional.log_mixture(logits, gate[0], constant(np.array([1.0, 0.0])))


def rotate(positions: IntArray, **options: Any) -> Function:
    return lambda x: functional.rotary(x, constant(positions), **options)


def _where(a: Tensor, b: Tensor) -> Tensor:
    return ops.where(constant(MASK), a, b)


def _dropout(x: Tensor) -> Tensor:
    return functional.dropout(x, rate=0.4, rng=np.random.default_rng(5))  # one mask for all calls


SHAPES: list[tuple[Shape]] = [((),), ((0, 3),), ((2, 0),), ((1,),), ((2, 3),), ((2, 1, 3),)]
PAIRS: list[tuple[Shape, Shape]] = [
    ((2, 3), (2, 3)),
    ((2, 1, 3), (4, 1)),
    ((), (3,)),
    ((2, 2), (1,)),
    ((0, 3), (1, 3)),
    ((2, 0), (2, 1)),
    ((), ()),
]
VECTORS_AND_MATRICES = [
    (a, b) for a in [(3,), (5, 3), (2, 5, 3)] for b in [(3,), (3, 4), (2, 3, 4)]
]
MATMULS = [
    ((2, 1, 5, 3), (4, 3, 2)),
    ((3, 3),) * 2,
    ((0, 3), (3, 4)),
    ((2, 0), (0, 4)),
    ((1, 1),) * 2,
]
IDS = np.array([[0, 2, 2], [3, 0, 2]])
MASK = np.array([[True, False, True], [False, False, True]])
INPUTS = [(2, 5, 3), (3,), (0, 3), (1, 3), (5, 0), (1, 0)]
SIZES = [(2, 3, 4), (4,), (0, 4), (2, 0), (1, 4), (2, 90, 256)]  # the last in several blocks
QUERIES_AND_KEYS = [
    ((2, 3, 5, 4), (2, 3, 5, 4)),
    ((1, 1, 1, 1), (1, 1, 1, 1)),
    ((0, 2, 3, 4), (0, 2, 3, 4)),
    ((2, 0, 3, 4), (2, 0, 3, 4)),
    ((2, 3, 0, 4), (2, 3, 5, 4)),
    ((2, 3, 0, 4), (2, 3, 0, 4)),
    ((1, 2, 3, 4), (1, 2, 140, 4)),  # fewer queries than keys
    ((1, 4, 130, 2), (1, 4, 130, 2)),  # several tiles
]
ROWS = [(2, 3, 4), (4,), (0, 3), (2, 0), (2, 1)]

CASES: list[Case] = [
    # arithmetic
    *each_of([ops.add, ops.subtract, ops.multiply, ops.maximum, ops.minimum], PAIRS),
    *cases(ops.divide, PAIRS, normal, positive),
    Case("add number", lambda a: 2 + a + 1, normal(2, 3)),
    Case("add array", lambda a: constant(np.ones(3, a.dtype)) + a, normal(2, 3)),
    Case("subtract number", lambda a: 1 - (a - 2), normal(2, 3)),
    Case("multiply itself", lambda a: a * a, normal(2, 3)),
    Case("divide number", lambda a: 1 / (a / 2), positive(2, 3)),
    *cases(ops.power, SHAPES, positive, exponent=2.5),
    Case("power square", lambda a: a**2, normal(2, 3)),
    Case("power inverse", lambda a: a**-1, positive(2, 3)),
    Case("power nothing", lambda a: a**0 * a, normal(2, 3)),
    *cases(ops.matmul, [*VECTORS_AND_MATRICES, *MATMULS]),
    # reductions
    *reductions(ops.sum),
    *reductions(ops.mean),
    *reductions(ops.var),
    *cases(ops.var, [((2, 3),)], axis=1, ddof=1),
    *reductions(ops.max, apart),
    *reductions(ops.min, apart),
    # functions
    *each_of([ops.negative, ops.exp, _dropout], SHAPES),
    *each_of([ops.log, ops.sqrt], SHAPES, positive),
    *each_of([ops.abs, *ACTIVATIONS.values()], SHAPES, apart),
    *cases(_where, [((2, 3), (2, 3)), ((2, 1), (3,)), ((), (1,))]),
    *cases(ops.astype, [((2, 3),)], dtype=np.float64),
    # rearrangements
    *cases(ops.reshape, [((2, 6),)], shape=(3, -1)),
    *cases(ops.reshape, [((),)], shape=(1, 1)),
    *cases(ops.reshape, [((0, 3),)], shape=(3, 0)),
    *cases(ops.reshape, [((1,),)], shape=()),
    *cases(ops.transpose, SHAPES),
    *cases(ops.transpose, [((2, 3, 4),)], axes=(1, -1, 0)),
    *cases(ops.swapaxes, [((2, 3, 4),), ((3, 3),), ((0, 3),)], axis1=0, axis2=-1),
    *cases(ops.concat, [((2, 2), (2, 1), (2, 3))], axis=-1),
    *cases(ops.concat, [((3, 2), (2, 2), (1, 2)), ((2, 3), (0, 3)), ((1,),)]),
    *cases(ops.stack, [((2, 3),) * 3], axis=-1),
    *cases(ops.stack, [((2, 2),) * 2, ((), ())]),
    *cases(ops.stack, [((0,),)], axis=1),
    # indices
    Case("getitem slice", lambda a: a[1:, ::-2], normal(3, 5)),
    Case("getitem number", lambda a: a[..., -1], normal(3, 5)),
    Case("getitem one", lambda a: a[1], normal(3)),
    Case("getitem 0-d", lambda a: a[()], normal()),
    Case("getitem new axis", lambda a: a[:, None], normal(2, 3)),
    Case("getitem nothing", lambda a: a[1:1], normal(2, 3)),
    Case("getitem integers", lambda a: a[constant(IDS)], normal(4, 2)),
    Case("getitem tuple of integers", lambda a: a[(0, 2, 2),], normal(3, 2)),
    Case("getitem booleans", lambda a: a[constant(MASK)], normal(2, 3)),
    Case("getitem pairs", lambda a: a[[0, 1, 1], [2, 0, 0]], normal(2, 3)),
    Case("split", lambda a: ops.multiply(*ops.split(a, 2, axis=1)), normal(3, 4)),
    # neural networks
    *each_of([functional.softmax, functional.log_softmax], [(x,) for x in ROWS if x[-1]]),
    *cases(functional.linear, [(x, (x[-1], 4), (4,)) for x in INPUTS]),
    *cases(functional.linear, [((5, 3), (3, 0), (0,))]),
    Case("embedding", embed(IDS), normal(4, 2)),
    Case("embedding 0-d", embed(np.array(2)), normal(4, 2)),
    Case("embedding none", embed(IDS[:0]), normal(4, 2)),
    Case("cross_entropy", predict(IDS), normal(2, 3, 4)),
    Case("cross_entropy one", predict(IDS[0, 1]), normal(4)),
    *cases(functional.log_mixture, [(x, x[:-1], x) for x in ROWS], normal, normal, positive),
    *cases(functional.layer_norm, [(x, x[-1:], x[-1:]) for x in SIZES]),
    *cases(functional.rms_norm, [(x, x[-1:]) for x in SIZES]),
    *cases(functional.causal_attention, [(q, k, k) for q, k in QUERIES_AND_KEYS]),
    *cases(functional.causal_attention, [(q, k, k) for q, k in QUERIES_AND_KEYS], window=2),
    *cases(
        functional.causal_attention, [((2, 3, t, 4), (2, 3, 5, 4), (2, 3, 5, 7)) for t in (2, 5)]
    ),
    *(
        Case(f"rotary {x}", rotate(np.arange(7, 7 + x[-2])), normal(*x))
        for x in [(5, 4), (2, 3, 4, 6), (3, 1, 2), (0, 3, 2), (2, 3, 0)]
    ),
    Case("rotary normalized", rotate(np.arange(4), normalize=True), normal(2, 3, 4, 6)),
    *cases(functional.causal_convolution, [((2, 5, 3), (k, 3)) for k in (0, 1, 3, 7)]),
    *cases(functional.causal_convolution, [((0, 2, 3), (2, 3)), ((2, 0, 3), (2, 3))]),
]

KINKS = [
    Kink("max", ops.max, [[1, 3, 3, 2]], [[0, 0.5, 0.5, 0]]),
    Kink("min", ops.min, [[2, 1, 1, 3]], [[0, 0.5, 0.5, 0]]),
    Kink("maximum", ops.maximum, [[1, 2, 5], [1, 3, 4]], [[0.5, 0, 1], [0.5, 1, 0]]),
    Kink("minimum", ops.minimum, [[1, 2, 5], [1, 3, 4]], [[0.5, 1, 0], [0.5, 0, 1]]),
    Kink("abs", ops.abs, [[-2, 0, 3]], [[-1, 0, 1]]),
    Kink("power", lambda a: a**0, [[0, 2]], [[0, 0]]),
    Kink("power", lambda a: a**1, [[0, 2]], [[1, 1]]),
    Kink("relu", functional.relu, [[-1, 0, 2]], [[0, 0, 1]]),
    Kink("relu_squared", functional.relu_squared, [[-1, 0, 2]], [[0, 0, 4]]),
    Kink("log_mixture", shared, [[0, 0], [2000]], [[-0.5, 0.5], [-1]]),
    Kink("log_mixture", shared, [[0, 0], [-2000]], [[0, 0], [0]]),
    Kink("softmax", functional.softmax, [[-1e30, 0, 1e30]], [[0, 0, 0]]),
]

# ------------------------------------------------------------------------------- the check

TOLERANCE_32 = 1e-4

OP_NAMES = list(dict.fromkeys(case.op for case in CASES))


def cases_of(op: str) -> list[Case]:
    return [case for case in CASES if case.op == op]


def failures(op: str, *, seed: int = 0) -> Iterator[str]:
    """Yield what is wrong with the gradients of an op, the result of the fastest check first.

    They are compared with central differences in each memory layout. In float32, results must not
    differ from those in float64 by more than TOLERANCE_32 of the largest element, or of 1.
    """
    for layout in LAYOUTS:
        for case in cases_of(op):
            leaves, rng = case.leaves(seed=seed, layout=layout)
            error = gradcheck(case, leaves, rng=rng)
            if not error < TOLERANCE:
                yield f"{case.name}, {layout}: {error}"
    for case in cases_of(op):
        single, double = (case.results(dtype, seed=seed) for dtype in (np.float32, np.float64))
        for a, b in zip(single, double, strict=True):
            error = np.max(np.abs(a - b), initial=0) / np.max(np.abs(b), initial=1)
            if not error < TOLERANCE_32:
                yield f"{case.name}, float32: {error}"
    yield from (
        f"{kink.op} of {kink.inputs}" for kink in KINKS if kink.op == op if not kink.holds()
    )
