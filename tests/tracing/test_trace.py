"""A plan repeats NumPy code to the bit, or the trace of the first call reports why not."""

import pickle
from collections.abc import Callable
from typing import Any

from lmladder.system.arrays import Array
from lmladder.tracing import Plan, Trace, asarray, constant, plain, run

import numpy as np
import pytest

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 3, 4)), RNG.standard_normal((3, 4))
IDS = np.array([[0, 2, 1], [2, 2, 0]])
SEED = 5


def trace_of(function: Callable[..., Any], *inputs: Any) -> tuple[Trace, Any, Plan | None]:
    """The trace of a call, what the call returned, and the plan."""
    trace = Trace()
    with trace.on():
        made = function(*map(trace.input, inputs))
        results = made if isinstance(made, list) else [made]
        plan = trace.finish([each for each in results if each is not None])
    return trace, plain(made), plan


def plan_of(function: Callable[..., Any], *inputs: Any) -> Plan:
    trace, _, plan = trace_of(function, *inputs)
    assert plan is not None, trace.untraceable_reason
    return plan


def in_place(x: Array, y: Array) -> list[Array]:
    a = x * 2
    a += y
    b = a
    b **= 2
    a[0, 0, ::2] = y[0, ::2]
    a[:, [1, 2]] = 7
    np.add.at(a, (0, [1, 1]), 1.0)
    np.copyto(a[1], y[1])
    c = np.zeros_like(a)
    c.fill(3)
    c[0].sort()
    np.multiply(a[0], y, out=c[0])
    np.sum(a[1], axis=0, out=c[1, 0])
    np.take(y, [2, 0], 0, out=c[1, 1:])
    x -= 1
    return [a, c, x]


# Functions of X, Y, IDS and a generator.
PROGRAMS: dict[str, Callable[..., Any]] = {
    "arithmetic": lambda x, y, i, g: (1 - x) * y / (x**2 + 3) % 2 - abs(-x) // 2 + 2**y,
    "powers": lambda x, y, i, g: [abs(x) ** p for p in (2, 0.5, -1, 1, 0, 3.3)],
    "comparisons": lambda x, y, i, g: [(x > y) & (x != 0) | ~(y <= 0.5), np.isfinite(x)],
    "methods": lambda x, y, i, g: [
        x.mean(),
        x.std(axis=1, keepdims=True),
        x.max(axis=(0, 2)),
        x.sum(axis=-1, dtype=np.float32),
        x.clip(-1, y),
        x.cumsum(axis=0),
        x.astype(np.float32),
        x.astype("f4", order="F"),
        x.astype(np.float64, copy=False) + 1,
        x.copy(),
        x.T.ravel(),
    ],
    "scalars": lambda x, y, i, g: [
        x.sum() * 2 + y[0, 1],
        np.sqrt(x.max()) - i.max(),
        x[1, 2, 3] / y.dtype.type(3).item(),
        x.sum().astype(np.float32),
    ],
    "an augmented scalar": lambda x, y, i, g: [total := x.sum(), (total := total + 1)],
    "views": lambda x, y, i, g: [
        (x * 2).T[::-1, 1:].reshape(-1)[::3],
        np.moveaxis(x, 0, -1).swapaxes(0, 1)[..., None, 0].squeeze(),
        np.broadcast_to(y, (5, 3, 4)) * 2,
        np.lib.stride_tricks.sliding_window_view(y, 2, axis=1),
        np.split(x * 1, [1, 3], axis=2)[1],
        (x * 2).real + x.mT.mT,
        np.einsum("aab->ab", x[:, :2] * 1),
    ],
    "copies": lambda x, y, i, g: [
        x.T.reshape(4, -1),
        np.concatenate([x, y[None]]),
        np.where(x > 0, x, y),
        np.take(y, i, axis=0),
        np.take_along_axis(y, i[:, :, None].max(axis=0), axis=1),
        y[i],
        y[(0, 2), [1, 3]],
        y[..., i[0]],
        np.pad(y, ((1, 0), (0, 2)), constant_values=4),
        np.einsum("aij,ij,kj->ak", x, y, y, optimize=True),
        np.tril(y) + np.roll(y, 1),
        np.sort(x, axis=0),
        np.add.outer(y[0], y[1]),
        np.add.accumulate(x, axis=2),
        np.add.reduce(x, axis=1, keepdims=True, where=x > 0, initial=2),
        *np.divmod(x, 0.3),
    ],
    "products": lambda x, y, i, g: [x @ y.T, np.matmul(x[0], y[0]), y[0].dot(y[1]), np.inner(y, y)],
    "in place": lambda x, y, i, g: in_place(x, y),
    "iteration": lambda x, y, i, g: [a * b for a, b in zip(x[0], y, strict=True)],
    "draws": lambda x, y, i, g: [
        g.random(x.shape, dtype=np.float32),
        g.integers(7, size=(2, 2)),
        g.permutation(y),
        g.standard_normal(3) + g.uniform(size=3),
    ],
    "constants": lambda x, y, i, g: [
        x * constant(Y),
        x + np.cos(constant(Y) * 2)[:, :1],
        asarray(3.0) * x + asarray([1, 2, 3, 4]),
        x[:, constant(np.array([True, False, True]))],
        y[constant(np.array(2))],
        np.zeros_like(constant(Y)) + x,
    ],
    "empty": lambda x, y, i, g: [x[:0] * 2, x[:, 1:1].sum(axis=1), *np.split(y, [0, 3])],
    "run": lambda x, y, i, g: written(x, [y, (x,)]),
}


def written(x: Array, more: Any) -> Array:
    out = np.empty_like(x, shape=(2, 3))
    run(_write, x, more, 2, out)
    return out


def _write(x: Array, more: Any, factor: float, out: Array) -> None:
    assert type(x) is type(more[0]) is type(more[1][0]) is np.ndarray
    out[...] = x.sum(axis=2) * factor + more[0].sum()


def inputs(call: int) -> list[Any]:
    return [X * (1 + call), Y - call, (IDS + call) % 3, np.random.default_rng(call)]


def same_bits(one: Any, other: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    return (
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_plain_code_is_repeated_to_the_bit(name: str) -> None:
    function = PROGRAMS[name]
    trace, first, plan = trace_of(function, *inputs(0))
    assert plan is not None, trace.untraceable_reason
    program = plan.program(plan.scratch())
    for call in (0, 1, 2):
        wanted = function(*inputs(call))
        wanted = wanted if isinstance(wanted, list) else [wanted]
        if call == 0:
            found = first if isinstance(first, list) else [first]
            assert all(map(same_bits, found, wanted))
        program(*inputs(call))
        assert len(program.results) == len(wanted)
        assert all(map(same_bits, program.results, wanted))


FOREIGN = np.ones((3, 4))
GENERATOR = np.random.default_rng(1)


def into_foreign(x: Array) -> Array:
    FOREIGN[...] = x[0]
    return x


def into_constant(x: Array) -> Array:
    fixed = constant(np.ones((3, 4)))
    fixed += x[0]
    return fixed


REJECTED: dict[str, tuple[Callable[..., Any], str]] = {
    "float": (lambda x, y, i, g: x * float(x.mean()), "__float__"),
    "item": (lambda x, y, i, g: x * x.max().item(), "item cannot be followed"),
    "pickle": (lambda x, y, i, g: x * pickle.loads(pickle.dumps(y)), "__reduce_ex__"),
    "memory": (lambda x, y, i, g: x * x.data[0, 0, 0], "the attribute data"),
    "mask": (lambda x, y, i, g: x[x > 0], "getitem makes a shape that depends on the inputs"),
    "place": (lambda x, y, i, g: x[i[0, 0]], "a view whose position depends on the inputs"),
    "foreign": (lambda x, y, i, g: x + FOREIGN, "add reads ndarray (3, 4), which was"),
    "out foreign": (lambda x, y, i, g: np.add(x[0], 1, out=FOREIGN), "add reads ndarray (3, 4)"),
    "into a constant": (lambda x, y, i, g: into_constant(x), "add changes a constant"),
    "foreign run": (lambda x, y, i, g: written(x, [FOREIGN, (x,)]), "_write reads ndarray"),
    "a drawn number": (lambda x, y, i, g: x * g.random(), "a result that is not an array"),
    "shuffle": (lambda x, y, i, g: g.shuffle([1, 2]), "shuffle cannot be followed"),
    "bits": (lambda x, y, i, g: x * g.bit_generator.random_raw(), "attribute bit_generator"),
    "objects": (lambda x, y, i, g: x.astype(object), "makes an array of objects"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_what_cannot_be_repeated_is_named_and_the_call_still_returns_its_results(name: str) -> None:
    function, reason = REJECTED[name]
    trace, made, plan = trace_of(function, *inputs(0))
    assert plan is None
    assert trace.untraceable_reason is not None
    assert reason in trace.untraceable_reason
    GENERATOR.bit_generator.state = np.random.default_rng(1).bit_generator.state
    again = function(*inputs(0))
    if name != "objects":  # whose bytes are addresses
        found, wanted = (
            each if isinstance(each, list | tuple) else [each] for each in (made, again)
        )
        assert all(map(same_bits, found, wanted))


@pytest.mark.parametrize("given", [[1.0], (2,), {"a": 1}, np.ma.array([1.0]), np.array([None])])
def test_an_input_that_may_hide_a_change_is_rejected(given: Any) -> None:
    trace, _, plan = trace_of(lambda x, _: x * 2, np.ones(2), given)
    assert plan is None
    assert trace.untraceable_reason == f"an input of type {type(given).__name__}"


def test_a_live_array_is_read_and_written_in_place() -> None:
    weight, trace = np.ones(3), Trace()
    with trace.on():
        x, w = trace.input(np.arange(3.0)), trace.live(weight)
        w += x
        y = w[1:] * x[1:]
        plan = trace.finish([y])
    assert plan is not None
    weight[...] = 10
    program = plan.program(plan.scratch())
    program(np.arange(3.0))
    assert weight.tolist() == [10, 11, 12]
    assert program.results[0].tolist() == [11, 24]


def test_after_its_trace_a_traced_array_is_an_array() -> None:
    kept: list[Any] = []
    _, _, plan = trace_of(lambda x: kept.append(x) or x * 2, Y)
    assert plan is not None
    (x,) = kept
    assert isinstance(x, np.ndarray)
    assert same_bits(asarray(x), Y)
    assert type(asarray(x)) is type(x + 1) is type(np.asarray(x)) is np.ndarray
    assert float(x[0, 0]) == Y[0, 0]
    for function in (lambda y: y * x, lambda y: x * y):
        trace, made, _ = trace_of(function, Y)
        assert trace.untraceable_reason == "multiply reads ndarray (3, 4), which was made elsewhere"
        assert same_bits(made, Y * Y)
