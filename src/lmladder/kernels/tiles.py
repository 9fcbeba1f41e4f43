"""Causal attention of some heads of some examples, a tile of queries at a time.

The products are NumPy's; what lies between them is up to `rows`, the module of kernels in use.
Scores are held for a tile at a time, and computed again for the gradient: memory grows with the
context, not with its square (Dao et al. 2022, FlashAttention, section 3).
"""

import math
import threading
from collections.abc import Iterator
from types import ModuleType

from lmladder.system.arrays import Array, FloatArray

import numpy as np

# Queries in a tile: as many as make so many bytes of scores, but enough for products to pay.
SCORE_BYTES = 1 << 16
QUERIES = 64
GROUP_BYTES = 1 << 19  # of a tile's scores of all examples that go through together


def attention(
    q: FloatArray,
    k: FloatArray,
    v: FloatArray,
    rows: ModuleType,
    out: FloatArray,
    log_total: FloatArray,
) -> None:
    """softmax(q k^T / sqrt(size), keys not after the query) v (Vaswani et al. 2017).

    The last query sees all keys, the one before it all but the last key, and so on.

    Parameters
    ----------
    q : (..., heads, queries, size), with queries <= keys
    k, v : (..., heads, keys, size)
    out : (..., heads, queries, size), written
    log_total : (..., heads, queries), written: the log of each query's sum of exp(score)
    """
    scale = q.shape[-1] ** -0.5
    totals = _flat(log_total, 2)
    for queries, seen in _tiles(q, k):
        scores = _products("scores", q[..., queries, :], k[..., seen, :])
        rows.causal_softmax(_flat(scores, 3), scale, totals[:, queries])
        np.matmul(scores, v[..., seen, :], out=out[..., queries, :])


def attention_backward(
    grad: FloatArray,
    q: FloatArray,
    k: FloatArray,
    v: FloatArray,
    out: FloatArray,
    log_total: FloatArray,
    rows: ModuleType,
    grad_q: FloatArray,
    grad_k: FloatArray,
    grad_v: FloatArray,
) -> None:
    """Gradients of `attention`, written into arrays shaped as q, k and v."""
    scale = q.shape[-1] ** -0.5
    totals = _flat(log_total, 2)
    # of each query, the sum over keys of weight times its gradient
    along = _flat(np.einsum("...qi,...qi->...q", grad, out), 2)
    for number, (queries, seen) in enumerate(reversed(list(_tiles(q, k)))):
        scores = _products("scores", q[..., queries, :], k[..., seen, :])
        by_weights = _products("by weights", grad[..., queries, :], v[..., seen, :])
        rows.causal_softmax_backward(
            _flat(by_weights, 3), _flat(scores, 3), totals[:, queries], along[:, queries], scale
        )
        weights, by_scores = scores, by_weights  # what they have become
        np.matmul(by_scores, k[..., seen, :], out=grad_q[..., queries, :])
        weights, by_scores = _transposed(weights), _transposed(by_scores)
        if number == 0:  # the last queries, which see all keys
            np.matmul(weights, grad[..., queries, :], out=grad_v)
            np.matmul(by_scores, q[..., queries, :], out=grad_k)
        else:
            grad_v[..., seen, :] += weights @ grad[..., queries, :]
            grad_k[..., seen, :] += by_scores @ q[..., queries, :]


_memory = threading.local()  # scores: what is big and short-lived is dear to allocate


def _products(name: str, a: FloatArray, b: FloatArray) -> FloatArray:
    """Of each row of a and each of b, in memory that this thread's next call of `name` reuses.

    (..., n, size), (..., m, size) -> (..., n, m).
    """
    shape = (*a.shape[:-1], b.shape[-2])
    slots: dict[str, Array] = _memory.__dict__
    nbytes = math.prod(shape) * a.itemsize
    if name not in slots or slots[name].nbytes < nbytes:
        slots[name] = np.empty(nbytes, np.uint8)
    return np.matmul(a, _transposed(b), out=np.ndarray(shape, a.dtype, slots[name]))


def _transposed(array: FloatArray) -> FloatArray:
    """With the last two axes exchanged."""
    return array.swapaxes(-1, -2)


def _flat(array: FloatArray, n_axes: int) -> FloatArray:
    """A view with all but the last axes as one, so that there are n_axes."""
    last = array.shape[1 - n_axes :]
    return array.reshape(math.prod(array.shape[: 1 - n_axes]), *last)


def examples_at_a_time(q: FloatArray, k: FloatArray) -> int:
    """How many examples of (batch, heads, time, size) to hand in together."""
    heads, queries = q.shape[1:3]
    scores = heads * min(queries, QUERIES) * k.shape[2] * q.itemsize
    return max(1, GROUP_BYTES // max(1, scores))


def _tiles(q: FloatArray, k: FloatArray) -> Iterator[tuple[slice, slice]]:
    """One tile of queries after another, with the keys that its last query may see."""
    heads, n_queries, _ = q.shape[-3:]
    n_keys = k.shape[-2]
    tile = max(QUERIES, SCORE_BYTES // max(1, heads * n_keys * q.itemsize))
    for start in range(0, n_queries, tile):
        stop = min(start + tile, n_queries)
        yield slice(start, stop), slice(n_keys - n_queries + stop)
