"""Each kernel in float32, plain and compiled, against `reference` in float64 or a formula.

The ops compute with `reference` in float64 when they are checked, so their tests prove that it is
right; here it is the truth for the kernels in float32.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from types import ModuleType

from lmladder.kernels import fused, reference
from lmladder.nn import ACTIVATIONS
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.system.streams import stream

import numpy as np
import pytest

EPSILON = 1e-5
RELATIVE = 2e-5

MODULES = {"reference": reference, "fused": fused}
either = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)


def run(
    kernel: Callable[..., None], *arguments: object, like: Sequence[Array]
) -> tuple[FloatArray, ...]:
    """Return what a kernel writes into arrays shaped as those of `like`, which start as NaN."""
    written = tuple(np.full_like(each, np.nan) for each in like)
    kernel(*arguments, *written)
    return written


def assert_close(
    found: Sequence[FloatArray], expected: Sequence[FloatArray], magnitude: float
) -> None:
    """Equal up to rounding of numbers that are as large as `magnitude` along the way."""
    for ours, right in zip(found, expected, strict=True):
        assert ours.dtype == np.float32
        assert np.isfinite(right).all()
        np.testing.assert_allclose(ours, right, rtol=RELATIVE, atol=RELATIVE * magnitude)


# --- Inputs ---------------------------------------------------------------------------------------

SHAPES = [(0, 4), (1, 1), (5, 1), (6, 8), (33, 65)]
DRAWS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], FloatArray]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "large": lambda rng, shape: rng.standard_normal(shape) * 1e4,
    "tiny": lambda rng, shape: rng.standard_normal(shape) * 1e-6,
    "constant": lambda rng, shape: np.full(shape, 3.5),
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
    def draw(cls, kind: str, shape: tuple[int, int]) -> "Inputs":
        rng = stream(0, f"{kind} {shape}")
        rows, n = shape
        x, *others = DRAWS[kind](rng, shape), *map(rng.standard_normal, (shape, n, n, rows))
        arrays = [*(each.astype(np.float32) for each in (x, *others)), rng.integers(n, size=rows)]
        for array in arrays:
            array.flags.writeable = False
        return cls(*arrays)

    def exact(self) -> "Inputs":
        """Return the same numbers in float64."""
        floats = (self.x, self.grad, self.weight, self.bias, self.row_grad)
        return Inputs(*(each.astype(np.float64) for each in floats), self.targets)

    def with_one(self, field: str, value: float) -> "Inputs":
        """Replace one number of one array, neither the first nor the last."""
        array = getattr(self, field).copy()
        array[(1,) * array.ndim] = value
        array.flags.writeable = False
        return replace(self, **{field: array})


# --- The table ------------------------------------------------------------------------------------


def layer_norm_backward(m: ModuleType, i: Inputs) -> tuple[FloatArray, ...]:
    like = [i.x, i.row_grad, i.row_grad]
    _, mean, inverse = run(m.layer_norm, i.x, i.weight, i.bias, EPSILON, like=like)
    like = [i.x, i.weight, i.weight]
    return run(m.layer_norm_backward, i.grad, i.x, mean, inverse, i.weight, like=like)


def rms_norm_backward(m: ModuleType, i: Inputs) -> tuple[FloatArray, ...]:
    _, inverse = run(m.rms_norm, i.x, i.weight, EPSILON, like=[i.x, i.row_grad])
    return run(m.rms_norm_backward, i.grad, i.x, inverse, i.weight, like=[i.x, i.weight])


def rotary(m: ModuleType, i: Inputs, epsilon: float = 0.0) -> tuple[FloatArray, ...]:
    x = two_heads(i.x)
    return run(m.rotary, x, *angles(i), epsilon, like=[x, x[..., 0]])


def rotary_backward(m: ModuleType, i: Inputs, epsilon: float = 0.0) -> tuple[FloatArray, ...]:
    """Without a norm, only the gradient determines the result, so `x` is the gradient."""
    saved, grad = rotary(m, i, epsilon), two_heads(i.grad if epsilon else i.x)
    return run(m.rotary_backward, grad, *saved, *angles(i), epsilon, like=[grad])


def two_heads(x: FloatArray) -> FloatArray:
    """Return one sequence with two vectors at each position: (time, n) -> (1, time, 2, 2 n)."""
    return np.stack([x, x[::-1]], axis=1).repeat(2, axis=2)[None]


def angles(i: Inputs) -> tuple[FloatArray, FloatArray]:
    """Return cosines and sines, (time, n), of one angle for each element of `weight`."""
    each = np.broadcast_to(i.weight, i.x.shape)
    return np.cos(each), np.sin(each)


def causal_convolution(m: ModuleType, i: Inputs) -> tuple[FloatArray, ...]:
    x = sequences(i.x)
    return run(m.causal_convolution, x, lags(i), like=[x])


def causal_convolution_backward(m: ModuleType, i: Inputs) -> tuple[FloatArray, ...]:
    """Only the gradient determines the first result, so `x` is the gradient."""
    grad, x, weight = sequences(i.x), sequences(i.grad), lags(i)
    return run(m.causal_convolution_backward, grad, x, weight, like=[x, weight])


def sequences(x: FloatArray) -> FloatArray:
    """Return a sequence of four vectors for each row: (rows, n) -> (rows, 4, n)."""
    return np.stack([x, x[:, ::-1], x, x], axis=1)


def lags(i: Inputs) -> FloatArray:
    """Return weights of three lags, (3, n)."""
    return np.stack([i.weight, i.bias, i.weight[::-1]])


def cross_entropy_backward(m: ModuleType, i: Inputs) -> tuple[FloatArray, ...]:
    _, log_total = run(m.cross_entropy, i.x, i.targets, like=[i.row_grad, i.row_grad])
    return run(m.cross_entropy_backward, i.x, i.targets, log_total, i.weight[:1], like=[i.x])


def log_mixture(m: ModuleType, i: Inputs) -> tuple[FloatArray, ...]:
    return run(m.log_mixture, i.x, i.row_grad, np.abs(i.grad), like=[i.x, i.row_grad])


def log_mixture_backward(m: ModuleType, i: Inputs) -> tuple[FloatArray, ...]:
    inputs = i.x, i.row_grad, np.abs(i.grad)
    return run(m.log_mixture_backward, i.grad, *inputs, log_mixture(m, i)[1], like=inputs)


def elementwise(name: str, *fields: str) -> Callable[[ModuleType, Inputs], tuple[FloatArray, ...]]:
    def call(m: ModuleType, i: Inputs) -> tuple[FloatArray, ...]:
        arrays = [getattr(i, field).reshape(-1) for field in fields]
        return run(getattr(m, name), *arrays, like=arrays[:1])

    return call


COMPILED = [name for name in ACTIVATIONS if hasattr(fused, f"{name}_backward")]

# A kernel's results from a module and inputs.
KERNELS: dict[str, Callable[[ModuleType, Inputs], tuple[FloatArray, ...]]] = {
    **{name: elementwise(name, "x") for name in (*COMPILED, "sigmoid")},
    **{f"{name}_backward": elementwise(f"{name}_backward", "grad", "x") for name in COMPILED},
    "rotary": rotary,
    "rotary_backward": rotary_backward,
    "rotary, norm": partial(rotary, epsilon=EPSILON),
    "rotary_backward, norm": partial(rotary_backward, epsilon=EPSILON),
    "causal_convolution": causal_convolution,
    "causal_convolution_backward": causal_convolution_backward,
    "dropout": lambda m, i: run(
        m.dropout, i.x.reshape(-1), i.grad.reshape(-1), 0.25, like=[i.x.reshape(-1)]
    ),
    "layer_norm": lambda m, i: run(
        m.layer_norm, i.x, i.weight, i.bias, EPSILON, like=[i.x, i.row_grad, i.row_grad]
    ),
    "layer_norm_backward": layer_norm_backward,
    "rms_norm": lambda m, i: run(m.rms_norm, i.x, i.weight, EPSILON, like=[i.x, i.row_grad]),
    "rms_norm_backward": rms_norm_backward,
    "cross_entropy": lambda m, i: run(
        m.cross_entropy, i.x, i.targets, like=[i.row_grad, i.row_grad]
    ),
    "cross_entropy_backward": cross_entropy_backward,
    "log_mixture": log_mixture,
    "log_mixture_backward": log_mixture_backward,
}
each_kernel = pytest.mark.parametrize("kernel", KERNELS)


@either
@each_kernel
def test_a_kernel_agrees_with_the_reference_in_float64(kernel: str, module: ModuleType) -> None:
    for draw, shape in product(DRAWS, SHAPES):
        inputs = Inputs.draw(draw, shape)
        # Logits of 1e4 in float32 are known to 1e-3 only, whatever is done with them.
        magnitude = float(np.abs(inputs.x).max(initial=1)) if "gelu" not in kernel else 1.0
        if "norm" in kernel and "backward" in kernel:
            steep = draw in ("constant", "tiny") or shape[1] == 1  # 1 / deviation of equal numbers
            magnitude = EPSILON**-0.5 * 10 if steep else 10.0
        found, exact = KERNELS[kernel](module, inputs), KERNELS[kernel](reference, inputs.exact())
        assert_close(found, exact, magnitude)


# --- Extremes -------------------------------------------------------------------------------------

ODD = [math.nan, math.inf, -math.inf, 0.0, 1e-40, 1e4, -1e4, 1e10, 1e30, -1e30]


@each_kernel
def test_fused_treats_odd_numbers_as_the_reference_does(kernel: str) -> None:
    """One NaN, infinity or huge number among others, and a whole array of them."""
    inputs = Inputs.draw("normal", (6, 40))
    some = [inputs.with_one(field, value) for value, field in product(ODD, ("x", "grad"))]
    some += [inputs.with_one(field, math.nan) for field in ("weight", "bias", "row_grad")]
    inputs = Inputs.draw("normal", (6, 24))  # of which means of equal numbers are exact
    full = [replace(inputs, x=np.full_like(inputs.x, value)) for value in ODD]
    for odd, absolute in [*((each, 2e-6) for each in some), *((each, 1e-4) for each in full)]:
        with np.errstate(all="ignore"):
            found, expected = KERNELS[kernel](fused, odd), KERNELS[kernel](reference, odd)
        for ours, right in zip(found, expected, strict=True):
            size = np.nanmax(np.abs(np.where(np.isfinite(right), right, 0)), initial=1)
            np.testing.assert_allclose(ours, right, rtol=2e-5, atol=absolute * min(size, 1e4))


@each_kernel
def test_a_nan_in_x_never_becomes_a_number(kernel: str) -> None:
    for column in range(40):  # whatever lane of the vector unit it falls into
        inputs = Inputs.draw("normal", (3, 40))
        bad = inputs.x.copy()
        bad[1, column] = math.nan
        out = KERNELS[kernel](fused, replace(inputs, x=bad))[0].reshape(3, -1)
        assert np.isnan(out[1]).any()
        assert not np.isnan(out[[0, 2]]).any()


def test_fused_exponentials_are_right_to_two_units_in_the_last_place() -> None:
    x = np.concatenate([[0], np.linspace(-87, 0, 200_001), [-87.3, -88, -104, -1e4, -1e30]])
    rows = np.stack([np.zeros(x.size), x], axis=1).astype(np.float32)
    found = rows[:, None].copy()  # one query of two keys each
    fused.causal_softmax(found, 1.0, 2, np.empty((x.size, 1), np.float32))
    exact = rows[:, 1].astype(np.float64)
    expected = np.exp(exact) / (1 + np.exp(exact))
    np.testing.assert_allclose(found[:, 0, 1], expected, rtol=4e-7, atol=1.3e-38)


@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 4e-16), (np.float32, 2e-7)])
def test_erf_is_right_to_the_last_bits(dtype: type, error: float) -> None:
    odd = [0.46875, -0.46875, np.nextafter(0.46875, 1), 6.0, 30.0, -1e30, 1e-20]
    points = np.concatenate([np.linspace(-7, 7, 20_001), odd]).astype(dtype)
    with np.errstate(over="ignore"):
        found, opposite = reference.erf(points), reference.erf(-points)
    assert found.dtype == dtype
    assert np.abs(found - [math.erf(point) for point in points]).max() <= error
    np.testing.assert_array_equal(opposite, -found)
    ends = reference.erf(np.array([-np.inf, np.inf, np.nan], dtype))
    np.testing.assert_array_equal(ends, [-1.0, 1.0, np.nan])


# --- Causal softmax -------------------------------------------------------------------------------

# (queries, keys): square, wide, one query, one key
CAUSAL = [(1, 1), (1, 9), (5, 5), (3, 40), (40, 40), (0, 4)]


def draw_scores(queries: int, keys: int, size: float = 1.0) -> FloatArray:
    rng = stream(0, f"scores {queries} {keys}")
    return (rng.standard_normal((2, queries, keys)) * size).astype(np.float32)


def causal_softmax(
    module: ModuleType, scores: FloatArray, scale: float, window: int = 99
) -> tuple[FloatArray, FloatArray]:
    """Return weights and log totals; the latter are a slice of a larger array, as in tiles."""
    weights = scores.copy()
    totals = np.full((2, scores.shape[1] + 3), np.nan, scores.dtype)
    module.causal_softmax(weights, scale, window, totals[:, 1:-2])
    assert np.isnan(totals[:, [0, -2, -1]]).all()
    return weights, totals[:, 1:-2].copy()


def causal_softmax_backward(
    module: ModuleType, by_weights: FloatArray, scores: FloatArray, scale: float, window: int
) -> tuple[FloatArray, FloatArray]:
    """Return gradients of the scores, and the weights."""
    _, totals = causal_softmax(module, scores, scale, window)
    totals.flags.writeable = False
    by_scores, again = by_weights.copy(), scores.copy()
    module.causal_softmax_backward(by_scores, again, totals, scale, window)
    return by_scores, again


@either
def test_causal_softmax_agrees_with_the_reference_in_float64(module: ModuleType) -> None:
    for size, (queries, keys), window in product([1.0, 1e-6, 0.0, 1e4], CAUSAL, [1, 4, 20, 40]):
        scores = draw_scores(queries, keys, size)
        exact = scores.astype(np.float64)
        # Scores of 1e4 in float32, once scaled, are known to 1e-3 only.
        magnitude = max(1.0, size)
        expected = causal_softmax(reference, exact, 0.35, window)
        assert_close(causal_softmax(module, scores, 0.35, window), expected, magnitude)
        grad = draw_scores(queries, keys)[:, ::-1].copy()
        found = causal_softmax_backward(module, grad, scores, 0.35, window)
        by_weights = grad.astype(np.float64)
        expected = causal_softmax_backward(reference, by_weights, exact, 0.35, window)
        assert_close(found, expected, magnitude)


@pytest.mark.parametrize(
    ("module", "value"),
    # The reference hides the future by adding -inf, which leaves NaN of what is not finite.
    [(reference, 1e30), (fused, 1e30), (fused, np.inf), (fused, np.nan)],
    ids=["reference-large", "fused-large", "fused-inf", "fused-nan"],
)
def test_causal_softmax_ignores_the_future(module: ModuleType, value: float) -> None:
    scores = draw_scores(5, 5)
    before = causal_softmax(module, scores, 0.5)
    future = np.triu(np.ones((5, 5), bool), 1)
    after = causal_softmax(module, np.where(future, np.float32(value), scores), 0.5)
    for ours, right in zip(after, before, strict=True):
        np.testing.assert_array_equal(ours, right)
