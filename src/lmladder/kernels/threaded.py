"""The reference kernels for arrays of any leading shape, by all threads, a block of rows each."""

from collections.abc import Callable

from lmladder.arrays import FloatArray, IntArray
from lmladder.kernels import reference
from lmladder.kernels.blocks import as_rows, over_rows, share

import numpy as np


def _elementwise(kernel: Callable[..., FloatArray], *arrays: FloatArray) -> FloatArray:
    """kernel(*arrays) for arrays of one shape."""
    (out,) = over_rows(lambda *parts: (kernel(*parts),), [as_rows(array) for array in arrays])
    return out.reshape(arrays[0].shape)


def softmax(x: FloatArray) -> FloatArray:
    """Softmax along the last axis: (..., n) -> (..., n)."""
    return _elementwise(reference.softmax, x)


def gelu(x: FloatArray) -> FloatArray:
    """Exact GELU, elementwise."""
    return _elementwise(reference.gelu, x)


def gelu_backward(grad: FloatArray, x: FloatArray) -> FloatArray:
    """Gradient of `gelu` at x."""
    return _elementwise(reference.gelu_backward, grad, x)


def gelu_tanh(x: FloatArray) -> FloatArray:
    """GELU in its tanh form, elementwise."""
    return _elementwise(reference.gelu_tanh, x)


def gelu_tanh_backward(grad: FloatArray, x: FloatArray) -> FloatArray:
    """Gradient of `gelu_tanh` at x."""
    return _elementwise(reference.gelu_tanh_backward, grad, x)


def layer_norm(
    x: FloatArray, weight: FloatArray, bias: FloatArray, epsilon: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`reference.layer_norm` of (..., n); the statistics are (rows, 1)."""
    out, mean, inverse = over_rows(reference.layer_norm, [as_rows(x)], weight, bias, epsilon)
    return out.reshape(x.shape), mean, inverse


def layer_norm_backward(
    grad: FloatArray, x: FloatArray, mean: FloatArray, inverse: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`reference.layer_norm_backward` of (..., n)."""
    out, grad_weight, grad_bias = over_rows(
        reference.layer_norm_backward, [as_rows(grad), as_rows(x), mean, inverse], weight, sums=2
    )
    return out.reshape(x.shape), grad_weight, grad_bias


def rms_norm(x: FloatArray, weight: FloatArray, epsilon: float) -> tuple[FloatArray, FloatArray]:
    """`reference.rms_norm` of (..., n); the statistic is (rows, 1)."""
    out, inverse = over_rows(reference.rms_norm, [as_rows(x)], weight, epsilon)
    return out.reshape(x.shape), inverse


def rms_norm_backward(
    grad: FloatArray, x: FloatArray, inverse: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """`reference.rms_norm_backward` of (..., n)."""
    out, grad_weight = over_rows(
        reference.rms_norm_backward, [as_rows(grad), as_rows(x), inverse], weight, sums=1
    )
    return out.reshape(x.shape), grad_weight


def cross_entropy(logits: FloatArray, targets: IntArray) -> tuple[FloatArray, FloatArray]:
    """`reference.cross_entropy` of (..., vocabulary) and (...); nats are shaped like targets."""
    nats, log_total = over_rows(reference.cross_entropy, [as_rows(logits), targets.reshape(-1)])
    return nats.reshape(targets.shape), log_total


def cross_entropy_backward(
    grad: FloatArray, logits: FloatArray, targets: IntArray, log_total: FloatArray
) -> FloatArray:
    """`reference.cross_entropy_backward` of (...), (..., vocabulary) and (...)."""
    rows = [grad.reshape(-1), as_rows(logits), targets.reshape(-1), log_total]
    (out,) = over_rows(lambda *parts: (reference.cross_entropy_backward(*parts),), rows)
    return out.reshape(logits.shape)


def attention(q: FloatArray, k: FloatArray, v: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Causal attention of (batch, heads, queries, size) on (batch, heads, keys, size).

    Returns the result, laid out in memory as q is, and the log totals that its backward needs.
    """
    out = np.empty_like(q)
    log_total = np.empty((*q.shape[:-1], 1), q.dtype)

    def example(i: int) -> None:
        reference.attention(q[i], k[i], v[i], out[i], log_total[i])

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
    """Gradients of `attention` with respect to q, k and v."""
    by_q, by_k, by_v = np.empty_like(q), np.empty_like(k), np.empty_like(v)

    def example(i: int) -> None:
        grads = by_q[i], by_k[i], by_v[i]
        reference.attention_backward(grad[i], q[i], k[i], v[i], out[i], log_total[i], grads)

    share(example, len(q))
    return by_q, by_k, by_v
