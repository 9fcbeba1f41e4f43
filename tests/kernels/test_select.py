"""The public kernels: compiled and plain agree, and neither depends on the number of threads."""

import itertools
from collections.abc import Callable
from functools import partial

from lmladder import kernels
from lmladder.kernels import blocks, fused, reference, tiles
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.system.streams import stream
from tests.autograd.cases import OP_NAMES, cases_of

import numpy as np
import pytest

SETTINGS = (0.9, 0.999, 1e-8, 0.5, 1e-3, 0.271, 0.003, 0.99)  # of Adam's third step

Results = tuple[Array, ...]


def strided(name: str, *shape: int) -> FloatArray:
    """Return frozen random numbers with gaps between them and the axes in reverse order."""
    twice = [2 * n for n in reversed(shape)]
    array = stream(0, name).standard_normal(twice).astype(np.float32)
    array.flags.writeable = False
    return array[(slice(None, None, 2),) * len(shape)].T


def chosen(name: str, *shape: int, below: int) -> IntArray:
    return stream(0, name).integers(below, size=shape)


def results_of(op: str, layout: str) -> Results:
    """Return the results and gradients of all cases of an op in float32, in a memory layout."""
    results = [case.results(np.float32, layout=layout) for case in cases_of(op)]
    return tuple(itertools.chain(*results))


def adam() -> Results:
    grad, mean, square, value = (strided(name, 150_000).copy() for name in "gmsv")
    square **= 2
    kernels.adam(kernels.cut(grad, mean, square, value), *SETTINGS)
    return mean, square, value


def linear_backward() -> Results:
    shapes = {"grad": (700, 130), "x": (700, 256), "weight": (256, 130)}  # several blocks
    return kernels.linear_backward(*(strided(name, *shape) for name, shape in shapes.items()))


def scatter_rows() -> Results:
    grad, ids = strided("grad", 999, 67), chosen("ids", 1998, below=9)[::2]
    return (kernels.scatter_rows(grad, ids, 11),)


def linear_row() -> Results:
    shapes = {"x": (1, 1, 67), "weight": (67, 33), "bias": (33,)}
    return (kernels.linear_row(*(strided(name, *shape) for name, shape in shapes.items())),)


def cached_attention() -> Results:
    q, k, v = (strided(name, 2, 3, 1, 8) for name in "qkv")
    keys, values = (strided(name, 2, 3, 9, 8).copy("C") for name in ("K", "V"))
    return kernels.cached_attention(q, k, v, keys, values, np.array([4]), 3), keys, values


# Kernels that no op uses, or in other sizes; on arrays with gaps.
KERNELS: dict[str, Callable[[], Results]] = {
    each.__name__: each
    for each in (adam, linear_backward, scatter_rows, linear_row, cached_attention)
}


def assert_choices_agree(compute: Callable[[], Results], expected: Results | None = None) -> None:
    """Assert that one, two and three threads give equal bits, and both choices equal values."""
    for choice in ("numpy", "numba"):
        kernels.select(choice)
        kernels.set_threads(1)
        found = compute()
        for threads in (2, 3):
            kernels.set_threads(threads)
            for ours, right in zip(compute(), found, strict=True):
                assert ours.dtype == right.dtype
                np.testing.assert_array_equal(ours, right)
        expected = expected or found
        for ours, right in zip(found, expected, strict=True):
            assert ours.dtype == right.dtype
            # Rounding errors are relative to the numbers added up, so to the largest of the result.
            size = float(np.abs(right).max(initial=1))
            np.testing.assert_allclose(ours, right, rtol=4e-6, atol=4e-6 * size)


@pytest.mark.parametrize("kernel", KERNELS)
def test_both_choices_agree_and_do_not_depend_on_the_number_of_threads(kernel: str) -> None:
    assert_choices_agree(KERNELS[kernel])


@pytest.mark.parametrize("op", OP_NAMES)
def test_an_op_gives_the_same_by_both_choices_and_any_number_of_threads(
    op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels.select("numpy")
    expected = results_of(op, "rows")
    # Blocks and tiles so small that even these arrays are divided into many.
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 8)
    monkeypatch.setattr(blocks, "PRODUCT_ROWS", 2)
    monkeypatch.setattr(blocks, "PRODUCT_WORK", 1)
    monkeypatch.setattr(tiles, "SCORE_BYTES", 1)
    monkeypatch.setattr(tiles, "QUERIES", 2)
    monkeypatch.setattr(tiles, "GROUP_BYTES", 1)
    for layout in ("gaps", "columns"):
        assert_choices_agree(partial(results_of, op, layout), expected)


def test_select_chooses_the_kernels_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "gelu_tanh", lambda x, out: out.fill(1))
    monkeypatch.setattr(reference, "gelu_tanh", lambda x, out: out.fill(2))
    for choice, mark in (("numba", 1), ("numpy", 2)):
        kernels.select(choice)
        assert kernels.selected() == choice
        assert (kernels.elementwise("gelu_tanh", np.zeros(3, np.float32)) == mark).all()
        assert (kernels.elementwise("gelu_tanh", np.zeros(3)) == 2).all()
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
        kernels.cached_attention(q, q, q, keys, values, np.array([position]), 9)
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


@pytest.mark.parametrize(("ids", "low", "high"), [([0, 6], 0, 6), ([-1, 2], -1, 2)])
def test_an_index_outside_of_the_table_is_named(ids: list[int], low: int, high: int) -> None:
    with pytest.raises(IndexError, match=rf"^ids range from {low} to {high}, not in \[0, 6\)$"):
        kernels.gather_rows(TABLE, np.array(ids))
    with pytest.raises(IndexError, match=rf"^ids range from {low} to {high}, not in \[0, 6\)$"):
        kernels.scatter_rows(np.ones((2, 3)), np.array(ids), 6)
    with pytest.raises(IndexError, match=rf"^targets range from {low} to {high}, not"):
        kernels.cross_entropy(np.zeros((2, 6)), np.array(ids))
