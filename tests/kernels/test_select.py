"""Compiled or plain: `select` says which kernels are used, and they agree but for rounding."""

from collections.abc import Callable
from functools import partial

from lmladder import kernels
from lmladder.kernels import fused, reference, threaded
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.system.streams import stream

import numpy as np
import pytest

SETTINGS = (0.9, 0.999, 1e-8, 0.5, 1e-3, 0.271, 0.003, 0.99)  # of Adam's third step


def strided(name: str, *shape: int, dtype: type) -> FloatArray:
    """Frozen random numbers, neither in order nor in one piece: every other, axes reversed."""
    twice = [2 * n for n in reversed(shape)]
    array = stream(0, name).standard_normal(twice).astype(dtype)
    array.flags.writeable = False
    return array[(slice(None, None, 2),) * len(shape)].T


def chosen(name: str, *shape: int, below: int) -> IntArray:
    return stream(0, name).integers(below, size=shape)


def _layer_norm_backward(dtype: type) -> tuple[Array, ...]:
    x, grad = (strided(name, 4, 30, 5, 67, dtype=dtype) for name in ("x", "grad"))
    weight = np.ascontiguousarray(strided("weight", 67, dtype=dtype))
    _, mean, inverse = kernels.layer_norm(x, weight, weight, 1e-5)
    return kernels.layer_norm_backward(grad, x, mean, inverse, weight)


def _rms_norm_backward(dtype: type) -> tuple[Array, ...]:
    x, grad = (strided(name, 4, 30, 5, 67, dtype=dtype) for name in ("x", "grad"))
    weight = np.ascontiguousarray(strided("weight", 67, dtype=dtype))
    _, inverse = kernels.rms_norm(x, weight, 1e-5)
    return kernels.rms_norm_backward(grad, x, inverse, weight)


def _cross_entropy_backward(dtype: type) -> tuple[Array, ...]:
    logits, grad = strided("x", 4, 50, 67, dtype=dtype), strided("grad", 1, dtype=dtype)
    targets = chosen("targets", 50, 4, below=67).astype(np.int32).T
    _, log_total = kernels.cross_entropy(logits, targets)
    return (kernels.cross_entropy_backward(grad, logits, targets, log_total),)


def _attention(dtype: type) -> list[FloatArray]:
    shapes = {"grad": 40, "q": 40, "k": 90, "v": 90}
    return [strided(name, 2, 3, length, 8, dtype=dtype) for name, length in shapes.items()]


def _attention_backward(dtype: type) -> tuple[Array, ...]:
    grad, q, k, v = _attention(dtype)
    return kernels.attention_backward(grad, q, k, v, *kernels.attention(q, k, v))


def _adam(dtype: type, size: int = 70_000) -> tuple[Array, ...]:
    grad, mean, square, value = (strided(name, size, dtype=dtype).copy() for name in "gmsv")
    square **= 2
    kernels.adam(kernels.cut(grad, mean, square, value), *SETTINGS)
    return mean, square, value


ROW = {"x": (1, 1, 67), "weight": (67, 33), "bias": (33,)}


def _cached_attention(dtype: type) -> tuple[Array, ...]:
    q, k, v = (strided(name, 2, 3, 1, 8, dtype=dtype) for name in "qkv")
    keys, values = (strided(name, 2, 3, 9, 8, dtype=dtype).copy("C") for name in ("K", "V"))
    return kernels.cached_attention(q, k, v, keys, values, np.array([4])), keys, values


def _elementwise(wrapper: Callable[..., Array], *names: str) -> Callable[[type], tuple[Array, ...]]:
    return lambda dtype: (wrapper(*(strided(each, 4, 30, 5, 67, dtype=dtype) for each in names)),)


def _with_vectors(
    wrapper: Callable[..., tuple[Array, ...]], *names: str
) -> Callable[[type], tuple[Array, ...]]:
    def compute(dtype: type) -> tuple[Array, ...]:
        vectors = [strided(name, 67, dtype=dtype).copy() for name in names]
        return wrapper(strided("x", 4, 30, 5, 67, dtype=dtype), *vectors, 1e-5)

    return compute


# Each public wrapper on arrays that are not in one piece and have several leading axes.
WRAPPERS: dict[str, Callable[[type], tuple[Array, ...]]] = {
    "softmax": _elementwise(kernels.softmax, "x"),
    "gelu": _elementwise(kernels.gelu, "x"),
    "gelu_backward": _elementwise(kernels.gelu_backward, "grad", "x"),
    "gelu_tanh": _elementwise(kernels.gelu_tanh, "x"),
    "gelu_tanh_backward": _elementwise(kernels.gelu_tanh_backward, "grad", "x"),
    "layer_norm": _with_vectors(kernels.layer_norm, "weight", "bias"),
    "layer_norm_backward": _layer_norm_backward,
    "rms_norm": _with_vectors(kernels.rms_norm, "weight"),
    "rms_norm_backward": _rms_norm_backward,
    "cross_entropy": lambda dtype: kernels.cross_entropy(
        strided("x", 4, 50, 67, dtype=dtype), chosen("targets", 50, 4, below=67).T
    ),
    "cross_entropy_backward": _cross_entropy_backward,
    "attention": lambda dtype: kernels.attention(*_attention(dtype)[1:]),
    "attention_backward": _attention_backward,
    "scatter_rows": lambda dtype: (
        kernels.scatter_rows(
            strided("grad", 300, 5, dtype=dtype), chosen("ids", 600, below=9)[::2], 11
        ),
    ),
    "dropout": _elementwise(partial(kernels.dropout, rate=0.4), "x", "grad"),
    "adam": _adam,
    "linear_row": lambda dtype: (
        kernels.linear_row(
            *(strided(name, *shape, dtype=dtype) for name, shape in ROW.items()),
        ),
    ),
    "cached_attention": _cached_attention,
}


def test_every_public_wrapper_is_in_the_table() -> None:
    wrappers = {
        name
        for name, each in vars(threaded).items()
        if getattr(each, "__module__", None) == threaded.__name__ and not name.startswith("_")
    }
    others = {"cut", "describe", "select", "selected", "square_sums", "uniform"}
    assert wrappers - others == WRAPPERS.keys()
    assert all(getattr(kernels, name) is getattr(threaded, name) for name in wrappers)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_both_choices_agree_in_float32(wrapper: str) -> None:
    kernels.select("numpy")
    plain = WRAPPERS[wrapper](np.float32)
    kernels.select("numba")
    for ours, right in zip(WRAPPERS[wrapper](np.float32), plain, strict=True):
        assert ours.dtype == right.dtype == np.float32
        assert ours.shape == right.shape
        # Rounding errors are relative to the numbers added up, so to the largest of the result.
        size = float(np.abs(right).max())
        np.testing.assert_allclose(ours, right, rtol=1e-6, atol=1e-6 * size)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_float64_is_always_plain(wrapper: str) -> None:
    kernels.select("numpy")
    plain = WRAPPERS[wrapper](np.float64)
    kernels.select("numba")  # compiled for float32 only: called with float64, they would raise
    for ours, right in zip(WRAPPERS[wrapper](np.float64), plain, strict=True):
        assert ours.dtype == np.float64
        np.testing.assert_array_equal(ours, right)


def test_select_chooses_the_kernels_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "softmax", lambda x, out: out.fill(1))
    monkeypatch.setattr(reference, "softmax", lambda x, out: out.fill(2))
    for choice, mark in (("numba", 1), ("numpy", 2)):
        kernels.select(choice)
        assert kernels.selected() == choice
        assert (kernels.softmax(np.zeros((3, 4), np.float32)) == mark).all()
        assert (kernels.softmax(np.zeros((3, 4), np.float64)) == 2).all()


@pytest.mark.parametrize("wrong", ["", "Numba", "torch"])
def test_select_refuses_an_unknown_name_and_tells_the_choices(wrong: str) -> None:
    before = kernels.selected()
    with pytest.raises(ValueError, match=f"'{wrong}'; choose from numba, numpy"):
        kernels.select(wrong)
    assert kernels.selected() == before


@pytest.mark.parametrize("choice", threaded.CHOICES)
@pytest.mark.parametrize("index_type", [np.uint8, np.int32, np.uint32, np.int64])
def test_ids_may_be_integers_of_any_type(index_type: type, choice: str) -> None:
    kernels.select(choice)
    logits = strided("x", 6, 9, dtype=np.float32)
    ids = chosen("ids", 6, below=9)
    np.testing.assert_array_equal(
        kernels.scatter_rows(logits, ids.astype(index_type), 9),
        kernels.scatter_rows(logits, ids, 9),
    )
    found = kernels.cross_entropy(logits, ids.astype(index_type))
    np.testing.assert_array_equal(found, kernels.cross_entropy(logits, ids))


@pytest.mark.parametrize("sizes", [[], [0], [1], [70_000], [3, 0, 40_000, 5, 32_768, 32_769]])
@pytest.mark.parametrize("threads", [1, 3])
def test_square_sums_are_of_arrays_of_any_sizes(sizes: list[int], threads: int) -> None:
    kernels.set_threads(threads)
    arrays = [stream(0, "x", size).standard_normal(size).astype(np.float32) for size in sizes]
    exact = [float(np.square(each, dtype=np.float64).sum()) for each in arrays]
    assert kernels.square_sums(arrays) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("size", [0, 1, 32_768, 70_001])
def test_adam_is_the_same_in_pieces_as_in_one(size: int) -> None:
    whole = [strided(name, size, dtype=np.float32).copy() ** 2 for name in "gmsv"]
    parts = [each.copy() for each in whole]
    fused.adam(*whole, *SETTINGS)
    kernels.adam(kernels.cut(*parts), *SETTINGS)
    for ours, right in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(ours, right)


@pytest.mark.parametrize("choice", threaded.CHOICES)
@pytest.mark.parametrize("position", [-1, 9])
def test_a_position_that_a_cache_has_no_room_for_is_refused(position: int, choice: str) -> None:
    kernels.select(choice)
    q = np.ones((1, 1, 1, 4), np.float32)
    keys, values = np.zeros((2, 1, 1, 9, 4), np.float32)
    with pytest.raises(IndexError, match="the position is not in the cache"):
        kernels.cached_attention(q, q, q, keys, values, np.array([position]))
