"""The arithmetic of the ops that take most of the time, on arrays; nothing here uses Tensors.

Each kernel exists twice: in `reference`, in plain NumPy, and in `fused`, compiled for float32.
`select` chooses between them. Both compute a block of rows; `by_rows` accepts any number of leading
axes, cuts rows into blocks, and shares these among threads. Blocks depend on shapes only, so the
results do not depend on the number of threads.
"""

import math
from functools import cache, reduce
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from operator import add
from typing import Any

from lmladder.kernels import blocks, reference, tiles
from lmladder.kernels.blocks import (
    apply_to_row_blocks,
    as_rows,
    contiguous,
    empty,
    no_partitioning,
    parallel_for,
    set_threads,
    sum_into,
    threads,
)
from lmladder.system.extras import require
from lmladder.tracing import run

import numpy as np

FLOAT32 = np.dtype(np.float32)
PIECE = 1 << 15  # elements of a piece of a vector
MAX_SERIAL = 4 * PIECE  # elements up to which one thread computes all pieces

CHOICES = ("numba", "numpy")
_choice = "numba" if find_spec("numba") else "numpy"


def select(choice: str) -> None:
    """Use the compiled kernels, "numba", the default if Numba is installed, or NumPy, "numpy".

    Their results differ only by rounding. The kernels for float64, which only checks use, are
    always those in NumPy.
    """
    global _choice
    if choice not in CHOICES:
        raise ValueError(f"unknown kernels {choice!r}; choose from {', '.join(CHOICES)}")
    if choice == "numba":
        require("runtime.kernels=numba", "numba", extra="numba")
    _choice = choice
    if choice == "numba":
        _fused()  # load it now, so that the record of the code of a run includes it


def selected() -> str:
    """Return the choice of kernels in use."""
    return _choice


def describe() -> dict[str, Any]:
    """Return the choice of kernels and the number of threads, for machine.json."""
    return {"kernels": selected(), "threads": threads()}


def _kernels(array):
    return _fused() if _choice == "numba" and array.dtype == np.float32 else reference


@cache
def _fused():
    """Return the compiled kernels; imported on first use, as loading Numba takes half a second."""
    return import_module("lmladder.kernels.fused")


def by_rows(name, *rows, out, shared=(), sums=(), axes=1):
    """Return the results of the kernel `name` of `reference`, computed for blocks of rows.

    Parameters
    ----------
    rows : arrays with the same leading axes, which become the rows; the first one determines dtype
        and kernels
    axes : number of the other axes of the first array; 0 for an elementwise kernel
    shared : arguments for all rows, which follow `rows`
    out : shapes of the results, with the same leading axes
    sums : arrays of the shapes of the results that are sums over rows
    """
    lead, n = rows[0].shape[: rows[0].ndim - axes], math.prod(rows[0].shape[: rows[0].ndim - axes])

    def flat(array):
        return contiguous(array).reshape(n, *array.shape[len(lead) :])

    shared = [contiguous(each) if isinstance(each, np.ndarray) else each for each in shared]
    made = [empty(rows[0], shape) for shape in out]
    totals = [np.empty_like(each, order="C") for each in sums]
    kernel = getattr(_kernels(rows[0]), name)
    apply_to_row_blocks(
        kernel, list(map(flat, rows)), *shared, out=list(map(flat, made)), sums=totals
    )
    return (*made, *totals)


def elementwise(name, *arrays, shared=()):
    """Return the result of an elementwise kernel: of an activation, its gradient, or dropout."""
    (result,) = by_rows(name, *arrays, out=[arrays[0].shape], shared=shared, axes=0)
    return result


def _checked_indices(indices, count, name):
    """Return the indices as a C-contiguous int64 array.

    Raises
    ------
    IndexError
        If an index is not in [0, count), which compiled code does not check.
    """
    found = contiguous(indices.astype(np.int64, copy=False))
    run(_check_range, found, count, name)
    return found


def _check_range(indices, count, name):
    # as unsigned integers, negative ones are the largest
    if indices.size and np.maximum.reduce(indices.view(np.uint64), None) >= count:
        raise IndexError(
            f"{name} range from {indices.min()} to {indices.max()}, not in [0, {count})"
        )


def gather_rows(table, indices):
    """Return the rows of a table at the indices: (n, size), (...) -> (..., size).

    Raises
    ------
    IndexError
        If an index is out of range.
    """
    found = _checked_indices(indices, len(table), "ids")
    out = empty(table, (*indices.shape, table.shape[1]))
    run(np.take, table, found, 0, out, "clip")  # mode="raise" would buffer `out`
    return out


def cross_entropy(logits, targets):
    """Return `reference.cross_entropy` of (..., vocabulary) and (...): two arrays of shape (...).

    Raises
    ------
    IndexError
        If a target is out of range.
    """
    rows = logits, _checked_indices(targets, logits.shape[-1], "targets")
    return by_rows("cross_entropy", *rows, out=[targets.shape] * 2)


def matmul(a, b, bias=None):
    """Return a @ b (+ bias), in float32 with the same bits on every machine.

    Parameters
    ----------
    a : array, shape (..., n, k)
    b : array, shape (k, m), or (..., k, m) with leading axes that broadcast against those of a
    bias : array, shape (m,), or None

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    return blocks.matmul(_kernels(a).multiply, a, b, bias)


def linear_backward(grad, x, weight):
    """Return the gradients of x @ weight + bias with respect to x, weight and bias.

    The arguments have the shapes (..., m), (..., n) and (n, m).
    """
    return blocks.linear_backward(_kernels(x).multiply, grad, x, weight)


def attention(q, k, v, window):
    """Return causal attention of (batch, heads, queries, size) to (batch, heads, keys, size).

    Each query sees at most `window` keys. The values, (batch, heads, keys, n), may be of another
    size. The results are the attention, (batch, heads, queries, n) in the memory layout of q, and
    `log_total` for the gradient.
    """
    out = np.empty_like(q, shape=(*q.shape[:-1], v.shape[-1]))
    log_total = empty(q, q.shape[:-1])
    rows, made = _by_head(q, k, v), _by_head(out, log_total)
    step = tiles.examples_per_block(*rows[:2])
    apply_to_row_blocks(tiles.attention, rows, _kernels(q), window, out=made, step=step)
    return out, log_total


def attention_backward(grad, q, k, v, log_total, window):
    """Return the gradients of `attention` with respect to q, k and v, in their memory layouts."""
    grads = np.empty_like(q), np.empty_like(k), np.empty_like(v)
    rows, made = _by_head(grad, q, k, v, log_total), _by_head(*grads)
    step = tiles.examples_per_block(*rows[1:3])
    apply_to_row_blocks(tiles.attention_backward, rows, _kernels(q), window, out=made, step=step)
    return grads


def _by_head(*arrays):
    """Return arrays (1, heads, ...) as (heads, 1, ...), which threads can share; others as is."""
    return [each.swapaxes(0, 1) if each.shape[0] == 1 else each for each in arrays]


def linear_row(x, weight, bias):
    """Return x @ weight + bias for a single row: (..., n), (n, m), (m,) -> (..., m)."""
    out = empty(x, (*x.shape[:-1], weight.shape[1]))
    arrays = contiguous(x).reshape(-1), contiguous(weight), contiguous(bias), out.reshape(-1)
    run(_kernels(x).linear_row, *arrays)
    return out


def cached_attention(q, k, v, keys, values, position, window):
    """Return `reference.cached_attention` of (rows, heads, 1, size); changes keys and values.

    Raises
    ------
    IndexError
        If the keys and values have no such position.
    """
    out = np.empty_like(v, order="C")
    arrays = [contiguous(each) for each in (q, k, v)]
    position = _checked_indices(position, keys.shape[2], "positions")
    numbers = q.shape[3] ** -0.5, window
    run(_kernels(q).cached_attention, *arrays, keys, values, position, *numbers, out)
    return out


def cached_convolution(x, weight, inputs, position):
    """Return `reference.cached_convolution` of (rows, 1, n); changes inputs.

    Raises
    ------
    IndexError
        If the inputs have no such position.
    """
    rows, out = contiguous(x[:, 0]), np.empty_like(x[:, 0], order="C")
    position = _checked_indices(position, inputs.shape[1], "positions")
    run(_kernels(x).cached_convolution, rows, contiguous(weight), inputs, position, out)
    return out[:, None]


def scatter_rows(grad, indices, n_rows):
    """Sum the rows of `grad` that have the same index: (..., size), (...) -> (n_rows, size)."""
    out = empty(grad, (n_rows, grad.shape[-1]))
    found = _checked_indices(indices, n_rows, "ids").reshape(-1)
    run(_kernels(grad).scatter_rows, contiguous(as_rows(grad)), found, out)
    return out


def cut(*arrays):
    """Cut arrays of one size, as vectors, into pieces, which are views if the layout allows."""
    vectors = [each.ravel() for each in arrays]
    starts = range(0, vectors[0].size, PIECE)
    return [tuple([each[start : start + PIECE] for each in vectors]) for start in starts]


def adam(pieces, *settings):
    """Apply `reference.adam` to pieces of grad, mean, square and value; changes all but `grad`."""
    compiled = _all_compiled([piece[0] for piece in pieces])
    _map((_fused() if compiled else reference).adam, pieces, settings)


def square_sums(arrays):
    """Return the sum of squares of each array.

    In float32, blocks of 4,096 are added in float32, and their sums in float64.
    """
    compiled, vectors = _all_compiled(arrays), [each.ravel() for each in arrays]
    kernel = _fused().square_sum if compiled else reference.square_sum
    if not compiled or sum([each.size for each in vectors]) <= PIECE:  # fast for a small model
        return [kernel(each) for each in vectors]
    cuts = [cut(each) for each in vectors]
    sums = iter(_map(kernel, [piece for pieces in cuts for piece in pieces]))
    return [reduce(add, islice(sums, len(pieces)), 0.0) for pieces in cuts]


def _all_compiled(arrays):
    """Return whether the compiled kernels are in use for all arrays."""
    return _choice == "numba" and [each.dtype for each in arrays].count(FLOAT32) == len(arrays)


def _map(kernel, pieces, settings=()):
    """Return kernel(*piece, *settings) of each piece; if they are large, threads share them."""
    total = sum([piece[0].size for piece in pieces])
    if total <= MAX_SERIAL:
        return [kernel(*piece, *settings) for piece in pieces]
    step = max(1, len(pieces) * PIECE // total)  # several small pieces per call
    results: list[Any] = [None] * len(pieces)

    def task(index):
        part = slice(index * step, (index + 1) * step)
        results[part] = [kernel(*piece, *settings) for piece in pieces[part]]

    parallel_for(task, -(-len(pieces) // step))
    return results
