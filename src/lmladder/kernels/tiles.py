"""Causal attention, computed for one tile of queries at a time.

The matrix products, and the softmax between them, are those of `module`, the kernels in use
(`reference` or `fused`). Scores exist for one tile at a time and are computed again for the
gradient, so memory grows with the context length and not with its square (Dao et al. 2022,
FlashAttention, section 3).
"""

import math
import threading

from lmladder.system.arrays import Array

import numpy as np

# The scores of a tile have at most SCORE_BYTES, but a tile has at least QUERIES, for fast products.
SCORE_BYTES = 1 << 16
QUERIES = 64
GROUP_BYTES = 1 << 19  # maximum size of the scores of all examples that are computed together


def attention(q, k, v, module, window, out, log_total):
    """Compute softmax(q k^T / sqrt(size), causally masked) v (Vaswani et al. 2017).

    The last query sees the last `window` keys, the one before it as many that end one key earlier,
    and so on (Beltagy et al. 2020).

    Parameters
    ----------
    q : (..., heads, queries, size), with queries <= keys
    k, v : (..., heads, keys, size), (..., heads, keys, n)
    out : (..., heads, queries, n), written
    log_total : (..., heads, queries), written: the log of each query's sum of exp(score)
    """
    scale = q.shape[-1] ** -0.5
    totals = _merge_leading_axes(log_total, 2)
    for queries, seen in _tiles(q, k, window):
        scores = _products(module, "scores", q[..., queries, :], k[..., seen, :])
        module.causal_softmax(_merge_leading_axes(scores, 3), scale, window, totals[:, queries])
        module.multiply(scores, v[..., seen, :], out[..., queries, :])


def attention_backward(grad, q, k, v, log_total, module, window, grad_q, grad_k, grad_v):
    """Write the gradients of `attention` into arrays shaped as q, k and v."""
    scale = q.shape[-1] ** -0.5
    totals = _merge_leading_axes(log_total, 2)
    grad_k[...] = grad_v[...] = 0
    for queries, seen in _tiles(q, k, window):
        scores = _products(module, "scores", q[..., queries, :], k[..., seen, :])
        grads = _products(module, "gradients", grad[..., queries, :], v[..., seen, :])
        flat = [_merge_leading_axes(each, 3) for each in (grads, scores)]
        module.causal_softmax_backward(*flat, totals[:, queries], scale, window)
        weights, grad_scores = scores, grads  # the kernel has replaced their contents
        module.multiply(grad_scores, k[..., seen, :], grad_q[..., queries, :])
        _add_product(module, weights.mT, grad[..., queries, :], grad_v[..., seen, :])
        _add_product(module, grad_scores.mT, q[..., queries, :], grad_k[..., seen, :])


def _add_product(module, a, b, out):
    product = np.empty_like(out)
    module.multiply(a, b, product)
    out += product


_memory = threading.local()  # buffers for scores, because large allocations are slow


def _products(module, name, a, b):
    """Return a @ b^T, (..., n, size), (..., m, size) -> (..., n, m), in a buffer of this thread.

    The next call with the same name overwrites it.
    """
    shape = (*a.shape[:-1], b.shape[-2])
    buffers: dict[str, Array] = _memory.__dict__
    nbytes = math.prod(shape) * a.itemsize
    if name not in buffers or buffers[name].nbytes < nbytes:
        buffers[name] = np.empty(nbytes, np.uint8)
    out = np.ndarray(shape, a.dtype, buffers[name])
    module.multiply(a, b.mT, out)
    return out


def _merge_leading_axes(array, ndim):
    """Return a view with `ndim` axes, the first of which replaces all leading ones."""
    first = math.prod(array.shape[: 1 - ndim])
    return array.reshape(first, *array.shape[1 - ndim :])


def examples_per_block(q, k):
    """Return how many examples of (batch, heads, time, size) to compute together."""
    heads, queries = q.shape[1:3]
    scores = heads * min(queries, QUERIES) * k.shape[2] * q.itemsize
    return max(1, GROUP_BYTES // max(1, scores))


def _tiles(q, k, window):
    """Yield each tile of queries, with the keys that any of them sees."""
    heads, n_queries, _ = q.shape[-3:]
    n_keys = k.shape[-2]
    tile = max(QUERIES, SCORE_BYTES // max(1, heads * n_keys * q.itemsize))
    for start in range(0, n_queries, tile):
        stop = min(start + tile, n_queries)
        last = n_keys - n_queries + stop
        yield slice(start, stop), slice(max(0, last - (stop - start) - window + 1), last)
