"""The public kernels: compiled and plain agree, and neither depends on the number of threads."""

from collections.abc import Callable
from typing import Any

from lmladder import kernels
from lmladder.kernels import fused, reference
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.system.streams import stream

import numpy as np
import pytest

SETTINGS = (0.9, 0.999, 1e-8, 0.5, 1e-3, 0.271, 0.003, 0.99)  # of Adam's third step
ROWS = (7, 211, 67)  # more than two blocks

Results = tuple[Array, ...]
Compute = Callable[[type], Results]


def strided(name: str, *shape: int, dtype: type) -> FloatArray:
    """Return frozen random numbers with gaps between them and the axes in reverse order."""
    twice = [2 * n for n in reversed(shape)]
    array = stream(0, name).standard_normal(twice).astype(dtype)
    array.flags.writeable = False
    return array[(slice(None, None, 2),) * len(shape)].T


def rows(name: str, dtype: type) -> FloatArray:
    return strided(name, *ROWS, dtype=dtype)


def chosen(name: str, *shape: int, below: int) -> IntArray:
    return stream(0, name).integers(below, size=shape)


def elementwise(kernel: str, *names: str, **options: Any) -> Compute:
    return lambda dtype: (
        kernels.elementwise(kernel, *(rows(each, dtype) for each in names), **options),
    )


def norm(kernel: Callable[..., Results], *names: str) -> Compute:
    def compute(dtype: type) -> Results:
        vectors = [strided(name, 67, dtype=dtype).copy() for name in names]
        return kernel(rows("x", dtype), *vectors, 1e-5)

    return compute


def norm_backward(forward: Compute, backward: Callable[..., Results]) -> Compute:
    def compute(dtype: type) -> Results:
        weight = strided("weight", 67, dtype=dtype).copy()
        _, *statistics = forward(dtype)
        return backward(rows("grad", dtype), rows("x", dtype), *statistics, weight)

    return compute


def cross_entropy(dtype: type) -> Results:
    logits, grad = rows("x", dtype), strided("grad", 1, dtype=dtype)
    targets = chosen("targets", 211, 7, below=67).astype(np.int32).T
    nll, log_total = kernels.cross_entropy(logits, targets)
    return nll, log_total, kernels.cross_entropy_backward(grad, logits, targets, log_total)


def attention(queries: int, keys: int) -> Compute:
    def compute(dtype: type) -> Results:
        # laid out as a layer splits its heads: (batch, time, heads, size) seen with heads first
        lengths = {"grad": queries, "q": queries, "k": keys, "v": keys}
        grad, q, k, v = (
            stream(0, name).standard_normal((2, n, 3, 8)).astype(dtype).transpose(0, 2, 1, 3)
            for name, n in lengths.items()
        )
        out, log_total = kernels.attention(q, k, v)
        assert out.strides == q.strides
        return out, log_total, *kernels.attention_backward(grad, q, k, v, out, log_total)

    return compute


def adam(dtype: type) -> Results:
    grad, mean, square, value = (strided(name, 150_000, dtype=dtype).copy() for name in "gmsv")
    square **= 2
    kernels.adam(kernels.cut(grad, mean, square, value), *SETTINGS)
    return mean, square, value


def linear_backward(dtype: type) -> Results:
    shapes = {"grad": (700, 130), "x": (700, 256), "weight": (256, 130)}  # several blocks
    return kernels.linear_backward(
        *(strided(name, *shape, dtype=dtype) for name, shape in shapes.items())
    )


def scatter_rows(dtype: type) -> Results:
    grad, ids = strided("grad", 999, 67, dtype=dtype), chosen("ids", 1998, below=9)[::2]
    return (kernels.scatter_rows(grad, ids, 11),)


def causal_convolution(dtype: type) -> Results:
    x, grad, weight = rows("x", dtype), rows("grad", dtype), strided("weight", 4, 67, dtype=dtype)
    return (
        kernels.causal_convolution(x, weight),
        *kernels.causal_convolution_backward(grad, x, weight),
    )


def linear_row(dtype: type) -> Results:
    shapes = {"x": (1, 1, 67), "weight": (67, 33), "bias": (33,)}
    return (kernels.linear_row(*(strided(name, *s, dtype=dtype) for name, s in shapes.items())),)


def cached_attention(dtype: type) -> Results:
    q, k, v = (strided(name, 2, 3, 1, 8, dtype=dtype) for name in "qkv")
    keys, values = (strided(name, 2, 3, 9, 8, dtype=dtype).copy("C") for name in ("K", "V"))
    return kernels.cached_attention(q, k, v, keys, values, np.array([4])), keys, values


LAYER_NORM = norm(kernels.layer_norm, "weight", "bias")
RMS_NORM = norm(kernels.rms_norm, "weight")
# Each public kernel on arrays with gaps and several leading axes.
KERNELS: dict[str, Compute] = {
    "softmax": lambda dtype: (kernels.softmax(rows("x", dtype)),),
    "gelu": elementwise("gelu", "x"),
    "gelu_backward": elementwise("gelu_backward", "grad", "x"),
    "dropout": elementwise("dropout", "x", "grad", shared=[0.4]),
    "layer_norm": LAYER_NORM,
    "layer_norm_backward": norm_backward(LAYER_NORM, kernels.layer_norm_backward),
    "rms_norm": RMS_NORM,
    "rms_norm_backward": norm_backward(RMS_NORM, kernels.rms_norm_backward),
    "cross_entropy": cross_entropy,
    "attention": attention(131, 131),
    "attention of the last queries": attention(5, 300),
    "adam": adam,
    "linear_backward": linear_backward,
    "scatter_rows": scatter_rows,
    "causal_convolution": causal_convolution,
    "linear_row": linear_row,
    "cached_attention": cached_attention,
}


def assert_equal(found: Results, expected: Results) -> None:
    for ours, right in zip(found, expected, strict=True):
        assert ours.dtype == right.dtype
        np.testing.assert_array_equal(ours, right)


@pytest.mark.parametrize("kernel", KERNELS)
def test_both_choices_agree_and_do_not_depend_on_the_number_of_threads(kernel: str) -> None:
    compute = KERNELS[kernel]
    found: dict[str, Any] = {}
    for choice in kernels.CHOICES:
        kernels.select(choice)
        kernels.set_threads(1)
        found[choice] = compute(np.float32)
        for threads in (2, 3):
            kernels.set_threads(threads)
            assert_equal(compute(np.float32), found[choice])
    for ours, right in zip(found["numba"], found["numpy"], strict=True):
        assert ours.dtype == right.dtype == np.float32
        # Rounding errors are relative to the numbers added up, so to the largest of the result.
        size = float(np.abs(right).max())
        np.testing.assert_allclose(ours, right, rtol=1e-6, atol=1e-6 * size)


def test_select_chooses_the_kernels_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "softmax", lambda x, out: out.fill(1))
    monkeypatch.setattr(reference, "softmax", lambda x, out: out.fill(2))
    for choice, mark in (("numba", 1), ("numpy", 2)):
        kernels.select(choice)
        assert kernels.selected() == choice
        assert (kernels.softmax(np.zeros((3, 4), np.float32)) == mark).all()
        assert (kernels.softmax(np.zeros((3, 4), np.float64)) == 2).all()
    with pytest.raises(ValueError, match="'Numba'; choose from numba, numpy"):
        kernels.select("Numba")
    assert kernels.selected() == "numpy"


# --- Awkward shapes and indices -------------------------------------------------------------------


@pytest.mark.parametrize("choice", kernels.CHOICES)
@pytest.mark.parametrize("position", [-1, 9])
def test_a_position_outside_of_the_cache_is_rejected(position: int, choice: str) -> None:
    kernels.select(choice)
    q = np.ones((1, 1, 1, 4), np.float32)
    keys, values = np.zeros((2, 1, 1, 9, 4), np.float32)
    with pytest.raises(IndexError, match="position"):
        kernels.cached_attention(q, q, q, keys, values, np.array([position]))
    with pytest.raises(IndexError, match="position"):
        kernels.cached_convolution(q[0], q[0, 0], keys[0], np.array([position]))


def test_square_sums_are_of_arrays_of_any_sizes() -> None:
    for sizes in ([], [0], [1], [70_000], [3, 0, 40_000, 5, 32_768, 32_769]):
        arrays = [stream(0, "x", size).standard_normal(size).astype(np.float32) for size in sizes]
        exact = [float(np.square(each, dtype=np.float64).sum()) for each in arrays]
        for threads in (1, 3):
            kernels.set_threads(threads)
            assert kernels.square_sums(arrays) == pytest.approx(exact, rel=1e-6)


# --- Rows of a table ------------------------------------------------------------------------------

TABLE = np.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint64])
def test_rows_are_fetched_for_integers_of_any_type_and_shape(dtype: Any) -> None:
    for shape in [(), (0,), (3,), (2, 3)]:
        ids = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
        assert np.array_equal(kernels.gather_rows(TABLE, ids), TABLE[ids])
        assert np.array_equal(kernels.gather_rows(TABLE, ids.T), TABLE[ids.T])


@pytest.mark.parametrize(("ids", "low", "high"), [([0, 6], 0, 6), ([-1, 2], -1, 2)])
def test_an_index_outside_of_the_table_is_named(ids: list[int], low: int, high: int) -> None:
    with pytest.raises(IndexError, match=rf"^ids range from {low} to {high}, not in \[0, 6\)$"):
        kernels.gather_rows(TABLE, np.array(ids))
    with pytest.raises(IndexError, match=rf"^ids range from {low} to {high}, not in \[0, 6\)$"):
        kernels.scatter_rows(np.ones((2, 3)), np.array(ids), 6)
    with pytest.raises(IndexError, match=rf"^targets range from {low} to {high}, not"):
        kernels.cross_entropy(np.zeros((2, 6)), np.array(ids))
