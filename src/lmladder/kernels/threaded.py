"""The kernels for arrays of any leading shape, by all threads, a block of rows each.

Of each kernel there are two: in `reference`, plain NumPy, and in `fused`, compiled, for float32.
`select` says which are used.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import ModuleType

from lmladder.arrays import Array, FloatArray, IntArray
from lmladder.kernels import reference, tiles
from lmladder.kernels.blocks import as_rows, over_rows, share, wait_with

import numpy as np

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


def _kernels(array: FloatArray) -> ModuleType:
    return _fused() if _choice == "numba" and array.dtype == np.float32 else reference


@cache
def _fused() -> ModuleType:
    """The compiled kernels, when first needed: Numba takes half a second."""
    waiting = import_module("lmladder.kernels.waiting")
    wait_with(waiting.wait_for_change)
    return import_module("lmladder.kernels.fused")


def _rows(array: Array) -> Array:
    """(..., n) as rows one after another in memory."""
    return np.ascontiguousarray(as_rows(array))


def _flat(array: Array) -> Array:
    return np.ascontiguousarray(array).reshape(-1)


def _elementwise(kernel: Callable[..., None], *arrays: FloatArray) -> FloatArray:
    """kernel(*arrays, out) for arrays of one shape."""
    out = np.empty(arrays[0].shape, arrays[0].dtype)
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
    mean, inverse = np.empty(len(rows), x.dtype), np.empty(len(rows), x.dtype)
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
    sums = [np.empty(weight.shape, weight.dtype) for _ in range(2)]
    over_rows(_kernels(x).layer_norm_backward, rows, _flat(weight), out=[out], sums=sums)
    return out.reshape(x.shape), sums[0], sums[1]


def rms_norm(x: FloatArray, weight: FloatArray, epsilon: float) -> tuple[FloatArray, FloatArray]:
    """`reference.rms_norm` of (..., n): the result, and each row's statistic, (rows,)."""
    rows = _rows(x)
    out, inverse = np.empty_like(rows), np.empty(len(rows), x.dtype)
    over_rows(_kernels(x).rms_norm, [rows], _flat(weight), epsilon, out=[out, inverse])
    return out.reshape(x.shape), inverse


def rms_norm_backward(
    grad: FloatArray, x: FloatArray, inverse: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """`reference.rms_norm_backward` of (..., n)."""
    rows = [_rows(grad), _rows(x), inverse]
    out, by_weight = np.empty_like(rows[0]), np.empty(weight.shape, weight.dtype)
    over_rows(_kernels(x).rms_norm_backward, rows, _flat(weight), out=[out], sums=[by_weight])
    return out.reshape(x.shape), by_weight


def cross_entropy(logits: FloatArray, targets: IntArray) -> tuple[FloatArray, FloatArray]:
    """`reference.cross_entropy` of (..., vocabulary) and (...); both results are like targets.

    Raises
    ------
    IndexError
        If a target is out of range, which compiled code would not see.
    """
    if targets.size and not 0 <= targets.min() <= targets.max() < logits.shape[-1]:
        raise IndexError(f"targets range from {targets.min()} to {targets.max()}")
    rows = [_rows(logits), _flat(targets).astype(np.int64)]
    nats, log_total = (np.empty(targets.size, logits.dtype) for _ in range(2))
    over_rows(_kernels(logits).cross_entropy, rows, out=[nats, log_total])
    return nats.reshape(targets.shape), log_total.reshape(targets.shape)


def cross_entropy_backward(
    grad: FloatArray, logits: FloatArray, targets: IntArray, log_total: FloatArray
) -> FloatArray:
    """`reference.cross_entropy_backward` of (...), (..., vocabulary), (...) and (...)."""
    rows = [_flat(grad), _rows(logits), _flat(targets).astype(np.int64), _flat(log_total)]
    out = np.empty_like(rows[1])
    over_rows(_kernels(logits).cross_entropy_backward, rows, out=[out])
    return out.reshape(logits.shape)


def attention(q: FloatArray, k: FloatArray, v: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Causal attention of (batch, heads, queries, size) on (batch, heads, keys, size).

    Returns the result, laid out in memory as q is, and the log totals that its backward needs.
    """
    out, log_total = np.empty_like(q), np.empty(q.shape[:-1], q.dtype)
    rows = _kernels(q)

    def example(i: int) -> None:
        tiles.attention(q[i], k[i], v[i], out[i], log_total[i], rows)

    share(example, len(q))
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
    by_q, by_k, by_v = np.empty_like(q), np.empty_like(k), np.empty_like(v)
    rows = _kernels(q)

    def example(i: int) -> None:
        grads = by_q[i], by_k[i], by_v[i]
        tiles.attention_backward(grad[i], q[i], k[i], v[i], out[i], log_total[i], grads, rows)

    share(example, len(q))
    return by_q, by_k, by_v


def scatter_rows(grad: FloatArray, indices: IntArray, n_rows: int) -> FloatArray:
    """Sum the rows of `grad` that share an index: (m, size), (m,) -> (n_rows, size)."""
    out = np.empty((n_rows, grad.shape[1]), grad.dtype)
    _kernels(grad).scatter_rows(_rows(grad), _flat(indices).astype(np.int64), out)
    return out


def adam(
    grad: FloatArray, mean: FloatArray, square: FloatArray, value: FloatArray, *settings: float
) -> None:
    """`reference.adam` of arrays of one shape, each one block of memory."""
    flat = [_flat(grad), *(array.reshape(-1, copy=False) for array in (mean, square, value))]
    over_rows(_kernels(value).adam, flat, *settings, out=[])


def unshared(array: FloatArray) -> ModuleType:
    """The kernels in use for arrays of this type as they are: for one block, by this thread."""
    return _kernels(array)
