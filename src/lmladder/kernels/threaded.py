"""The kernels for arrays of any leading shape, by all threads, a block of rows each.

Of each kernel there are two: in `reference`, plain NumPy, and in `fused`, compiled, for float32.
`select` says which are used.
"""

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from lmladder.kernels import reference, tiles
from lmladder.kernels.blocks import (
    as_rows,
    contiguous,
    empty,
    over_rows,
    parallel_for,
    threads,
)
from lmladder.kernels.indices import numbers_below
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.tracing import run

import numpy as np

FLOAT32 = np.dtype(np.float32)
PIECE = 1 << 15  # elements of a vector, so that threads can share it ...
SHARED = 4 * PIECE  # ... where there are more than these in all

CHOICES = ("numba", "numpy")
_choice = "numba"


def select(choice: str) -> None:
    """Use compiled kernels, "numba", or those in plain NumPy, "numpy", from now on.

    They agree but for rounding. Those of float64, which only checks use, are always NumPy's.
    Without a call, the compiled ones are used, and loaded when first needed.
    """
    global _choice
    if choice not in CHOICES:
        raise ValueError(f"unknown kernels {choice!r}; choose from {', '.join(CHOICES)}")
    _choice = choice
    if choice == "numba":
        _fused()  # now, so that the run's record of its code has it


def selected() -> str:
    """The choice of kernels in use."""
    return _choice


def describe() -> dict[str, Any]:
    """Return the choice of kernels and the number of threads, for environment.json."""
    return {"kernels": selected(), "threads": threads()}


def _kernels(array: FloatArray) -> ModuleType:
    return _fused() if _choice == "numba" and array.dtype == np.float32 else reference


@cache
def _fused() -> ModuleType:
    """The compiled kernels, when first needed: Numba takes half a second."""
    return import_module("lmladder.kernels.fused")


def _rows(array: Array) -> Array:
    """(..., n) as rows one after another in memory."""
    return contiguous(as_rows(array))


def _flat(array: Array) -> Array:
    return contiguous(array).reshape(-1)


def _elementwise(kernel: Callable[..., None], *arrays: FloatArray) -> FloatArray:
    """kernel(*arrays, out) for arrays of one shape."""
    out = np.empty_like(arrays[0], order="C")
    over_rows(kernel, [_flat(array) for array in arrays], out=[out.reshape(-1)])
    return out


def softmax(x: FloatArray) -> FloatArray:
    """Softmax along the last axis: (..., n) -> (..., n)."""
    rows = _rows(x)
    out = np.empty_like(rows)
    over_rows(_kernels(x).softmax, [rows], out=[out])
    return out.reshape(x.shape)


def gelu(x: FloatArray) -> FloatArray:
    """Exact GELU, elementwise."""
    return _elementwise(_kernels(x).gelu, x)


def gelu_backward(grad: FloatArray, x: FloatArray) -> FloatArray:
    """Gradient of `gelu` at x."""
    return _elementwise(_kernels(x).gelu_backward, grad, x)


def gelu_tanh(x: FloatArray) -> FloatArray:
    """GELU in its tanh form, elementwise."""
    return _elementwise(_kernels(x).gelu_tanh, x)


def gelu_tanh_backward(grad: FloatArray, x: FloatArray) -> FloatArray:
    """Gradient of `gelu_tanh` at x."""
    return _elementwise(_kernels(x).gelu_tanh_backward, grad, x)


def layer_norm(
    x: FloatArray, weight: FloatArray, bias: FloatArray, epsilon: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`reference.layer_norm` of (..., n): the result, and each row's statistics, (rows,)."""
    rows = _rows(x)
    out = np.empty_like(rows)
    mean, inverse = empty(x, len(rows)), empty(x, len(rows))
    over_rows(
        _kernels(x).layer_norm,
        [rows],
        _flat(weight),
        _flat(bias),
        epsilon,
        out=[out, mean, inverse],
    )
    return out.reshape(x.shape), mean, inverse


def layer_norm_backward(
    grad: FloatArray, x: FloatArray, mean: FloatArray, inverse: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`reference.layer_norm_backward` of (..., n)."""
    rows = [_rows(grad), _rows(x), mean, inverse]
    out = np.empty_like(rows[0])
    sums = [np.empty_like(weight, order="C") for _ in range(2)]
    over_rows(_kernels(x).layer_norm_backward, rows, _flat(weight), out=[out], sums=sums)
    return out.reshape(x.shape), sums[0], sums[1]


def rms_norm(x: FloatArray, weight: FloatArray, epsilon: float) -> tuple[FloatArray, FloatArray]:
    """`reference.rms_norm` of (..., n): the result, and each row's statistic, (rows,)."""
    rows = _rows(x)
    out, inverse = np.empty_like(rows), empty(x, len(rows))
    over_rows(_kernels(x).rms_norm, [rows], _flat(weight), epsilon, out=[out, inverse])
    return out.reshape(x.shape), inverse


def rms_norm_backward(
    grad: FloatArray, x: FloatArray, inverse: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """`reference.rms_norm_backward` of (..., n)."""
    rows = [_rows(grad), _rows(x), inverse]
    out, by_weight = np.empty_like(rows[0]), np.empty_like(weight, order="C")
    over_rows(_kernels(x).rms_norm_backward, rows, _flat(weight), out=[out], sums=[by_weight])
    return out.reshape(x.shape), by_weight


def cross_entropy(logits: FloatArray, targets: IntArray) -> tuple[FloatArray, FloatArray]:
    """`reference.cross_entropy` of (..., vocabulary) and (...); both results are like targets.

    Raises
    ------
    IndexError
        If a target is out of range.
    """
    rows = [_rows(logits), numbers_below(targets, logits.shape[-1], "targets")]
    nats, log_total = (empty(logits, targets.size) for _ in range(2))
    over_rows(_kernels(logits).cross_entropy, rows, out=[nats, log_total])
    return nats.reshape(targets.shape), log_total.reshape(targets.shape)


def cross_entropy_backward(
    grad: FloatArray, logits: FloatArray, targets: IntArray, log_total: FloatArray
) -> FloatArray:
    """`reference.cross_entropy_backward` of a number, (..., vocabulary), (...) and (...)."""
    numbers = numbers_below(targets, logits.shape[-1], "targets")
    rows = [_rows(logits), numbers, _flat(log_total)]
    out = np.empty_like(rows[0])
    over_rows(_kernels(logits).cross_entropy_backward, rows, grad.reshape(1), out=[out])
    return out.reshape(logits.shape)


def attention(q: FloatArray, k: FloatArray, v: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Causal attention of (batch, heads, queries, size) on (batch, heads, keys, size).

    Returns the result, laid out in memory as q is, and the log totals that its backward needs.
    """
    out, log_total = np.empty_like(q), empty(q, q.shape[:-1])
    step = tiles.examples_at_a_time(q, k)
    over_rows(tiles.attention, [q, k, v], _kernels(q), out=[out, log_total], step=step)
    return out, log_total


def attention_backward(
    grad: FloatArray,
    q: FloatArray,
    k: FloatArray,
    v: FloatArray,
    out: FloatArray,
    log_total: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Gradients of `attention` with respect to q, k and v, laid out in memory as they are."""
    grads = np.empty_like(q), np.empty_like(k), np.empty_like(v)
    rows, step = [grad, q, k, v, out, log_total], tiles.examples_at_a_time(q, k)
    over_rows(tiles.attention_backward, rows, _kernels(q), out=grads, step=step)
    return grads


def dropout(x: FloatArray, chances: FloatArray, rate: float) -> FloatArray:
    """`reference.dropout` of arrays of one shape, elementwise."""
    out = np.empty_like(x, order="C")
    over_rows(_kernels(x).dropout, [_flat(x), _flat(chances)], rate, out=[out.reshape(-1)])
    return out


def linear_row(x: FloatArray, weight: FloatArray, bias: FloatArray) -> FloatArray:
    """x @ weight + bias of a single row: (..., n), (n, m), (m,) -> (..., m)."""
    out = empty(x, (*x.shape[:-1], weight.shape[1]))
    arrays = _flat(x), contiguous(weight), _flat(bias), out.reshape(-1)
    run(_kernels(x).linear_row, *arrays)
    return out


def cached_attention(
    q: FloatArray,
    k: FloatArray,
    v: FloatArray,
    keys: FloatArray,
    values: FloatArray,
    position: IntArray,
) -> FloatArray:
    """`reference.cached_attention` of (rows, heads, 1, size), keys and values being changed.

    Raises
    ------
    IndexError
        If the position is past those that keys and values have room for.
    """
    out = np.empty_like(q, order="C")
    arrays = [contiguous(each) for each in (q, k, v)]
    run(_kernels(q).cached_attention, *arrays, keys, values, position, q.shape[3] ** -0.5, out)
    return out


def scatter_rows(grad: FloatArray, indices: IntArray, n_rows: int) -> FloatArray:
    """Sum the rows of `grad` that share an index: (..., size), (...) -> (n_rows, size)."""
    out = empty(grad, (n_rows, grad.shape[-1]))
    numbers = numbers_below(indices, n_rows, "ids")
    run(_kernels(grad).scatter_rows, _rows(grad), numbers, out)
    return out


def cut(*arrays: FloatArray) -> list[tuple[FloatArray, ...]]:
    """Arrays of one size as vectors, (n,), cut alike into pieces; views where memory allows."""
    vectors = [each.ravel() for each in arrays]
    starts = range(0, vectors[0].size, PIECE)
    return [tuple([each[start : start + PIECE] for each in vectors]) for start in starts]


def adam(pieces: Sequence[tuple[FloatArray, ...]], *settings: float) -> None:
    """`reference.adam` of pieces of grad, mean, square and value; all but `grad` are changed.

    Raises
    ------
    ValueError
        If the vectors of a piece differ in size.
    """
    compiled = _all_compiled([piece[0] for piece in pieces])
    _share_calls((_fused() if compiled else reference).adam, pieces, settings)


def square_sums(arrays: Sequence[FloatArray]) -> list[float]:
    """The sum of squares of each array, in float64."""
    if not _all_compiled(arrays):
        return [reference.square_sum(each.ravel()) for each in arrays]
    flat, kernel = [each.ravel() for each in arrays], _fused().square_sum
    sizes = [each.size for each in flat]
    if max(sizes, default=0) <= PIECE and sum(sizes) <= SHARED:
        return [kernel(each) for each in flat]
    pieces = [
        (each[start : start + PIECE],) for each in flat for start in range(0, each.size, PIECE)
    ]
    parts = iter(_share_calls(kernel, pieces))
    sums = []
    for each in flat:
        total = 0.0
        for _ in range(0, each.size, PIECE):
            total += next(parts)
        sums.append(total)
    return sums


def _all_compiled(arrays: Sequence[FloatArray]) -> bool:
    """Whether the compiled kernels are in use for all of some arrays."""
    return _choice == "numba" and [each.dtype for each in arrays].count(FLOAT32) == len(arrays)


def _share_calls(
    kernel: Callable[..., Any], pieces: Sequence[tuple[FloatArray, ...]], settings: Any = ()
) -> list[Any]:
    """kernel(*piece, *settings) of each; threads share them, several at a time if small."""
    total = sum([piece[0].size for piece in pieces])
    if total <= SHARED:
        return [kernel(*piece, *settings) for piece in pieces]
    step = max(1, len(pieces) * PIECE // total)
    results: list[Any] = [None] * len(pieces)

    def some(index: int) -> None:
        part = slice(index * step, (index + 1) * step)
        results[part] = [kernel(*piece, *settings) for piece in pieces[part]]

    parallel_for(some, -(-len(pieces) // step))
    return results
