"""Causal attention of some heads, a tile of queries at a time.

The products are NumPy's; what lies between them is up to `rows`, the module of kernels in use.
Scores are held for a tile at a time, and computed again for the gradient: memory grows with the
context, not with its square (Dao et al. 2022, FlashAttention, section 3).
"""

import math
import threading
from collections.abc import Iterator
from types import ModuleType

from lmladder.arrays import Array, FloatArray

import numpy as np

# Queries in a tile: as many as make so many bytes of scores, but enough for products to pay.
SCORE_BYTES = 1 << 16
QUERIES = 64


def attention(
    q: FloatArray,
    k: FloatArray,
    v: FloatArray,
    out: FloatArray,
    log_total: FloatArray,
    rows: ModuleType,
) -> None:
    """softmax(q k^T / sqrt(size), keys not after the query) v (Vaswani et al. 2017).

    The last query sees all keys, the one before it all but the last key, and so on.

    Parameters
    ----------
    q : (heads, queries, size), with queries <= keys
    k, v : (heads, keys, size)
    out : (heads, queries, size), written
    log_total : (heads, queries), written: the log of each query's sum of exp(score)
    """
    scale = q.shape[2] ** -0.5
    for queries, seen in _tiles(q, k):
        scores = _products("scores", q[:, queries], k[:, seen])
        rows.causal_softmax(scores, scale, log_total[:, queries])
        np.matmul(scores, v[:, seen], out=out[:, queries])


def attention_backward(
    grad: FloatArray,
    q: FloatArray,
    k: FloatArray,
    v: FloatArray,
    out: FloatArray,
    log_total: FloatArray,
    grads: tuple[FloatArray, FloatArray, FloatArray],
    rows: ModuleType,
) -> None:
    """Gradients of `attention`, written into `grads`, which are shaped as q, k and v."""
    grad_q, grad_k, grad_v = grads
    scale = q.shape[2] ** -0.5
    along = np.einsum("hqi,hqi->hq", grad, out)  # the sum over keys of weight times its gradient
    for queries, seen in reversed(list(_tiles(q, k))):
        scores = _products("scores", q[:, queries], k[:, seen])
        by_weights = _products("by weights", grad[:, queries], v[:, seen])
        rows.causal_softmax_backward(
            by_weights, scores, log_total[:, queries], along[:, queries], scale
        )
        weights, by_scores = scores, by_weights  # what they have become
        np.matmul(by_scores, k[:, seen], out=grad_q[:, queries])
        if seen.stop == k.shape[1]:  # the last tile of queries, which comes first, sees all keys
            np.matmul(weights.swapaxes(1, 2), grad[:, queries], out=grad_v)
            np.matmul(by_scores.swapaxes(1, 2), q[:, queries], out=grad_k)
        else:
            grad_v[:, seen] += weights.swapaxes(1, 2) @ grad[:, queries]
            grad_k[:, seen] += by_scores.swapaxes(1, 2) @ q[:, queries]


_memory = threading.local()  # scores: what is big and short-lived is dear to allocate


def _products(name: str, a: FloatArray, b: FloatArray) -> FloatArray:
    """Of each row of a and each of b, in memory that this thread's next call of `name` reuses.

    (heads, n, size), (heads, m, size) -> (heads, n, m).
    """
    shape = (*a.shape[:2], b.shape[1])
    slots: dict[str, Array] = _memory.__dict__
    nbytes = math.prod(shape) * a.itemsize
    if name not in slots or slots[name].nbytes < nbytes:
        slots[name] = np.empty(nbytes, np.uint8)
    return np.matmul(a, b.swapaxes(1, 2), out=np.ndarray(shape, a.dtype, slots[name]))


def _tiles(q: FloatArray, k: FloatArray) -> Iterator[tuple[slice, slice]]:
    """One tile of queries after another, with the keys that its last query may see."""
    heads, n_queries, _ = q.shape
    n_keys = k.shape[1]
    tile = max(QUERIES, SCORE_BYTES // (heads * max(1, n_keys) * q.itemsize))
    for start in range(0, n_queries, tile):
        stop = min(start + tile, n_queries)
        yield slice(start, stop), slice(n_keys - n_queries + stop)
