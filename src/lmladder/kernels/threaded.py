"""The kernels for arrays of any leading shape, by all threads, a block of rows each.

Of each kernel there are two: in `reference`, plain NumPy, and in `fused`, compiled, for float32.
`select` says which are used.
"""

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType

from lmladder.arrays import Array, FloatArray, IntArray
from lmladder.kernels import reference, tape, tiles
from lmladder.kernels.blocks import as_rows, over_rows, share, wait_with
from lmladder.kernels.indices import numbers_below
from lmladder.kernels.pieces import Pieces, pieces

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
    return tape.contiguous(as_rows(array))


def _flat(array: Array) -> Array:
    return tape.contiguous(array).reshape(-1)


def _elementwise(kernel: Callable[..., None], *arrays: FloatArray) -> FloatArray:
    """kernel(*arrays, out) for arrays of one shape."""
    out = tape.empty(arrays[0].shape, arrays[0].dtype)
    over_rows(kernel, [_flat(array) for array in arrays], out=[out.reshape(-1)])
    return out


def softmax(x: FloatArray) -> FloatArray:
    """Softmax along the last axis: (..., n) -> (..., n)."""
    rows = _rows(x)
    out = tape.empty_like(rows)
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
    out = tape.empty_like(rows)
    mean, inverse = tape.empty(len(rows), x.dtype), tape.empty(len(rows), x.dtype)
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
    out = tape.empty_like(rows[0])
    sums = [tape.empty(weight.shape, weight.dtype) for _ in range(2)]
    over_rows(_kernels(x).layer_norm_backward, rows, _flat(weight), out=[out], sums=sums)
    return out.reshape(x.shape), sums[0], sums[1]


def rms_norm(x: FloatArray, weight: FloatArray, epsilon: float) -> tuple[FloatArray, FloatArray]:
    """`reference.rms_norm` of (..., n): the result, and each row's statistic, (rows,)."""
    rows = _rows(x)
    out, inverse = tape.empty_like(rows), tape.empty(len(rows), x.dtype)
    over_rows(_kernels(x).rms_norm, [rows], _flat(weight), epsilon, out=[out, inverse])
    return out.reshape(x.shape), inverse


def rms_norm_backward(
    grad: FloatArray, x: FloatArray, inverse: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """`reference.rms_norm_backward` of (..., n)."""
    rows = [_rows(grad), _rows(x), inverse]
    out, by_weight = tape.empty_like(rows[0]), tape.empty(weight.shape, weight.dtype)
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
    nats, log_total = (tape.empty(targets.size, logits.dtype) for _ in range(2))
    over_rows(_kernels(logits).cross_entropy, rows, out=[nats, log_total])
    return nats.reshape(targets.shape), log_total.reshape(targets.shape)


def cross_entropy_backward(
    grad: FloatArray, logits: FloatArray, targets: IntArray, log_total: FloatArray
) -> FloatArray:
    """`reference.cross_entropy_backward` of a number, (..., vocabulary), (...) and (...)."""
    numbers = numbers_below(targets, logits.shape[-1], "targets")
    rows = [_rows(logits), numbers, _flat(log_total)]
    out = tape.empty_like(rows[0])
    over_rows(_kernels(logits).cross_entropy_backward, rows, grad.reshape(1), out=[out])
    return out.reshape(logits.shape)


def attention(q: FloatArray, k: FloatArray, v: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Causal attention of (batch, heads, queries, size) on (batch, heads, keys, size).

    Returns the result, laid out in memory as q is, and the log totals that its backward needs.
    """
    out, log_total = tape.empty_like(q), tape.empty(q.shape[:-1], q.dtype)
    tape.run(_share_attention, q, k, v, out, log_total, _kernels(q))
    return out, log_total


def _share_attention(
    q: FloatArray,
    k: FloatArray,
    v: FloatArray,
    out: FloatArray,
    log_total: FloatArray,
    rows: ModuleType,
) -> None:
    step = tiles.examples_at_a_time(q, k)

    def group(number: int) -> None:
        i = slice(number * step, (number + 1) * step)
        tiles.attention(q[i], k[i], v[i], out[i], log_total[i], rows)

    share(group, -(-len(q) // step))


def attention_backward(
    grad: FloatArray,
    q: FloatArray,
    k: FloatArray,
    v: FloatArray,
    out: FloatArray,
    log_total: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Gradients of `attention` with respect to q, k and v, laid out in memory as they are."""
    grads = tape.empty_like(q), tape.empty_like(k), tape.empty_like(v)
    tape.run(_share_attention_backward, grad, q, k, v, out, log_total, grads, _kernels(q))
    return grads


def _share_attention_backward(
    grad: FloatArray,
    q: FloatArray,
    k: FloatArray,
    v: FloatArray,
    out: FloatArray,
    log_total: FloatArray,
    grads: tuple[FloatArray, FloatArray, FloatArray],
    rows: ModuleType,
) -> None:
    by_q, by_k, by_v = grads
    step = tiles.examples_at_a_time(q, k)

    def group(number: int) -> None:
        i = slice(number * step, (number + 1) * step)
        parts = by_q[i], by_k[i], by_v[i]
        tiles.attention_backward(grad[i], q[i], k[i], v[i], out[i], log_total[i], parts, rows)

    share(group, -(-len(q) // step))


def uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Random numbers in [0, 1), float32."""
    out = tape.empty(shape, np.float32)
    tape.run(_draw, rng, out)
    return out


def _draw(rng: np.random.Generator, out: FloatArray) -> None:
    rng.random(out=out, dtype=np.float32)


def dropout(x: FloatArray, chances: FloatArray, rate: float) -> FloatArray:
    """`reference.dropout` of arrays of one shape, elementwise."""
    out = tape.empty(x.shape, x.dtype)
    over_rows(_kernels(x).dropout, [_flat(x), _flat(chances)], rate, out=[out.reshape(-1)])
    return out


def linear_row(x: FloatArray, weight: FloatArray, bias: FloatArray) -> FloatArray:
    """x @ weight + bias of a single row: (..., n), (n, m), (m,) -> (..., m)."""
    out = tape.empty((*x.shape[:-1], weight.shape[1]), x.dtype)
    arrays = _flat(x), tape.contiguous(weight), _flat(bias), out.reshape(-1)
    tape.run(_kernels(x).linear_row, *arrays)
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
    out = tape.empty(q.shape, q.dtype)
    arrays = [tape.contiguous(each) for each in (q, k, v)]
    tape.run(_kernels(q).cached_attention, *arrays, keys, values, position, q.shape[3] ** -0.5, out)
    return out


def scatter_rows(grad: FloatArray, indices: IntArray, n_rows: int) -> FloatArray:
    """Sum the rows of `grad` that share an index: (..., size), (...) -> (n_rows, size)."""
    out = tape.empty((n_rows, grad.shape[-1]), grad.dtype)
    numbers = numbers_below(indices, n_rows, "ids")
    tape.run(_kernels(grad).scatter_rows, _rows(grad), numbers, out)
    return out


def adam(
    grads: Sequence[FloatArray],
    means: Sequence[FloatArray],
    squares: Sequence[FloatArray],
    values: Sequence[FloatArray],
    shrinks: Sequence[float],
    *settings: float,
) -> None:
    """`reference.adam` of many arrays, each with its own `shrink`; all but `grads` are changed.

    Raises
    ------
    ValueError
        If an array that is to be changed is read-only, or its numbers do not lie in a row.
    """
    for each in values:
        if not each.flags.writeable:
            raise ValueError(f"an array of shape {each.shape} is read-only")
    grads = [np.ascontiguousarray(each) for each in grads]
    cut = pieces(grads, means, squares, values)
    if _choice == "numba" and cut.dtypes <= {np.dtype(np.float32)}:
        kernel, shrinks_of = _fused().adam_pieces, np.array(shrinks, np.float64)[cut.owners]
        _over_pieces(lambda part: kernel(cut.table[part], shrinks_of[part], *settings), cut)
        return
    for grad, mean, square, value, shrink in zip(
        grads, means, squares, values, shrinks, strict=True
    ):
        flat = [each.reshape(-1) for each in (grad, mean, square, value)]
        step: Callable[..., None] = reference.adam
        step(*flat, *settings, shrink)


def square_sums(arrays: Sequence[FloatArray]) -> FloatArray:
    """The sum of squares of each array, in float64: (arrays,)."""
    arrays = [np.ascontiguousarray(each) for each in arrays]
    cut = pieces(arrays)
    if _choice == "numba" and cut.dtypes <= {np.dtype(np.float32)}:
        kernel, parts = _fused().square_sum_pieces, np.empty(len(cut.table))
        _over_pieces(lambda part: kernel(cut.table[part], parts[part]), cut)
        return np.bincount(cut.owners, parts, len(arrays)).astype(np.float64)  # of none too
    sums = np.empty(len(arrays))
    for number, each in enumerate(arrays):
        reference.square_sum(each.reshape(-1), sums[number : number + 1])
    return sums


def _over_pieces(work: Callable[[slice], None], cut: Pieces) -> None:
    """work(part) for parts of the pieces, shared where there are many numbers."""
    step = cut.step
    share(lambda index: work(slice(index * step, (index + 1) * step)), -(-len(cut.table) // step))
