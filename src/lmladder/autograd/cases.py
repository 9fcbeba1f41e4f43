"""Every op with inputs that show what it does: the rows of `lmladder gradcheck` and of the tests.

A row draws its arrays from a generator, so that any seed will do. The shapes include numbers (0-d),
empty arrays, axes of length 1 and broadcasting. Draws stay away from kinks and ties, where a
difference shows no derivative; those stand in a table of their own, with their gradients.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from lmladder.autograd import functional, ops
from lmladder.autograd.tensor import Tensor
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.tracing import constant

import numpy as np

Draw: TypeAlias = Callable[[np.random.Generator], FloatArray]
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """`function` of arrays made by `draws`, with `options`; `name` begins with the op's name."""

    name: str
    function: Callable[..., Tensor]
    draws: tuple[Draw, ...]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def op(self) -> str:
        return self.name.partition(" ")[0]

    def __call__(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs, **self.options)


@dataclass(frozen=True)
class Kink:
    """Inputs on a kink or a tie, and the gradients that `function` must have there for ones."""

    name: str
    function: Callable[..., Tensor]
    inputs: tuple[list[float], ...]
    gradients: tuple[list[float], ...]

    @property
    def op(self) -> str:
        return self.name.partition(" ")[0]

    def holds(self) -> bool:
        """Whether the gradients are these, to the last digit."""
        tensors = [Tensor(np.array(values), requires_grad=True) for values in self.inputs]
        out = self.function(*tensors)
        out.backward(np.ones_like(out.value))
        return [t.grad.tolist() for t in tensors if t.grad is not None] == list(self.gradients)


# ------------------------------------------------------------------------------- draws


def normal(*shape: int) -> Draw:
    return lambda rng: np.asarray(rng.standard_normal(shape))


def positive(*shape: int) -> Draw:
    return lambda rng: np.asarray(rng.uniform(0.5, 2.0, shape))


def apart(*shape: int) -> Draw:
    """Odd multiples of 0.1, all different: at least 0.1 from 0 and 0.2 from each other."""

    def draw(rng: np.random.Generator) -> FloatArray:
        size = int(np.prod(shape))
        return np.asarray((rng.permutation(size) - size // 2 + 0.5).reshape(shape) * 0.2)

    return draw


# ------------------------------------------------------------------------------- rows

SHAPES: list[Shape] = [(), (0, 3), (2, 0), (1,), (2, 3), (2, 1, 3)]
PAIRS: list[tuple[Shape, Shape]] = [
    ((2, 3), (2, 3)),
    ((2, 1, 3), (4, 1)),
    ((), (3,)),
    ((2, 2), (1,)),
    ((0, 3), (1, 3)),
    ((2, 0), (2, 1)),
    ((), ()),
]
REDUCTIONS: list[tuple[Shape, dict[str, Any]]] = [
    ((2, 3), {}),
    ((2, 3), {"keepdims": True}),
    ((2, 3, 4), {"axis": 1}),
    ((2, 3, 4), {"axis": (0, -1), "keepdims": True}),
    ((2, 1, 3), {"axis": 1}),
    ((0, 3), {"axis": 1}),
    ((1,), {"axis": 0}),
    ((), {}),
]
IDS = np.array([[0, 2, 2], [3, 0, 2]])
MASK = np.array([[True, False, True], [False, False, True]])


def each_shape(
    name: str, function: Callable[..., Tensor], draw: Callable[..., Draw], **options: Any
) -> list[Case]:
    return [Case(f"{name} {shape}", function, (draw(*shape),), options) for shape in SHAPES]


def each_pair(
    name: str,
    function: Callable[..., Tensor],
    first: Callable[..., Draw] = normal,
    second: Callable[..., Draw] = normal,
) -> list[Case]:
    return [Case(f"{name} {a} {b}", function, (first(*a), second(*b))) for a, b in PAIRS]


def each_reduction(
    name: str, function: Callable[..., Tensor], draw: Callable[..., Draw] = normal
) -> list[Case]:
    return [
        Case(f"{name} {shape} {options}", function, (draw(*shape),), options)
        for shape, options in REDUCTIONS
    ]


def _dropout(x: Tensor) -> Tensor:
    return functional.dropout(x, rate=0.4, rng=np.random.default_rng(5))  # one mask for all calls


def _arithmetic() -> Iterator[Case]:
    yield from each_pair("add", ops.add)
    yield Case("add number", lambda a: 2 + a + 1, (normal(2, 3),))
    yield Case("add array", lambda a: constant(np.ones(3, a.dtype)) + a, (normal(2, 3),))
    yield from each_pair("subtract", ops.subtract)
    yield Case("subtract number", lambda a: 1 - (a - 2), (normal(2, 3),))
    yield from each_pair("multiply", ops.multiply)
    yield Case("multiply itself", lambda a: a * a, (normal(2, 3),))
    yield from each_pair("divide", ops.divide, normal, positive)
    yield Case("divide number", lambda a: 1 / (a / 2), (positive(2, 3),))
    yield from each_shape("negative", ops.negative, normal)
    yield from each_shape("power", ops.power, positive, exponent=2.5)
    yield Case("power square", lambda a: a**2, (normal(2, 3),))
    yield Case("power inverse", lambda a: a**-1, (positive(2, 3),))
    yield Case("power nothing", lambda a: a**0 * a, (normal(2, 3),))
    for a, b in [
        ((2, 3), (3, 4)),
        ((2, 5, 3), (3, 4)),
        ((5, 3), (2, 3, 4)),
        ((2, 5, 3), (2, 3, 4)),
        ((2, 1, 5, 3), (4, 3, 2)),
        ((3,), (3, 4)),
        ((2, 3), (3,)),
        ((3,), (3,)),
        ((3,), (2, 3, 4)),
        ((2, 5, 3), (3,)),
        ((3, 3), (3, 3)),
        ((0, 3), (3, 4)),
        ((2, 0), (0, 4)),
        ((1, 1), (1, 1)),
    ]:
        yield Case(f"matmul {a} {b}", ops.matmul, (normal(*a), normal(*b)))
    for subscripts, shapes in EINSUMS:
        draws = tuple(normal(*shape) for shape in shapes)
        yield Case(f"einsum {subscripts}", ops.einsum, draws, {"subscripts": subscripts})


EINSUMS: list[tuple[str, list[Shape]]] = [
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,kj", [(2, 3), (4, 3)]),
    ("bhqi,bhki->bhqk", [(2, 2, 3, 4), (2, 2, 5, 4)]),
    ("...ij,...jk->...ik", [(2, 5, 3), (2, 3, 4)]),
    ("...i,i->...", [(2, 5, 3), (3,)]),
    ("i,j,k->kij", [(2,), (3,), (4,)]),
    ("ij,jk,kl->il", [(2, 3), (3, 2), (2, 4)]),
    ("ij->ji", [(2, 3)]),
    ("ij->", [(2, 3)]),
    ("ij,k->i", [(2, 3), (4,)]),
    ("ii->i", [(3, 3)]),
    ("ii", [(3, 3)]),
    ("iij,j->ij", [(2, 2, 3), (3,)]),
    (",i->i", [(), (3,)]),
    ("ij,j->i", [(0, 3), (3,)]),
    ("ij,ij->ij", [(1, 3), (1, 3)]),
    ("->", [()]),
]


def _reductions() -> Iterator[Case]:
    yield from each_reduction("sum", ops.sum)
    yield from each_reduction("mean", ops.mean)
    yield from each_reduction("var", ops.var)
    yield Case("var unbiased", ops.var, (normal(2, 3),), {"axis": 1, "ddof": 1})
    yield from each_reduction("max", ops.max, apart)
    yield from each_reduction("min", ops.min, apart)
    yield from each_reduction("logsumexp", ops.logsumexp)
    yield from each_reduction("norm", ops.norm, positive)
    for shape, axis in [
        ((2, 3), None),
        ((2, 3), 0),
        ((2, 3, 4), -2),
        ((0, 3), 1),
        ((1,), 0),
        ((), None),
    ]:
        yield Case(f"cumsum {shape} {axis}", ops.cumsum, (normal(*shape),), {"axis": axis})


def _functions() -> Iterator[Case]:
    yield from each_shape("exp", ops.exp, normal)
    yield from each_shape("log", ops.log, positive)
    yield from each_shape("sqrt", ops.sqrt, positive)
    yield from each_shape("tanh", ops.tanh, normal)
    yield from each_shape("abs", ops.abs, apart)
    yield from each_shape("clip", ops.clip, apart, min=-0.4, max=0.2)
    yield Case("clip below", ops.clip, (apart(2, 3),), {"min": 0.2})
    yield Case("clip above", ops.clip, (apart(2, 3),), {"max": 0.2})
    yield from each_pair("maximum", ops.maximum)
    yield from each_pair("minimum", ops.minimum)
    yield Case("where", lambda a, b: ops.where(constant(MASK), a, b), (normal(2, 3), normal(2, 3)))
    yield Case(
        "where broadcast", lambda a, b: ops.where(constant(MASK), a, b), (normal(2, 1), normal(3))
    )
    yield Case("where 0-d", lambda a, b: ops.where(constant(MASK), a, b), (normal(), normal(1)))
    yield Case("astype", ops.astype, (normal(2, 3),), {"dtype": np.float64})


def _rearrangements() -> Iterator[Case]:
    for old, new in [((2, 6), (3, -1)), ((), (1, 1)), ((0, 3), (3, 0)), ((1,), ())]:
        yield Case(f"reshape {old} {new}", ops.reshape, (normal(*old),), {"shape": new})
    yield from each_shape("transpose", ops.transpose, normal)
    yield Case("transpose axes", ops.transpose, (normal(2, 3, 4),), {"axes": (1, -1, 0)})
    yield from each_shape("flip", ops.flip, normal)
    yield Case("flip axis", ops.flip, (normal(2, 3),), {"axis": -1})
    yield Case("flip axes", ops.flip, (normal(2, 3, 2),), {"axis": (0, 1)})
    yield from each_shape("squeeze", ops.squeeze, normal)
    yield Case("squeeze axes", ops.squeeze, (normal(1, 3, 1, 1),), {"axis": (0, -1)})
    yield from each_shape("expand_dims", ops.expand_dims, normal, axis=0)
    yield Case("expand_dims axes", ops.expand_dims, (normal(2, 3),), {"axis": (0, -2)})
    yield Case("swapaxes", ops.swapaxes, (normal(2, 3, 4),), {"axis1": 0, "axis2": -1})
    yield Case("swapaxes square", ops.swapaxes, (normal(3, 3),), {"axis1": 0, "axis2": 1})
    yield Case("swapaxes empty", ops.swapaxes, (normal(0, 3),), {"axis1": 0, "axis2": 1})
    yield Case("concat", ops.concat, (normal(2, 2), normal(2, 1), normal(2, 3)), {"axis": -1})
    yield Case("concat first", ops.concat, (normal(3, 2), normal(2, 2), normal(1, 2)))
    yield Case("concat empty", ops.concat, (normal(2, 3), normal(0, 3)))
    yield Case("concat one", ops.concat, (normal(1),))
    yield Case("stack", ops.stack, (normal(2, 3),) * 3, {"axis": -1})
    yield Case("stack first", ops.stack, (normal(2, 2),) * 2)
    yield Case("stack 0-d", ops.stack, (normal(), normal()))
    yield Case("stack empty", ops.stack, (normal(0),), {"axis": 1})


def _gather(ids: IntArray, axis: int, a: Tensor) -> Tensor:
    return ops.take_along_axis(a, constant(ids), axis=axis)


def _scatter(ids: IntArray, axis: int, a: Tensor, updates: Tensor) -> Tensor:
    return ops.scatter_add(a, constant(ids), updates, axis=axis)


def _indices() -> Iterator[Case]:
    yield Case("getitem slice", lambda a: a[1:, ::-2], (normal(3, 5),))
    yield Case("getitem number", lambda a: a[..., -1], (normal(3, 5),))
    yield Case("getitem one", lambda a: a[1], (normal(3),))
    yield Case("getitem 0-d", lambda a: a[()], (normal(),))
    yield Case("getitem new axis", lambda a: a[:, None], (normal(2, 3),))
    yield Case("getitem nothing", lambda a: a[1:1], (normal(2, 3),))
    yield Case("getitem integers", lambda a: a[constant(IDS)], (normal(4, 2),))
    yield Case("getitem tuple of integers", lambda a: a[(0, 2, 2),], (normal(3, 2),))
    yield Case("getitem booleans", lambda a: a[constant(MASK)], (normal(2, 3),))
    yield Case("getitem pairs", lambda a: a[[0, 1, 1], [2, 0, 0]], (normal(2, 3),))
    yield Case("split", lambda a: ops.multiply(*ops.split(a, 2, axis=1)), (normal(3, 4),))
    for name, ids, axis, shape in [
        ("", IDS, 0, (4, 3)),
        (" last axis", IDS, 1, (2, 4)),
        (" one", IDS[:, :1], -1, (2, 4)),
        (" negative", IDS[:1] - 4, 0, (4, 3)),
        (" none", IDS[:0], 0, (4, 3)),
    ]:
        gather = partial(_gather, ids, axis)
        scatter = partial(_scatter, ids, axis)
        yield Case(f"take_along_axis{name}", gather, (normal(*shape),))
        yield Case(f"scatter_add{name}", scatter, (normal(*shape), normal(*ids.shape)))


def _networks() -> Iterator[Case]:
    f = functional
    for shape in [(2, 5, 3), (3,), (0, 3), (1, 3), (5, 0), (1, 0)]:
        draws = (normal(*shape), normal(shape[-1], 4), normal(4))
        yield Case(f"linear {shape}", f.linear, draws)
    yield Case("linear to nothing", f.linear, (normal(5, 3), normal(3, 0), normal(0)))
    yield from each_shape("sigmoid", f.sigmoid, normal)
    yield from each_shape("relu", f.relu, apart)
    yield from each_shape("relu_squared", f.relu_squared, apart)
    yield from each_shape("gelu", f.gelu, normal)
    yield Case("gelu far", lambda a: f.gelu(a * 3.0), (normal(40, 3),))
    yield from each_shape("gelu_tanh", f.gelu_tanh, normal)
    yield Case("gelu_tanh far", lambda a: f.gelu_tanh(a * 3.0), (normal(40, 3),))
    yield from each_shape("silu", f.silu, normal)
    for name, ids in [("", IDS), (" 0-d", np.array(2)), (" none", IDS[:0])]:
        yield Case(
            f"embedding{name}",
            lambda table, ids=ids: f.embedding(table, constant(ids)),
            (normal(4, 2),),
        )
    for function in (f.softmax, f.log_softmax):
        for shape in [(2, 3, 4), (4,), (0, 3), (2, 0), (2, 1)]:
            yield Case(f"{function.__name__} {shape}", function, (normal(*shape),))
    yield Case("cross_entropy", lambda x: f.cross_entropy(x, constant(IDS)), (normal(2, 3, 4),))
    yield Case(
        "cross_entropy one", lambda x: f.cross_entropy(x, constant(np.array(2))), (normal(4),)
    )
    for shape in [
        (2, 3, 4),
        (4,),
        (0, 4),
        (2, 0),
        (1, 4),
        (2, 90, 256),
    ]:  # the last in blocks of rows
        n = shape[-1]
        yield Case(f"layer_norm {shape}", f.layer_norm, (normal(*shape), normal(n), normal(n)))
        yield Case(f"rms_norm {shape}", f.rms_norm, (normal(*shape), normal(n)))
    for name, queries, keys in [
        ("", (2, 3, 5, 4), (2, 3, 5, 4)),
        (" one", (1, 1, 1, 1), (1, 1, 1, 1)),
        (" none", (0, 2, 3, 4), (0, 2, 3, 4)),
        (" no heads", (2, 0, 3, 4), (2, 0, 3, 4)),
        (" no queries", (2, 3, 0, 4), (2, 3, 5, 4)),
        (" nothing", (2, 3, 0, 4), (2, 3, 0, 4)),
        (" later queries", (1, 2, 3, 4), (1, 2, 140, 4)),
        (" tiles", (1, 4, 130, 2), (1, 4, 130, 2)),
    ]:
        draws = (normal(*queries), normal(*keys), normal(*keys))
        yield Case(f"causal_attention{name}", f.causal_attention, draws)
    for name, shape, start in [
        ("", (5, 4), 0),
        (" heads", (2, 3, 4, 6), 7),
        (" one", (3, 1, 2), 3),
        (" none", (0, 3, 2), 0),
        (" no size", (2, 3, 0), 0),
    ]:
        places = np.arange(start, start + shape[-2])
        yield Case(
            f"rotary{name}",
            lambda x, positions=places: f.rotary(x, constant(positions)),
            (normal(*shape),),
        )
    yield Case(
        "rotary base", lambda x: f.rotary(x, constant(np.array([9, 2])), base=5.0), (normal(2, 2),)
    )
    for rows, time, n in [(3, 5, 4), (1, 1, 1), (2, 1, 3), (0, 2, 2), (2, 0, 3), (2, 3, 0)]:
        size = f"{(rows, time, n)}"
        yield Case(f"rnn {size}", f.rnn, (normal(rows, time, n), normal(n, n)))
        yield Case(f"gru {size}", f.gru, (normal(rows, time, 3 * n), normal(n, 3 * n)))
    yield from each_shape("dropout", _dropout, normal)


CASES: list[Case] = [
    *_arithmetic(),
    *_reductions(),
    *_functions(),
    *_rearrangements(),
    *_indices(),
    *_networks(),
]

TIED: tuple[list[float], ...] = ([1.0, 2.0, 5.0], [1.0, 3.0, 4.0])
KINKS: list[Kink] = [
    Kink("max", ops.max, ([1.0, 3.0, 3.0, 2.0],), ([0, 0.5, 0.5, 0],)),
    Kink("min", ops.min, ([2.0, 1.0, 1.0, 3.0],), ([0, 0.5, 0.5, 0],)),
    Kink("maximum", ops.maximum, TIED, ([0.5, 0, 1], [0.5, 1, 0])),
    Kink("minimum", ops.minimum, TIED, ([0.5, 1, 0], [0.5, 0, 1])),
    Kink("abs", ops.abs, ([-2.0, 0.0, 3.0],), ([-1, 0, 1],)),
    Kink("norm", ops.norm, ([0.0, 0.0],), ([0, 0],)),
    Kink("clip", lambda a: a.clip(min=-1, max=1), ([-2.0, -1, 0, 1, 2],), ([0, 1, 1, 1, 0],)),
    Kink("power 0", lambda a: a**0, ([0.0, 2.0],), ([0, 0],)),
    Kink("power 1", lambda a: a**1, ([0.0, 2.0],), ([1, 1],)),
    Kink("logsumexp no elements", ops.logsumexp, ([],), ([],)),
    Kink("logsumexp nothing", ops.logsumexp, ([-np.inf] * 2,), ([0, 0],)),
    Kink("logsumexp something", ops.logsumexp, ([-np.inf, 3.0],), ([0, 1],)),
    Kink("relu", functional.relu, ([-1.0, 0.0, 2.0],), ([0, 0, 1],)),
    Kink("relu_squared", functional.relu_squared, ([-1.0, 0.0, 2.0],), ([0, 0, 4],)),
    Kink("softmax far", functional.softmax, ([-1e30, 0.0, 1e30],), ([0, 0, 0],)),
]
