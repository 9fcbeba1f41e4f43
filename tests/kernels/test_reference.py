"""Each kernel against its formula, written out once more in float64, one row at a time."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from lmladder.arrays import Array, FloatArray, IntArray
from lmladder.kernels import reference
from lmladder.rng import stream

import numpy as np
import pytest

EPSILON = 1e-5
SHAPES = [(0, 4), (1, 1), (1, 7), (5, 1), (6, 8), (33, 65)]
RELATIVE = {np.float32: 2e-5, np.float64: 1e-12}


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
    mean = np.array([[math.fsum(row) / len(row)] for row in x]).reshape(-1, 1)
    variance = np.array([[math.fsum(row**2) / len(row)] for row in x - mean]).reshape(-1, 1)
    inverse = (variance + EPSILON) ** -0.5
    return (x - mean) * inverse * weight + bias, mean, inverse


def slow_layer_norm_backward(
    grad: FloatArray, x: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Row by row through the whole matrix of derivatives."""
    _, mean, inverse = slow_layer_norm(x, weight, weight)
    n = x.shape[1]
    normal = (x - mean) * inverse
    out = np.empty(x.shape)
    for i, row in enumerate(normal):
        slopes = (np.eye(n) - 1 / n - np.outer(row, row) / n) * inverse[i]
        out[i] = slopes @ (grad[i] * weight)
    return out, (grad * normal).sum(axis=0), grad.sum(axis=0)


def slow_rms_norm(x: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    square = np.array([[math.fsum(row**2) / len(row)] for row in x]).reshape(-1, 1)
    inverse = (square + EPSILON) ** -0.5
    return x * inverse * weight, inverse


def slow_rms_norm_backward(
    grad: FloatArray, x: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    _, inverse = slow_rms_norm(x, weight)
    n = x.shape[1]
    normal = x * inverse
    out = np.empty(x.shape)
    for i, row in enumerate(normal):
        slopes = (np.eye(n) - np.outer(row, row) / n) * inverse[i]
        out[i] = slopes @ (grad[i] * weight)
    return out, (grad * normal).sum(axis=0)


def slow_cross_entropy(logits: FloatArray, targets: IntArray) -> tuple[FloatArray, FloatArray]:
    totals = np.array(
        [[max(row) + math.log(math.fsum(np.exp(row - max(row))))] for row in logits]
    ).reshape(-1, 1)
    return totals[:, 0] - logits[np.arange(len(targets)), targets], totals


def slow_cross_entropy_backward(
    grad: FloatArray, logits: FloatArray, targets: IntArray
) -> FloatArray:
    return (slow_softmax(logits) - np.eye(logits.shape[1])[targets]) * grad[:, None]


def slow_attention(
    q: FloatArray, k: FloatArray, v: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Result, log totals and weights of some heads, one query at a time."""
    heads, n_queries, size = q.shape
    n_keys = k.shape[1]
    weights = np.zeros((heads, n_queries, n_keys))
    totals = np.empty((heads, n_queries, 1))
    for head in range(heads):
        for i in range(n_queries):
            seen = n_keys - n_queries + i + 1
            scores = k[head, :seen] @ q[head, i] / math.sqrt(size)
            total = max(scores) + math.log(math.fsum(np.exp(scores - max(scores))))
            totals[head, i] = total
            weights[head, i, :seen] = np.exp(scores - total)
    return weights @ v, totals, weights


def slow_attention_backward(
    grad: FloatArray, q: FloatArray, k: FloatArray, v: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    _, _, weights = slow_attention(q, k, v)
    by_weights = np.einsum("hqi,hki->hqk", grad, v)
    by_scores = weights * (by_weights - (by_weights * weights).sum(axis=2, keepdims=True))
    by_scores /= math.sqrt(q.shape[2])
    return (
        np.einsum("hqk,hki->hqi", by_scores, k),
        np.einsum("hqk,hqi->hki", by_scores, q),
        np.einsum("hqk,hqi->hki", weights, grad),
    )


def attend(q: FloatArray, k: FloatArray, v: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`reference.attention`, which writes into arrays, as a function that returns them."""
    out, log_total = np.full_like(q, np.nan), np.full((*q.shape[:2], 1), np.nan, q.dtype)
    reference.attention(q, k, v, out, log_total)
    return out, log_total


def attend_backward(
    grad: FloatArray, q: FloatArray, k: FloatArray, v: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    grads = np.full_like(q, np.nan), np.full_like(k, np.nan), np.full_like(v, np.nan)
    reference.attention_backward(grad, q, k, v, *attend(q, k, v), grads)
    return grads


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


def fast_layer_norm_backward(i: Inputs) -> tuple[FloatArray, ...]:
    _, mean, inverse = reference.layer_norm(i.x, i.weight, i.bias, EPSILON)
    return reference.layer_norm_backward(i.grad, i.x, mean, inverse, i.weight)


def fast_rms_norm_backward(i: Inputs) -> tuple[FloatArray, ...]:
    _, inverse = reference.rms_norm(i.x, i.weight, EPSILON)
    return reference.rms_norm_backward(i.grad, i.x, inverse, i.weight)


def fast_cross_entropy_backward(i: Inputs) -> FloatArray:
    _, totals = reference.cross_entropy(i.x, i.targets)
    return reference.cross_entropy_backward(i.row_grad, i.x, i.targets, totals)


KERNELS: dict[str, tuple[Callable[[Inputs], object], Callable[[Inputs], object]]] = {
    "softmax": (lambda i: reference.softmax(i.x), lambda i: slow_softmax(i.x)),
    "gelu": (lambda i: reference.gelu(i.x), lambda i: slow_gelu(i.x)),
    "gelu_backward": (
        lambda i: reference.gelu_backward(i.grad, i.x),
        lambda i: slow_gelu_backward(i.grad, i.x),
    ),
    "gelu_tanh": (lambda i: reference.gelu_tanh(i.x), lambda i: slow_gelu_tanh(i.x)),
    "gelu_tanh_backward": (
        lambda i: reference.gelu_tanh_backward(i.grad, i.x),
        lambda i: slow_gelu_tanh_backward(i.grad, i.x),
    ),
    "layer_norm": (
        lambda i: reference.layer_norm(i.x, i.weight, i.bias, EPSILON),
        lambda i: slow_layer_norm(i.x, i.weight, i.bias),
    ),
    "layer_norm_backward": (
        fast_layer_norm_backward,
        lambda i: slow_layer_norm_backward(i.grad, i.x, i.weight),
    ),
    "rms_norm": (
        lambda i: reference.rms_norm(i.x, i.weight, EPSILON),
        lambda i: slow_rms_norm(i.x, i.weight),
    ),
    "rms_norm_backward": (
        fast_rms_norm_backward,
        lambda i: slow_rms_norm_backward(i.grad, i.x, i.weight),
    ),
    "cross_entropy": (
        lambda i: reference.cross_entropy(i.x, i.targets),
        lambda i: slow_cross_entropy(i.x, i.targets),
    ),
    "cross_entropy_backward": (
        fast_cross_entropy_backward,
        lambda i: slow_cross_entropy_backward(i.row_grad, i.x, i.targets),
    ),
}


def as_tuple(result: object) -> tuple[FloatArray, ...]:
    return result if isinstance(result, tuple) else (result,)  # type: ignore[return-value]


def assert_close(found: object, expected: object, dtype: type, magnitude: float = 1.0) -> None:
    """Equal up to rounding of numbers that are as large as `magnitude` along the way."""
    relative = RELATIVE[dtype]
    for ours, right in zip(as_tuple(found), as_tuple(expected), strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, right, rtol=relative, atol=relative * magnitude)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel_agrees_with_its_formula(
    kernel: str, draw: str, shape: tuple[int, int], dtype: type
) -> None:
    fast, slow = KERNELS[kernel]
    inputs = Inputs.draw(draw, shape, dtype)
    # Logits of 1e4 in float32 are known to 1e-3 only, whatever is done with them.
    magnitude = max(1.0, float(np.abs(inputs.x).max(initial=0)) if "gelu" not in kernel else 1.0)
    if "backward" in kernel and "norm" in kernel:
        magnitude = EPSILON**-0.5 * 10  # of 1 / deviation where a row is constant
    assert_close(fast(inputs), slow(inputs.exact()), dtype, magnitude)


# --- What the formulas leave out ------------------------------------------------------------------


def test_softmax_of_infinitely_unlikely_entries_is_zero_there() -> None:
    found = reference.softmax(np.array([[0.0, -np.inf, 0.0]]))
    np.testing.assert_array_equal(found, [[0.5, 0.0, 0.5]])


def test_cross_entropy_of_a_hopeless_target_is_finite() -> None:
    nats, _ = reference.cross_entropy(np.array([[1e6, 0.0]]), np.array([1]))
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


# --- Attention ------------------------------------------------------------------------------------

# (queries, keys), around and across the borders of tiles of queries
LENGTHS = [(1, 1), (1, 5), (127, 127), (128, 128), (129, 129), (300, 300), (129, 300), (2, 129)]


@pytest.fixture(params=["one tile or few", "many tiles"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As tiles are cut by default, and as small as they get."""
    if request.param == "many tiles":
        monkeypatch.setattr(reference, "SCORE_BYTES", 1)


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("queries", "keys"), LENGTHS)
@pytest.mark.usefixtures("tiles")
def test_attention_is_a_masked_softmax(queries: int, keys: int, dtype: type) -> None:
    grad, q, k, v = draw_attention(queries, keys, dtype)
    exact = [each.astype(np.float64) for each in (grad, q, k, v)]
    assert_close(attend(q, k, v), slow_attention(*exact[1:])[:2], dtype)
    assert_close(attend_backward(grad, q, k, v), slow_attention_backward(*exact), dtype, 10)


@pytest.mark.usefixtures("tiles")
def test_attention_with_scores_in_the_thousands_is_finite_and_right() -> None:
    grad, q, k, v = draw_attention(130, 130, np.float64, scale=50)
    assert_close(attend(q, k, v), slow_attention(q, k, v)[:2], np.float64, 1e4)
    expected = slow_attention_backward(grad, q, k, v)
    assert_close(attend_backward(grad, q, k, v), expected, np.float64, 1e4)


@pytest.mark.usefixtures("tiles")
def test_attention_with_equal_scores_takes_the_mean_of_what_came_before() -> None:
    _, _, _, v = draw_attention(300, 300, np.float64)
    out, _ = attend(np.zeros_like(v), np.ones_like(v), v)
    means = np.cumsum(v, axis=1) / np.arange(1, 301)[:, None]
    np.testing.assert_allclose(out, means, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("queries", "keys"), [(129, 129), (300, 300), (129, 300)])
@pytest.mark.usefixtures("tiles")
def test_attention_never_looks_at_the_future(queries: int, keys: int) -> None:
    _, q, k, v = draw_attention(queries, keys, np.float32)
    before, totals = attend(q, k, v)
    for changed in (1, 15, 16, 64, queries - 1):
        k2, v2 = k.copy(), v.copy()
        k2[:, keys - queries + changed :] += 3
        v2[:, keys - queries + changed :] *= -2
        after, totals2 = attend(q, k2, v2)
        np.testing.assert_array_equal(after[:, :changed], before[:, :changed])
        np.testing.assert_array_equal(totals2[:, :changed], totals[:, :changed])
        assert (after[:, changed:] != before[:, changed:]).any(axis=2).all()


@pytest.mark.usefixtures("tiles")
def test_attention_sends_no_gradient_to_the_future() -> None:
    grad, q, k, v = draw_attention(300, 300, np.float64)
    early = np.where(np.arange(300)[:, None] < 150, grad, 0)
    _, by_k, by_v = attend_backward(early, q, k, v)
    assert not by_k[:, 150:].any()
    assert not by_v[:, 150:].any()


def test_attention_of_no_queries_writes_nothing() -> None:
    out, log_total = attend(np.empty((2, 0, 4)), np.ones((2, 3, 4)), np.ones((2, 3, 4)))
    assert out.shape == (2, 0, 4)
    assert log_total.shape == (2, 0, 1)


# --- Scattering -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index_type", [np.uint8, np.int64])
@pytest.mark.parametrize(
    ("n", "size", "n_rows"), [(0, 3, 4), (1, 1, 1), (500, 3, 7), (20, 5, 200), (64, 4, 1)]
)
def test_scatter_rows_equals_add_at(
    n: int, size: int, n_rows: int, index_type: type, dtype: type
) -> None:
    rng = stream(0, "scatter")
    grad = rng.integers(-9, 10, size=(n, size)).astype(dtype)  # whole numbers: sums are exact
    indices = rng.integers(n_rows, size=n).astype(index_type)
    expected = np.zeros((n_rows, size), dtype)
    np.add.at(expected, indices, grad)
    grad.flags.writeable = indices.flags.writeable = False
    found = reference.scatter_rows(grad, indices, n_rows)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)
