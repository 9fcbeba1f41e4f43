"""The compiled kernels compute the same bits on every machine, with functions of their own.

The inputs of the table are integers divided by a power of two, so they are exact everywhere.
"""

import hashlib
import math
from collections.abc import Callable, Iterator

from lmladder.kernels import fused, reference
from lmladder.system.arrays import Array, FloatArray
from lmladder.system.streams import stream

import numpy as np
import pytest

SIZES = (1, 3, 15, 16, 17, 59, 65, 192)
EPSILON = 2.0**-17
ADAM = (0.875, 0.9375, 2.0**-20, 0.5, 2.0**-10, 0.25, 0.125, 0.96875)  # exact in float32

Draw = Callable[..., FloatArray]
Case = Callable[[Draw, int], list[Array]]


def draw_from(name: str) -> Draw:
    """Return a function that returns multiples of 1 / 1024 between -4 and 4."""
    rng = stream(0, name)

    def draw(*shape: int) -> FloatArray:
        return (rng.integers(-4096, 4097, shape) / 1024).astype(np.float32)

    return draw


def results(name: str, *arguments: object, like: list[FloatArray]) -> list[Array]:
    """Return what a kernel writes into arrays shaped as those of `like`."""
    written: list[Array] = [np.full_like(each, np.nan) for each in like]
    getattr(fused, name)(*arguments, *written)
    return written


# ------------------------------------------------------------------------------- the same bits


def elementwise(name: str, n_inputs: int = 1) -> Case:
    def compute(draw: Draw, n: int) -> list[Array]:
        inputs = [draw(n) for _ in range(n_inputs)]
        return results(name, *inputs, like=inputs[:1])

    return compute


def log(draw: Draw, n: int) -> list[Array]:
    x = abs(draw(n))
    return results("log", x, like=[x])


def dropout(draw: Draw, n: int) -> list[Array]:
    x, chances = draw(n), abs(draw(n)) / 4
    return results("dropout", x, chances, 0.25, like=[x])


def layer_norm(draw: Draw, n: int) -> list[Array]:
    x, grad, weight, bias, each = draw(9, n), draw(9, n), draw(n), draw(n), draw(9)
    made = results("layer_norm", x, weight, bias, EPSILON, like=[x, each, each])
    like = [x, weight, bias]
    return made + results("layer_norm_backward", grad, x, *made[1:], weight, like=like)


def rms_norm(draw: Draw, n: int) -> list[Array]:
    x, grad, weight, each = draw(9, n), draw(9, n), draw(n), draw(9)
    made = results("rms_norm", x, weight, EPSILON, like=[x, each])
    return made + results("rms_norm_backward", grad, x, made[1], weight, like=[x, weight])


def causal_convolution(draw: Draw, n: int) -> list[Array]:
    x, grad, weight = draw(2, 5, n), draw(2, 5, n), draw(3, n)
    made = results("causal_convolution", x, weight, like=[x])
    return made + results("causal_convolution_backward", grad, x, weight, like=[x, weight])


def rotary(draw: Draw, n: int) -> list[Array]:
    made: list[Array] = []
    x, grad, angles = draw(2, 3, 2, 2 * n), draw(2, 3, 2, 2 * n), (draw(3, n), draw(3, n))
    for epsilon in (0.0, EPSILON):
        saved = results("rotary", x, *angles, epsilon, like=[x, x[..., 0]])
        made += saved
        made += results("rotary_backward", grad, *saved, *angles, epsilon, like=[x])
    return made


def cross_entropy(draw: Draw, n: int) -> list[Array]:
    x, targets, each = draw(9, n), np.arange(9) * 7 % n, draw(9)
    made = results("cross_entropy", x, targets, like=[each, each])
    grad = draw(1)
    return made + results("cross_entropy_backward", x, targets, made[1], grad, like=[x])


def log_mixture(draw: Draw, n: int) -> list[Array]:
    x, gate, other, grad = draw(9, n), draw(9), abs(draw(9, n)), draw(9, n)
    gate[::2] *= 32  # beyond all limits
    made = results("log_mixture", x, gate, other, like=[x, gate])
    like = [x, gate, other]
    return made + results("log_mixture_backward", grad, x, gate, other, made[1], like=like)


def causal_softmax(draw: Draw, n: int) -> list[Array]:
    scores, grads = draw(2, n, n + 2), draw(2, n, n + 2)
    weights, log_total = scores.copy(), np.empty((2, n), np.float32)
    fused.causal_softmax(weights, 0.3125, 21, log_total)
    again = scores.copy()
    fused.causal_softmax_backward(grads, again, log_total, 0.3125, 21)
    return [weights, log_total, grads, again]


def scatter_rows(draw: Draw, n: int) -> list[Array]:
    return results("scatter_rows", draw(40, n), np.arange(40) * 7 % 5, like=[draw(5, n)])


def adam(draw: Draw, n: int) -> list[Array]:
    grad, mean, square, value = draw(n), draw(n), abs(draw(n)), draw(n)
    fused.adam(grad, mean, square, value, *ADAM)
    return [mean, square, value]


def square_sum(draw: Draw, n: int) -> list[Array]:
    return [np.array([fused.square_sum(draw(n)), fused.square_sum(draw(100 * n))])]


def linear_row(draw: Draw, n: int) -> list[Array]:
    made: list[Array] = []
    for size in (3, n, 256 + n, 600):  # sums of one to three parts
        bias = draw(n)
        made += results("linear_row", draw(size), draw(size, n), bias, like=[bias])
    return made


def cached_convolution(draw: Draw, n: int) -> list[Array]:
    x, weight, inputs = draw(2, n), draw(3, n), draw(2, 5, n)
    return [*results("cached_convolution", x, weight, inputs, np.array([3]), like=[x]), inputs]


def cached_attention(draw: Draw, n: int) -> list[Array]:
    q, k, v = draw(2, 2, 1, n), draw(2, 2, 1, n), draw(2, 2, 1, n)
    keys, values = draw(2, 2, 40, n), draw(2, 2, 40, n)
    arguments = q, k, v, keys, values, np.array([37]), 0.3125, 21
    return [*results("cached_attention", *arguments, like=[q]), keys, values]


CASES: dict[str, tuple[Case, str]] = {
    "exp": (elementwise("exp"), "fe826360a12ccf88"),
    "log": (log, "5e0949dddb72a41e"),
    "sigmoid": (elementwise("sigmoid"), "aff32b12f166dd2e"),
    "gelu": (elementwise("gelu"), "4efca30b673952e8"),
    "gelu_backward": (elementwise("gelu_backward", 2), "d336b823e4130446"),
    "gelu_tanh": (elementwise("gelu_tanh"), "85b121a6da990450"),
    "gelu_tanh_backward": (elementwise("gelu_tanh_backward", 2), "7755f765cf581972"),
    "relu_squared": (elementwise("relu_squared"), "4b6bf35d8bc75151"),
    "relu_squared_backward": (elementwise("relu_squared_backward", 2), "b330525b5ed1eb81"),
    "dropout": (dropout, "aba90b6b3386fb35"),
    "layer_norm": (layer_norm, "c4904c67aea250fc"),
    "rms_norm": (rms_norm, "83cffa23c754fd65"),
    "causal_convolution": (causal_convolution, "a3a8a8621c471bfa"),
    "rotary": (rotary, "2a1c403e6a9fd872"),
    "cross_entropy": (cross_entropy, "0896a7267def7904"),
    "log_mixture": (log_mixture, "9966bd2da11ca6f9"),
    "causal_softmax": (causal_softmax, "d6250464e034ac3b"),
    "scatter_rows": (scatter_rows, "e45e1bc04492916e"),
    "adam": (adam, "32db11de260ab33b"),
    "square_sum": (square_sum, "8f16e2aa800abed5"),
    "linear_row": (linear_row, "cf91713f2bb2ee15"),
    "cached_convolution": (cached_convolution, "22a90515fe6636fc"),
    "cached_attention": (cached_attention, "d117164a1a6ebc5e"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_kernel_computes_the_same_bits_on_every_machine(name: str) -> None:
    case, expected = CASES[name]
    digest, draw = hashlib.sha256(), draw_from(name)
    for n in SIZES:
        for array in case(draw, n):
            assert not np.isnan(array).any()  # whose bits differ between machines
            digest.update(array.tobytes())
    assert digest.hexdigest()[:16] == expected


def test_each_compiled_kernel_has_a_case() -> None:
    kernels = [each for each in vars(fused) if each in vars(reference) and not each.startswith("_")]
    names = {name for name in kernels if hasattr(getattr(fused, name), "signatures")}
    assert {name for name in names if name.removesuffix("_backward") not in CASES} == set()
    assert set(CASES) <= names


# ------------------------------------------------------------------------------- definitions


def test_a_product_of_a_row_is_a_chain_for_each_256_terms() -> None:
    """Fused multiply-adds of numbers with few digits are exact in float64, then rounded once."""
    draw = draw_from("chain")
    n, m = 700, 21
    x, weight, bias = draw(n), draw(n, m), draw(m)
    parts = []
    for start in range(0, n, 256):
        part = np.zeros(m, np.float32)
        for k in range(start, min(start + 256, n)):
            part = (x[k].astype(np.float64) * weight[k] + part).astype(np.float32)
        parts.append(part)
    expected = parts[0] + parts[1] + parts[2] + bias
    np.testing.assert_array_equal(results("linear_row", x, weight, bias, like=[bias])[0], expected)


# ------------------------------------------------------------------------------- exp and log


def errors(name: str, x: FloatArray, exact: FloatArray) -> FloatArray:
    """Return the errors of a kernel in units in the last place."""
    (found,) = results(name, x, like=[x])
    unit = np.spacing(np.abs(exact.astype(np.float32))).astype(np.float64)
    error: FloatArray = np.abs(found - exact) / unit
    return error


def blocks_of_bits(step: int) -> Iterator[FloatArray]:
    """Yield every `step`-th positive finite float32, subnormal ones included."""
    for start in range(1, 0x7F800000, 1 << 28):
        stop = min(start + (1 << 28), 0x7F800000)
        yield np.arange(start, stop, step, dtype=np.uint32).view(np.float32)


def test_exp_is_right_to_two_units_in_the_last_place() -> None:
    x = np.linspace(-87.29, 88.7228, 1_000_001).astype(np.float32)
    assert errors("exp", x, np.exp(x.astype(np.float64))).max() < 2
    for size in blocks_of_bits(4999):  # close to 0, where linspace has few numbers
        x = np.concatenate([size, -size])[np.abs(np.concatenate([size, size])) < 87.29]
        assert errors("exp", x, np.exp(x.astype(np.float64))).max(initial=0) < 2


def test_log_is_right_to_two_units_in_the_last_place() -> None:
    for x in blocks_of_bits(4999):
        assert errors("log", x, np.log(x.astype(np.float64))).max() < 2
    x = np.linspace(0.5, 2, 1_000_001).astype(np.float32)
    exact = np.log(x.astype(np.float64))
    assert errors("log", x[exact != 0], exact[exact != 0]).max() < 2


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("exp", [0.0, -0.0, 1e-40, -math.inf], [1, 1, 1, 0]),
        ("exp", [math.inf, math.nan], [math.inf, math.nan]),
        ("exp", [-87.4, -104, -1e30, 88.8, 1e30], [0, 0, 0, math.inf, math.inf]),
        ("log", [1.0, 0.0, -0.0, math.inf], [0, -math.inf, -math.inf, math.inf]),
        ("log", [-1.0, -1e-40, -math.inf, math.nan], [math.nan] * 4),
        ("sigmoid", [0.0, -math.inf, math.inf, math.nan, -1e30], [0.5, 0, 1, math.nan, 0]),
    ],
)
def test_special_values(name: str, x: list[float], expected: list[float]) -> None:
    for copies in (1, 40):  # one at a time, and in all lanes of a vector
        numbers = np.repeat(np.array(x, np.float32), copies)
        (found,) = results(name, numbers, like=[numbers])
        np.testing.assert_array_equal(found, np.repeat(np.array(expected, np.float32), copies))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("column", [0, 15, 16, 36])
def test_a_row_with_a_number_that_is_not_finite_is_as_in_the_reference(
    bad: float, column: int
) -> None:
    x = draw_from("bad")(3, 37)
    x[1, column] = bad
    made: list[list[Array]] = []
    for module in (fused, reference):
        nll, log_total, totals = (np.empty(3, np.float32) for _ in range(3))
        scores = x[:, None].copy()  # of one query that sees all keys
        with np.errstate(invalid="ignore"):
            module.cross_entropy(x, np.array([1, 2, 3]), nll, log_total)
            module.causal_softmax(scores, 1.0, 37, totals[:, None])
        made.append([nll, log_total, totals, scores])
    for ours, right in zip(*made, strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-5, atol=1e-5)
