"""Each kernel against its formula, written out once more in float64, one row at a time.

One table holds both modules of kernels: `reference` in float32 and float64, `fused` in float32.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from types import ModuleType
from typing import NamedTuple

from lmladder.kernels import fused, reference, tiles
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.system.streams import stream

import numpy as np
import pytest

EPSILON = 1e-5
SHAPES = [(0, 4), (1, 1), (1, 7), (5, 1), (6, 8), (33, 65)]
RELATIVE = {np.float32: 2e-5, np.float64: 1e-12}

MODULES = {"reference": reference, "fused": fused}
either = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
either_and_dtype = pytest.mark.parametrize(
    ("module", "dtype"),
    [
        pytest.param(reference, np.float32, id="reference-float32"),
        pytest.param(reference, np.float64, id="reference-float64"),
        pytest.param(fused, np.float32, id="fused-float32"),
    ],
)


def run(
    kernel: Callable[..., None], *arguments: object, like: Sequence[Array]
) -> tuple[FloatArray, ...]:
    """What a kernel writes into arrays shaped as those of `like`, which start as NaN."""
    written = tuple(np.full_like(each, np.nan) for each in like)
    kernel(*arguments, *written)
    return written


def attend(q: FloatArray, k: FloatArray, v: FloatArray, rows: ModuleType) -> tuple[FloatArray, ...]:
    return run(lambda *arrays: tiles.attention(q, k, v, rows, *arrays), like=[q, q[..., 0]])


def attend_backward(
    grad: FloatArray, q: FloatArray, k: FloatArray, v: FloatArray, rows: ModuleType
) -> tuple[FloatArray, ...]:
    saved = attend(q, k, v, rows)
    return run(
        lambda *grads: tiles.attention_backward(grad, q, k, v, *saved, rows, *grads), like=[q, k, v]
    )


# --- The formulas ---------------------------------------------------------------------------------


def slow_softmax(x: FloatArray) -> FloatArray:
    out = np.empty(x.shape)
    for row, values in zip(out, x, strict=True):
        weights = [math.exp(value - max(values)) for value in values]
        row[:] = [weight / math.fsum(weights) for weight in weights]
    return out


def slow_gelu(x: FloatArray) -> FloatArray:
    return np.array([v * math.erfc(-v / math.sqrt(2)) / 2 for v in x.flat]).reshape(x.shape)


def slow_gelu_backward(grad: FloatArray, x: FloatArray) -> FloatArray:
    slopes = [
        math.erfc(-v / math.sqrt(2)) / 2 + v * math.exp(-v * v / 2) / math.sqrt(2 * math.pi)
        for v in x.flat
    ]
    return grad * np.reshape(slopes, x.shape)


def slow_gelu_tanh(x: Array) -> Array:
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def slow_gelu_tanh_backward(grad: FloatArray, x: FloatArray) -> FloatArray:
    tiny = 1e-100  # a complex step differentiates to the last bit: f(x + ih) = f(x) + ih f'(x)
    return grad * slow_gelu_tanh(np.clip(x, -30, 30) + 1j * tiny).imag / tiny


def slow_layer_norm(
    x: FloatArray, weight: FloatArray, bias: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    mean = np.array([math.fsum(row) / len(row) for row in x])
    variance = np.array([math.fsum(row**2) / len(row) for row in x - mean[:, None]])
    inverse = (variance + EPSILON) ** -0.5
    return (x - mean[:, None]) * inverse[:, None] * weight + bias, mean, inverse


def slow_layer_norm_backward(
    grad: FloatArray, x: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Row by row through the whole matrix of derivatives."""
    _, mean, inverse = slow_layer_norm(x, weight, weight)
    n = x.shape[1]
    normal = (x - mean[:, None]) * inverse[:, None]
    out = np.empty(x.shape)
    for i, row in enumerate(normal):
        slopes = (np.eye(n) - 1 / n - np.outer(row, row) / n) * inverse[i]
        out[i] = slopes @ (grad[i] * weight)
    return out, (grad * normal).sum(axis=0), grad.sum(axis=0)


def slow_rms_norm(x: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    square = np.array([math.fsum(row**2) / len(row) for row in x])
    inverse = (square + EPSILON) ** -0.5
    return x * inverse[:, None] * weight, inverse


def slow_rms_norm_backward(
    grad: FloatArray, x: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    _, inverse = slow_rms_norm(x, weight)
    n = x.shape[1]
    normal = x * inverse[:, None]
    out = np.empty(x.shape)
    for i, row in enumerate(normal):
        slopes = (np.eye(n) - np.outer(row, row) / n) * inverse[i]
        out[i] = slopes @ (grad[i] * weight)
    return out, (grad * normal).sum(axis=0)


def slow_cross_entropy(logits: FloatArray, targets: IntArray) -> tuple[FloatArray, FloatArray]:
    totals = np.array([max(row) + math.log(math.fsum(np.exp(row - max(row)))) for row in logits])
    return totals - logits[np.arange(len(targets)), targets], totals


def slow_cross_entropy_backward(
    grad: FloatArray, logits: FloatArray, targets: IntArray
) -> FloatArray:
    return (slow_softmax(logits) - np.eye(logits.shape[1])[targets]) * grad


def slow_causal_softmax(scores: FloatArray, scale: float) -> tuple[FloatArray, FloatArray]:
    """Weights and log totals, one query at a time."""
    heads, n_queries, n_keys = scores.shape
    weights = np.zeros(scores.shape)
    totals = np.empty((heads, n_queries))
    for head in range(heads):
        for i in range(n_queries):
            seen = scores[head, i, : n_keys - n_queries + i + 1] * scale
            total = max(seen) + math.log(math.fsum(np.exp(seen - max(seen))))
            totals[head, i] = total
            weights[head, i, : len(seen)] = np.exp(seen - total)
    return weights, totals


def slow_causal_softmax_backward(
    by_weights: FloatArray, scores: FloatArray, scale: float
) -> tuple[FloatArray, FloatArray]:
    """Gradients of the scores, and the weights."""
    weights, _ = slow_causal_softmax(scores, scale)
    along = (by_weights * weights).sum(axis=2, keepdims=True)
    return weights * (by_weights - along) * scale, weights


def slow_attention(q: FloatArray, k: FloatArray, v: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Result and log totals of some heads."""
    weights, totals = slow_causal_softmax(q @ k.swapaxes(1, 2), q.shape[2] ** -0.5)
    return weights @ v, totals


def slow_attention_backward(
    grad: FloatArray, q: FloatArray, k: FloatArray, v: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    by_weights = grad @ v.swapaxes(1, 2)
    scores = q @ k.swapaxes(1, 2)
    by_scores, weights = slow_causal_softmax_backward(by_weights, scores, q.shape[2] ** -0.5)
    return by_scores @ k, by_scores.swapaxes(1, 2) @ q, weights.swapaxes(1, 2) @ grad


def slow_adam(
    grad: FloatArray, mean: FloatArray, square: FloatArray, value: FloatArray, settings: "Settings"
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Algorithm 2 of Loshchilov & Hutter 2019, one number at a time."""
    s = settings
    rows = []
    for g, m, v, theta in zip(grad, mean, square, value, strict=True):
        m = s.beta_mean * m + (1 - s.beta_mean) * g * s.gradient_scale
        v = s.beta_square * v + (1 - s.beta_square) * (g * s.gradient_scale) ** 2
        root = math.sqrt(v / s.square_correction) + s.epsilon
        rows.append((m, v, theta * s.shrink - s.rate * (m / s.mean_correction) / root))
    return tuple(np.array(rows).reshape(-1, 3).T)  # type: ignore[return-value]


# --- Draws ----------------------------------------------------------------------------------------

DRAWS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], FloatArray]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "large": lambda rng, shape: rng.standard_normal(shape) * 1e4,
    "tiny": lambda rng, shape: rng.standard_normal(shape) * 1e-6,
    "constant": lambda rng, shape: np.full(shape, 3.5),
    "zero": lambda rng, shape: np.zeros(shape),
    "one far above": lambda rng, shape: (
        np.where(np.arange(shape[-1]) == 0, 1e4, -1e4) * np.ones(shape)
    ),
}


@dataclass
class Inputs:
    """Frozen arrays of one shape: writing to one raises."""

    x: FloatArray
    grad: FloatArray
    weight: FloatArray
    bias: FloatArray
    row_grad: FloatArray
    targets: IntArray

    @classmethod
    def draw(cls, kind: str, shape: tuple[int, int], dtype: type) -> "Inputs":
        rng = stream(0, f"{kind} {shape}")
        rows, n = shape
        floats = (
            DRAWS[kind](rng, shape),
            rng.standard_normal(shape),
            rng.standard_normal(n),
            rng.standard_normal(n),
            rng.standard_normal(rows),
        )
        arrays = [*(each.astype(dtype) for each in floats), rng.integers(n, size=rows)]
        for array in arrays:
            array.flags.writeable = False
        return cls(*arrays)

    def exact(self) -> "Inputs":
        """The same numbers in float64."""
        floats = (self.x, self.grad, self.weight, self.bias, self.row_grad)
        return Inputs(*(each.astype(np.float64) for each in floats), self.targets)


# --- The table ------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A kernel's results from a module and inputs, and the same from its formula."""

    fast: Callable[[ModuleType, Inputs], tuple[FloatArray, ...]]
    slow: Callable[[Inputs], object]


def fast_layer_norm_backward(m: ModuleType, i: Inputs) -> tuple[FloatArray, ...]:
    like = [i.x, i.row_grad, i.row_grad]
    _, mean, inverse = run(m.layer_norm, i.x, i.weight, i.bias, EPSILON, like=like)
    like = [i.x, i.weight, i.weight]
    return run(m.layer_norm_backward, i.grad, i.x, mean, inverse, i.weight, like=like)


def fast_rms_norm_backward(m: ModuleType, i: Inputs) -> tuple[FloatArray, ...]:
    _, inverse = run(m.rms_norm, i.x, i.weight, EPSILON, like=[i.x, i.row_grad])
    return run(m.rms_norm_backward, i.grad, i.x, inverse, i.weight, like=[i.x, i.weight])


def fast_cross_entropy_backward(m: ModuleType, i: Inputs) -> tuple[FloatArray, ...]:
    _, log_total = run(m.cross_entropy, i.x, i.targets, like=[i.row_grad, i.row_grad])
    return run(m.cross_entropy_backward, i.x, i.targets, log_total, i.weight[:1], like=[i.x])


def flat(array: FloatArray) -> FloatArray:
    return array.reshape(-1)


KERNELS: dict[str, Row] = {
    "softmax": Row(lambda m, i: run(m.softmax, i.x, like=[i.x]), lambda i: slow_softmax(i.x)),
    "gelu": Row(
        lambda m, i: run(m.gelu, flat(i.x), like=[flat(i.x)]), lambda i: slow_gelu(flat(i.x))
    ),
    "gelu_backward": Row(
        lambda m, i: run(m.gelu_backward, flat(i.grad), flat(i.x), like=[flat(i.x)]),
        lambda i: slow_gelu_backward(flat(i.grad), flat(i.x)),
    ),
    "gelu_tanh": Row(
        lambda m, i: run(m.gelu_tanh, flat(i.x), like=[flat(i.x)]),
        lambda i: slow_gelu_tanh(flat(i.x)),
    ),
    "gelu_tanh_backward": Row(
        lambda m, i: run(m.gelu_tanh_backward, flat(i.grad), flat(i.x), like=[flat(i.x)]),
        lambda i: slow_gelu_tanh_backward(flat(i.grad), flat(i.x)),
    ),
    "dropout": Row(
        lambda m, i: run(m.dropout, flat(i.x), flat(i.grad), 0.25, like=[flat(i.x)]),
        lambda i: flat(i.x) * (flat(i.grad) >= 0.25) / 0.75,
    ),
    "layer_norm": Row(
        lambda m, i: run(
            m.layer_norm, i.x, i.weight, i.bias, EPSILON, like=[i.x, i.row_grad, i.row_grad]
        ),
        lambda i: slow_layer_norm(i.x, i.weight, i.bias),
    ),
    "layer_norm_backward": Row(
        fast_layer_norm_backward, lambda i: slow_layer_norm_backward(i.grad, i.x, i.weight)
    ),
    "rms_norm": Row(
        lambda m, i: run(m.rms_norm, i.x, i.weight, EPSILON, like=[i.x, i.row_grad]),
        lambda i: slow_rms_norm(i.x, i.weight),
    ),
    "rms_norm_backward": Row(
        fast_rms_norm_backward, lambda i: slow_rms_norm_backward(i.grad, i.x, i.weight)
    ),
    "cross_entropy": Row(
        lambda m, i: run(m.cross_entropy, i.x, i.targets, like=[i.row_grad, i.row_grad]),
        lambda i: slow_cross_entropy(i.x, i.targets),
    ),
    "cross_entropy_backward": Row(
        fast_cross_entropy_backward,
        lambda i: slow_cross_entropy_backward(i.weight[:1], i.x, i.targets),
    ),
}
# Those that change arrays in place, or take other inputs, have tests of their own below.
APART = {
    "causal_softmax", "causal_softmax_backward", "scatter_rows", "adam", "square_sum", "linear_row",
    "cached_attention",
}  # fmt: skip


def public_functions(module: ModuleType) -> set[str]:
    """The kernels of a module: all functions that it defines, but for private ones."""
    return {
        name
        for name, each in vars(module).items()
        if callable(each)
        and getattr(each, "__module__", None) == module.__name__
        and not isinstance(each, type)
        and not name.startswith("_")
    } - {"erf", "compiled", "inlined"}


def test_every_kernel_has_tests() -> None:
    assert public_functions(reference) == KERNELS.keys() | APART


def test_both_modules_have_the_same_kernels() -> None:
    assert public_functions(fused) == public_functions(reference)


@pytest.mark.parametrize("kernel", [*KERNELS, *sorted(APART)])
def test_both_modules_name_the_parameters_alike(kernel: str) -> None:
    ours = inspect.signature(getattr(fused, kernel).py_func)
    assert list(ours.parameters) == list(inspect.signature(getattr(reference, kernel)).parameters)


def as_tuple(result: object) -> tuple[FloatArray, ...]:
    return result if isinstance(result, tuple) else (result,)


def assert_close(found: object, expected: object, dtype: type, magnitude: float = 1.0) -> None:
    """Equal up to rounding of numbers that are as large as `magnitude` along the way."""
    relative = RELATIVE[dtype]
    for ours, right in zip(as_tuple(found), as_tuple(expected), strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, right, rtol=relative, atol=relative * magnitude)


@either_and_dtype
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel_agrees_with_its_formula(kernel: str, module: ModuleType, dtype: type) -> None:
    fast, slow = KERNELS[kernel]
    for draw, shape in product(DRAWS, SHAPES):
        inputs = Inputs.draw(draw, shape, dtype)
        # Logits of 1e4 in float32 are known to 1e-3 only, whatever is done with them.
        magnitude = float(np.abs(inputs.x).max(initial=1)) if "gelu" not in kernel else 1.0
        if "backward" in kernel and "norm" in kernel:
            magnitude = EPSILON**-0.5 * 10  # of 1 / deviation where a row is constant
        assert_close(fast(module, inputs), slow(inputs.exact()), dtype, magnitude)


@either
@pytest.mark.parametrize("kernel", KERNELS)
def test_inputs_may_be_writable_and_are_left_as_they_were(kernel: str, module: ModuleType) -> None:
    frozen = Inputs.draw("normal", (6, 8), np.float32)
    free = Inputs(*(getattr(frozen, field.name).copy() for field in fields(frozen)))
    found = KERNELS[kernel].fast(module, free)
    for ours, right in zip(found, KERNELS[kernel].fast(module, frozen), strict=True):
        np.testing.assert_array_equal(ours, right)
    for field in fields(frozen):
        np.testing.assert_array_equal(getattr(free, field.name), getattr(frozen, field.name))


# --- Extremes -------------------------------------------------------------------------------------

FLOATS = ["x", "grad", "weight", "bias", "row_grad"]
ODD = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-40, -1e-40, 1e4, -1e4, 1e10, -1e10, 1e30, -1e30]


def with_one(inputs: Inputs, field: str, value: float) -> Inputs:
    """The inputs with one number of one array replaced, neither the first nor the last."""
    array = getattr(inputs, field).copy()
    array[(1,) * array.ndim] = value
    array.flags.writeable = False
    return replace(inputs, **{field: array})


def both(kernel: str, inputs: Inputs) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]:
    """Results of `fused` and of `reference`, which may warn of infinite numbers."""
    with np.errstate(all="ignore"):
        fast = KERNELS[kernel].fast
        return fast(fused, inputs), fast(reference, inputs)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_nan_comes_out_where_the_reference_has_one_and_nowhere_else(kernel: str) -> None:
    for field in FLOATS:
        inputs = with_one(Inputs.draw("normal", (6, 40), np.float32), field, math.nan)
        for ours, right in zip(*both(kernel, inputs), strict=True):
            np.testing.assert_array_equal(np.isnan(ours), np.isnan(right))


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_nan_in_x_never_becomes_a_number(kernel: str) -> None:
    for column in range(40):  # whatever lane of the vector unit it falls into
        x = Inputs.draw("normal", (3, 40), np.float32)
        bad = x.x.copy()
        bad[1, column] = math.nan
        out = KERNELS[kernel].fast(fused, replace(x, x=bad))[0].reshape(3, -1)
        assert np.isnan(out[1]).any()
        assert not np.isnan(out[[0, 2]]).any()


@pytest.mark.parametrize("kernel", KERNELS)
def test_fused_treats_odd_numbers_as_the_reference_does(kernel: str) -> None:
    for value, field in product(ODD, ("x", "grad")):
        inputs = with_one(Inputs.draw("normal", (6, 40), np.float32), field, value)
        for ours, right in zip(*both(kernel, inputs), strict=True):
            size = np.nanmax(np.abs(np.where(np.isfinite(right), right, 0)), initial=1)
            np.testing.assert_allclose(ours, right, rtol=2e-5, atol=2e-6 * min(size, 1e4))
    for value in ODD:
        inputs = Inputs.draw("normal", (6, 33), np.float32)
        x = np.full_like(inputs.x, value)
        for ours, right in zip(*both(kernel, replace(inputs, x=x)), strict=True):
            np.testing.assert_allclose(ours, right, rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize("kernel", ["gelu", "gelu_tanh"])
def test_gelu_far_out_is_the_identity_or_zero(kernel: str) -> None:
    x = np.array([1e4, 1e10, 1e30, -1e4, -1e10, -1e30], np.float32)
    (found,) = run(getattr(fused, kernel), x, like=[x])
    np.testing.assert_allclose(found, np.maximum(x, 0), atol=1e-30)


@pytest.mark.parametrize("kernel", ["gelu_backward", "gelu_tanh_backward"])
def test_the_slope_of_gelu_far_out_is_one_or_zero(kernel: str) -> None:
    x = np.array([1e4, 1e8, 1e12, -1e4, -1e8, -1e12], np.float32)
    (found,) = run(getattr(fused, kernel), np.ones_like(x), x, like=[x])
    np.testing.assert_allclose(found, x > 0, atol=1e-6)


def test_fused_exponentials_are_right_to_two_units_in_the_last_place() -> None:
    x = np.concatenate([[0], np.linspace(-87, 0, 200_001), [-87.3, -88, -104, -1e4, -1e30]])
    rows = np.stack([np.zeros(x.size), x], axis=1).astype(np.float32)
    (found,) = run(fused.softmax, rows, like=[rows])
    exact = rows[:, 1].astype(np.float64)
    expected = np.exp(exact) / (1 + np.exp(exact))
    np.testing.assert_allclose(found[:, 1], expected, rtol=4e-7, atol=1.3e-38)


# --- What the formulas leave out ------------------------------------------------------------------


@either
def test_softmax_of_infinitely_unlikely_entries_is_zero_there(module: ModuleType) -> None:
    x = np.array([[0.0, -np.inf, 0.0]], np.float32)
    np.testing.assert_array_equal(run(module.softmax, x, like=[x]), [[[0.5, 0.0, 0.5]]])


@either
def test_cross_entropy_of_a_hopeless_target_is_finite(module: ModuleType) -> None:
    logits = np.array([[1e6, 0.0]], np.float32)
    nats, _ = run(module.cross_entropy, logits, np.array([1]), like=[logits[:, 0]] * 2)
    np.testing.assert_array_equal(nats, [1e6])


def test_erf_is_right_to_the_last_bits_of_float64() -> None:
    rng = stream(0, "erf")
    points = np.concatenate(
        [
            np.linspace(-7, 7, 20_001),
            rng.standard_normal(5_000),
            [0.46875, -0.46875, np.nextafter(0.46875, 1), 6.0, 30.0, -1e100, 5e-324, 1e-20],
        ]
    )
    expected = np.array([math.erf(point) for point in points])
    assert np.abs(reference.erf(points) - expected).max() <= 4e-16


def test_erf_is_odd_and_saturates() -> None:
    points = np.linspace(0, 8, 999)
    np.testing.assert_array_equal(reference.erf(-points), -reference.erf(points))
    np.testing.assert_array_equal(reference.erf(np.array([-np.inf, np.inf])), [-1.0, 1.0])
    assert np.isnan(reference.erf(np.array([np.nan]))).all()


def test_erf_in_float32_is_right_to_its_precision() -> None:
    points = np.linspace(-7, 7, 5_001, dtype=np.float32)
    found = reference.erf(points)
    assert found.dtype == np.float32
    assert np.abs(found - [math.erf(point) for point in points]).max() <= 2e-7


def test_fused_gelu_is_right_to_the_precision_of_its_erf() -> None:
    points = np.linspace(-7, 7, 100_001, dtype=np.float32)
    (found,) = run(fused.gelu, points, like=[points])
    expected = slow_gelu(points.astype(np.float64))
    np.testing.assert_allclose(found, expected, rtol=3e-7, atol=5e-7)


# --- Causal softmax -------------------------------------------------------------------------------

# (queries, keys): square, wide, one query, one key
CAUSAL = [(1, 1), (1, 9), (5, 5), (3, 40), (40, 40), (0, 4)]
SCALES = [1.0, 0.3535533905932738]


def draw_scores(queries: int, keys: int, dtype: type, size: float = 1.0) -> FloatArray:
    rng = stream(0, f"scores {queries} {keys}")
    return (rng.standard_normal((2, queries, keys)) * size).astype(dtype)


def causal_softmax(
    module: ModuleType, scores: FloatArray, scale: float
) -> tuple[FloatArray, FloatArray]:
    """Weights and log totals, the latter a slice of more, as tiles have it."""
    weights = scores.copy()
    totals = np.full((2, scores.shape[1] + 3), np.nan, scores.dtype)
    module.causal_softmax(weights, scale, totals[:, 1:-2])
    assert np.isnan(totals[:, [0, -2, -1]]).all()
    return weights, totals[:, 1:-2].copy()


def causal_softmax_backward(
    module: ModuleType, by_weights: FloatArray, scores: FloatArray, scale: float
) -> tuple[FloatArray, FloatArray]:
    """Gradients of the scores, and the weights."""
    weights, totals = causal_softmax(module, scores, scale)
    along = (by_weights * weights).sum(axis=2)
    along.flags.writeable = totals.flags.writeable = False
    by_scores, again = by_weights.copy(), scores.copy()
    module.causal_softmax_backward(by_scores, again, totals, along, scale)
    return by_scores, again


@either_and_dtype
def test_causal_softmax_agrees_with_its_formula(module: ModuleType, dtype: type) -> None:
    for size, scale, (queries, keys) in product([1.0, 1e-6, 0.0, 1e4], SCALES, CAUSAL):
        scores = draw_scores(queries, keys, dtype, size)
        exact = scores.astype(np.float64)
        # Scores of 1e4 in float32, once scaled, are known to 1e-3 only.
        magnitude = max(1.0, size)
        found = causal_softmax(module, scores, scale)
        assert_close(found, slow_causal_softmax(exact, scale), dtype, magnitude)
        grad = draw_scores(queries, keys, dtype)[:, ::-1].copy()
        found = causal_softmax_backward(module, grad, scores, scale)
        expected = slow_causal_softmax_backward(grad.astype(np.float64), exact, scale)
        assert_close(found, expected, dtype, magnitude)


@either
@pytest.mark.parametrize("value", [0.0, 1e-40, 1e4, -1e4, 1e10, 1e30, -1e30])
def test_equal_scores_share_the_weight_however_large(value: float, module: ModuleType) -> None:
    scores = np.full((2, 5, 5), value, np.float32)
    weights, totals = causal_softmax(module, scores, 0.3)
    share = np.tril(np.ones((5, 5))) / np.arange(1, 6)[:, None]
    np.testing.assert_allclose(weights, np.stack([share] * 2), rtol=1e-6)
    expected = value * np.float64(0.3) + np.log(np.arange(1, 6))
    np.testing.assert_allclose(totals, np.stack([expected] * 2), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("module", "value"),
    # The reference hides the future by adding -inf, which leaves NaN of what is not finite.
    [(reference, 1e30), (fused, 1e30), (fused, np.inf), (fused, np.nan)],
    ids=["reference-large", "fused-large", "fused-inf", "fused-nan"],
)
def test_causal_softmax_never_sees_the_future(module: ModuleType, value: float) -> None:
    scores = draw_scores(5, 5, np.float32)
    before = causal_softmax(module, scores, 0.5)
    future = np.triu(np.ones((5, 5), bool), 1)
    after = causal_softmax(module, np.where(future, np.float32(value), scores), 0.5)
    for ours, right in zip(after, before, strict=True):
        np.testing.assert_array_equal(ours, right)


@either
def test_a_nan_score_makes_nan_of_its_query(module: ModuleType) -> None:
    for key in range(40):
        scores = draw_scores(1, 40, np.float32)
        scores[1, 0, key] = np.nan
        weights, totals = causal_softmax(module, scores, 0.5)
        assert np.isnan(weights[1]).all()
        assert np.isnan(totals[1]).all()
        assert not np.isnan(weights[0]).any()


# --- Attention ------------------------------------------------------------------------------------

# (queries, keys), around and across the borders of tiles of queries
LENGTHS = [(1, 1), (1, 5), (127, 127), (128, 128), (129, 129), (300, 300), (129, 300), (2, 129)]


@pytest.fixture(params=["one tile or few", "many tiles"])
def cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As tiles are cut by default, and as small as they get."""
    if request.param == "many tiles":
        monkeypatch.setattr(tiles, "SCORE_BYTES", 1)


def draw_attention(queries: int, keys: int, dtype: type, scale: float = 1.0) -> list[FloatArray]:
    """grad, q, k, v of two heads; frozen."""
    rng = stream(0, f"attention {queries} {keys}")
    arrays = [
        (rng.standard_normal((2, length, 6)) * factor).astype(dtype)
        for length, factor in ((queries, 1), (queries, scale), (keys, scale), (keys, 1))
    ]
    for array in arrays:
        array.flags.writeable = False
    return arrays


@either_and_dtype
@pytest.mark.parametrize(("queries", "keys"), LENGTHS)
@pytest.mark.usefixtures("cut")
def test_attention_is_a_masked_softmax(
    queries: int, keys: int, module: ModuleType, dtype: type
) -> None:
    grad, q, k, v = draw_attention(queries, keys, dtype)
    exact = [each.astype(np.float64) for each in (grad, q, k, v)]
    assert_close(attend(q, k, v, module), slow_attention(*exact[1:]), dtype)
    expected = slow_attention_backward(*exact)
    assert_close(attend_backward(grad, q, k, v, module), expected, dtype, 10)


@either_and_dtype
@pytest.mark.usefixtures("cut")
def test_attention_with_scores_in_the_thousands_is_finite_and_right(
    module: ModuleType, dtype: type
) -> None:
    grad, q, k, v = draw_attention(130, 130, dtype, scale=50)
    exact = [each.astype(np.float64) for each in (grad, q, k, v)]
    assert_close(attend(q, k, v, module), slow_attention(*exact[1:]), dtype, 1e4)
    expected = slow_attention_backward(*exact)
    # Gradients are scores' errors times queries of up to 200.
    magnitude = 1e4 if dtype == np.float64 else 1e6
    assert_close(attend_backward(grad, q, k, v, module), expected, dtype, magnitude)


@either_and_dtype
@pytest.mark.usefixtures("cut")
def test_attention_with_equal_scores_takes_the_mean_of_what_came_before(
    module: ModuleType, dtype: type
) -> None:
    _, _, _, v = draw_attention(300, 300, dtype)
    out, _ = attend(np.zeros_like(v), np.ones_like(v), v, module)
    means = np.cumsum(v, axis=1, dtype=np.float64) / np.arange(1, 301)[:, None]
    tolerance = 1e-12 if dtype == np.float64 else 1e-6
    np.testing.assert_allclose(out, means, rtol=tolerance, atol=tolerance)


@either
@pytest.mark.parametrize(("queries", "keys"), [(129, 129), (300, 300), (129, 300)])
@pytest.mark.usefixtures("cut")
def test_attention_never_looks_at_the_future(queries: int, keys: int, module: ModuleType) -> None:
    _, q, k, v = draw_attention(queries, keys, np.float32)
    before, totals = attend(q, k, v, module)
    for changed in (1, 15, 16, 64, queries - 1):
        k2, v2 = k.copy(), v.copy()
        k2[:, keys - queries + changed :] += 3
        v2[:, keys - queries + changed :] *= -2
        after, totals2 = attend(q, k2, v2, module)
        np.testing.assert_array_equal(after[:, :changed], before[:, :changed])
        np.testing.assert_array_equal(totals2[:, :changed], totals[:, :changed])
        assert (after[:, changed:] != before[:, changed:]).any(axis=2).all()


@either_and_dtype
@pytest.mark.usefixtures("cut")
def test_attention_sends_no_gradient_to_the_future(module: ModuleType, dtype: type) -> None:
    grad, q, k, v = draw_attention(300, 300, dtype)
    early = np.where(np.arange(300)[:, None] < 150, grad, 0)
    _, by_k, by_v = attend_backward(early, q, k, v, module)
    assert not by_k[:, 150:].any()
    assert not by_v[:, 150:].any()


@either
def test_attention_of_no_queries_writes_nothing(module: ModuleType) -> None:
    keys = np.ones((2, 3, 4), np.float32)
    out, log_total = attend(keys[:, :0], keys, keys, module)
    assert out.shape == (2, 0, 4)
    assert log_total.shape == (2, 0)


# --- Scattering -----------------------------------------------------------------------------------


@either_and_dtype
@pytest.mark.parametrize(
    ("n", "size", "n_rows"), [(0, 3, 4), (1, 1, 1), (500, 3, 7), (20, 5, 200), (64, 4, 1)]
)
def test_scatter_rows_equals_add_at(
    n: int, size: int, n_rows: int, module: ModuleType, dtype: type
) -> None:
    rng = stream(0, "scatter")
    grad = rng.integers(-9, 10, size=(n, size)).astype(dtype)  # whole numbers: sums are exact
    indices = rng.integers(n_rows, size=n)
    expected = np.zeros((n_rows, size), dtype)
    np.add.at(expected, indices, grad)
    grad.flags.writeable = indices.flags.writeable = False
    (found,) = run(module.scatter_rows, grad, indices, like=[expected])
    np.testing.assert_array_equal(found, expected)


@either
def test_scatter_rows_gives_a_nan_to_its_own_row_only(module: ModuleType) -> None:
    grad = np.ones((5, 3), np.float32)
    grad[2, 1] = np.nan
    indices = np.array([0, 1, 1, 2, 0])
    (found,) = run(module.scatter_rows, grad, indices, like=[np.empty((4, 3), np.float32)])
    expected = [[2, 2, 2], [2, np.nan, 2], [1, 1, 1], [0, 0, 0]]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


# --- Adam -----------------------------------------------------------------------------------------


class Settings(NamedTuple):
    """The numbers of a step of `adam`, in the order that it takes them in."""

    beta_mean: float
    beta_square: float
    epsilon: float
    gradient_scale: float
    rate: float
    mean_correction: float
    square_correction: float
    shrink: float


def settings(
    number: int,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    gradient_scale: float = 1.0,
    weight_decay: float = 0.0,
) -> Settings:
    """Those of step `number`, counted from 1."""
    rate = 3e-3
    corrections = (1 - beta**number for beta in betas)
    return Settings(*betas, 1e-8, gradient_scale, rate, *corrections, 1 - rate * weight_decay)


ADAM = {
    "first": settings(1),
    "later": settings(1000),
    "short memory": settings(3, betas=(0.9, 0.95)),
    "no memory": settings(3, betas=(0.0, 0.0)),
    "long memory": settings(3, betas=(0.99, 0.99999)),
    "decay": settings(2, weight_decay=0.1),
    "clipped": settings(2, gradient_scale=0.01),
    "decay and clipped": settings(7, gradient_scale=0.3, weight_decay=0.5),
}


def draw_adam(n: int, dtype: type) -> list[FloatArray]:
    """grad (frozen), mean, square, value; of signs with which no sum cancels digits."""
    rng = stream(0, f"adam {n}")
    sizes = np.sign(rng.standard_normal(n)) * 10.0 ** rng.integers(-6, 3, size=n)
    grad, mean, value = (rng.uniform(0.1, 3, size=n) * sizes for _ in range(3))
    arrays = [each.astype(dtype) for each in (grad, mean, (mean * 2) ** 2, -value)]
    arrays[0].flags.writeable = False
    return arrays


@either_and_dtype
@pytest.mark.parametrize("case", ADAM)
def test_adam_agrees_with_its_formula(case: str, module: ModuleType, dtype: type) -> None:
    relative = 1e-12 if dtype == np.float64 else 2e-6
    for n in (0, 1, 7, 1000):
        grad, *state = draw_adam(n, dtype)
        exact = [each.astype(np.float64) for each in state]
        for _ in range(3):
            module.adam(grad, *state, *ADAM[case])
            exact = list(slow_adam(grad.astype(np.float64), *exact, ADAM[case]))
        for ours, right in zip(state, exact, strict=True):
            assert ours.dtype == dtype
            np.testing.assert_allclose(ours, right, rtol=relative)


@either
def test_adam_without_gradient_only_decays(module: ModuleType) -> None:
    _, mean, square, value = draw_adam(40, np.float32)
    mean[:] = square[:] = 0
    before = value.copy()
    module.adam(np.zeros_like(mean), mean, square, value, *settings(1, weight_decay=0.5))
    assert not mean.any()
    assert not square.any()
    np.testing.assert_allclose(value, before * (1 - 3e-3 * 0.5), rtol=1e-6)


@either
@pytest.mark.parametrize("size", [1e-40, 1e-30, 1e4, 1e15])
def test_the_first_step_of_adam_is_finite_for_any_gradient(size: float, module: ModuleType) -> None:
    grad = np.array([size, -size] * 20, np.float32)
    mean, square, value = (np.zeros_like(grad) for _ in range(3))
    module.adam(grad, mean, square, value, *settings(1))
    expected = -3e-3 * grad.astype(np.float64) / (np.abs(grad) + 1e-8)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-20)


@either
@pytest.mark.parametrize("odd", range(4))
@pytest.mark.parametrize("size", [1, 39, 41])
def test_adam_rejects_vectors_of_different_sizes(size: int, odd: int, module: ModuleType) -> None:
    vectors = draw_adam(40, np.float32)
    vectors[odd] = np.ones(size, np.float32)
    before = [each.copy() for each in vectors]
    with pytest.raises(ValueError, match="vectors of one size"):
        module.adam(*vectors, *settings(1))
    for ours, right in zip(vectors, before, strict=True):
        np.testing.assert_array_equal(ours, right)


@either
def test_a_nan_in_adam_stays_in_its_place(module: ModuleType) -> None:
    for place in range(4):  # in grad, mean, square, value
        arrays = [np.ones(40, np.float32) for _ in range(4)]
        arrays[place][17] = np.nan
        module.adam(*arrays, *settings(2))
        np.testing.assert_array_equal(np.isnan(arrays[3]), np.arange(40) == 17)


@either_and_dtype
@pytest.mark.parametrize("n", [0, 1, 7, 4096, 10_000])
def test_square_sum_keeps_its_digits(n: int, module: ModuleType, dtype: type) -> None:
    x = stream(0, "x", n).standard_normal(n).astype(dtype)
    assert module.square_sum(x) == pytest.approx(
        float(np.square(x, dtype=np.float64).sum()), rel=1e-6
    )


# --- Decoding -------------------------------------------------------------------------------------


@either_and_dtype
@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 5), (4, 1), (7, 33), (128, 65), (0, 3)])
def test_linear_row_is_a_product_and_a_sum(n: int, m: int, module: ModuleType, dtype: type) -> None:
    rng = stream(0, f"linear row {n} {m}")
    x, weight, bias = (rng.standard_normal(shape).astype(dtype) for shape in (n, (n, m), m))
    expected = [math.fsum([*(x.astype(float) * weight[:, j]), bias[j]]) for j in range(m)]
    assert_close(
        run(module.linear_row, x, weight, bias, like=[bias]), (np.array(expected),), dtype, 10
    )


def draw_cache(positions: int, dtype: type) -> list[FloatArray]:
    """q, k, v, keys and values of three rows and two heads."""
    rng = stream(0, f"cache {positions}")
    shapes = [(3, 2, 1, 6)] * 3 + [(3, 2, positions, 6)] * 2
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@either_and_dtype
@pytest.mark.parametrize(("position", "positions"), [(0, 1), (0, 9), (4, 9), (8, 9), (299, 301)])
def test_cached_attention_is_that_of_the_last_query(
    position: int, positions: int, module: ModuleType, dtype: type
) -> None:
    q, k, v, keys, values = draw_cache(positions, dtype)
    before = keys.copy(), values.copy()
    (found,) = run(
        module.cached_attention, q, k, v, keys, values, np.array([position]), 0.4, like=[q]
    )
    for stored, new, old in zip((keys, values), (k, v), before, strict=True):
        np.testing.assert_array_equal(stored[:, :, position], new[:, :, 0])
        others = np.arange(positions) != position
        np.testing.assert_array_equal(stored[:, :, others], old[:, :, others])
    for row in range(3):
        scores = q[row].astype(float) @ keys[row, :, : position + 1].swapaxes(1, 2)
        weights, _ = slow_causal_softmax(scores, 0.4)
        assert_close(found[row], weights @ values[row, :, : position + 1], dtype)


@either
def test_cached_attention_does_not_read_what_is_not_stored(module: ModuleType) -> None:
    q, k, v, keys, values = draw_cache(9, np.float32)
    position = np.array([4])
    (before,) = run(module.cached_attention, q, k, v, keys, values, position, 0.4, like=[q])
    keys[:, :, 4:], values[:, :, 4:] = np.nan, np.inf
    (after,) = run(module.cached_attention, q, k, v, keys, values, position, 0.4, like=[q])
    np.testing.assert_array_equal(after, before)
