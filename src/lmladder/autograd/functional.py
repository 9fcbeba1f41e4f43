"""The ops of neural networks, fused where that saves memory, time or digits.

Written like the ops in `ops.py`: value and pullback side by side. The hot ones call a kernel.
"""

from lmladder import kernels
from lmladder.autograd.tensor import Tensor, op

import numpy as np

NORM_EPSILON = 1e-5  # added to a variance or mean square, so that constant rows have a norm too


@op
def linear(x, weight, bias):
    """x @ weight + bias: (..., n), (n, m), (m,) -> (..., m). Fused to save a pass over memory."""
    if weight.ndim != 2 or bias.shape != weight.shape[1:] or x.shape[-1:] != weight.shape[:1]:
        raise ValueError("linear wants (..., n), (n, m) and (m,)")

    def linear_pullback(grad):
        return kernels.linear_backward(grad, x, weight)

    return kernels.matmul(x, weight, bias), linear_pullback


@op
def relu(a):
    """Elementwise max(a, 0); its gradient at 0 is 0."""

    def relu_pullback(grad):
        return (grad * (a > 0),)

    return np.maximum(a, 0), relu_pullback


@op
def sigmoid(a):
    """Elementwise 1 / (1 + exp(-a)), by exp(-|a|), which neither overflows nor loses digits."""
    small = np.exp(-np.abs(a))
    value = np.where(a >= 0, 1, small) / (1 + small)

    def sigmoid_pullback(grad):
        return (grad * value * (1 - value),)

    return value, sigmoid_pullback


@op
def gelu(a):
    """Gaussian error linear unit in its exact form (Hendrycks & Gimpel 2016). Fused for speed."""

    def gelu_pullback(grad):
        return (kernels.gelu_backward(grad, a),)

    return kernels.gelu(a), gelu_pullback


@op
def gelu_tanh(a):
    """GELU in its tanh form (Hendrycks & Gimpel 2016), as in GPT-2. Fused for speed."""

    def gelu_tanh_pullback(grad):
        return (kernels.gelu_tanh_backward(grad, a),)

    return kernels.gelu_tanh(a), gelu_tanh_pullback


def silu(a: Tensor) -> Tensor:
    """Elementwise a * sigmoid(a), also called swish."""
    return a * sigmoid(a)


@op(discrete={1: "iu"})
def embedding(table, ids):
    """Rows of `table` by number: (n, size), integers (...) -> (..., size).

    An op of its own because sorted sums beat `getitem`'s pullback by far.
    """
    if table.ndim != 2:
        raise ValueError("embedding wants a table with two axes")
    if ids.size and not 0 <= ids.min() <= ids.max() < len(table):
        raise IndexError(
            f"ids range from {ids.min()} to {ids.max()}, the table has {len(table)} rows"
        )

    def embedding_pullback(grad):
        rows = grad.reshape(ids.size, table.shape[1])
        return kernels.scatter_rows(rows, ids, len(table)), None

    return table[ids], embedding_pullback


@op
def softmax(a):
    """exp(a) over its sum along the last axis, shifted by the maximum so that it can't overflow."""
    value = kernels.softmax(a)

    def softmax_pullback(grad):
        along = (grad * value).sum(axis=-1, keepdims=True)
        return (value * (grad - along),)

    return value, softmax_pullback


@op
def log_softmax(a):
    """log(softmax(a)) along the last axis, by log-sum-exp: log of softmax underflows to -inf."""
    shifted = a - a.max(axis=-1, keepdims=True)
    value = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))

    def log_softmax_pullback(grad):
        return (grad - np.exp(value) * grad.sum(axis=-1, keepdims=True),)

    return value, log_softmax_pullback


@op(discrete={1: "iu"})
def cross_entropy(logits, targets):
    """Mean negative log-likelihood of `targets` under softmax(`logits`), in nats per token.

    Fused for stability: log(softmax(x)) underflows to -inf; and for memory: the probabilities are
    not kept between forward and backward.

    Parameters
    ----------
    logits : float array, shape (..., vocabulary)
    targets : int array, shape (...), each in [0, vocabulary)

    Raises
    ------
    ValueError
        If targets.shape differs from logits.shape[:-1], or none is there.
    IndexError
        If a target is out of range.
    """
    if not logits.ndim or targets.shape != logits.shape[:-1]:
        raise ValueError("targets must have the shape of logits without its last axis")
    if not targets.size:
        raise ValueError("there are no targets to take a mean over")
    nats, log_total = kernels.cross_entropy(logits, targets)

    def cross_entropy_pullback(grad):
        each = np.full(targets.shape, grad / targets.size, logits.dtype)
        return kernels.cross_entropy_backward(each, logits, targets, log_total), None

    return nats.mean(), cross_entropy_pullback


@op
def layer_norm(x, weight, bias, *, epsilon: float = NORM_EPSILON):
    """Normalise along the last axis to mean 0 and variance 1, then scale and shift.

    Fused for speed (Ba, Kiros & Hinton 2016): (..., n), (n,), (n,) -> (..., n).
    """
    if not x.ndim or weight.shape != x.shape[-1:] or bias.shape != x.shape[-1:]:
        raise ValueError("layer_norm wants (..., n), (n,) and (n,)")
    value, mean, inverse = kernels.layer_norm(x, weight, bias, epsilon)

    def layer_norm_pullback(grad):
        return kernels.layer_norm_backward(grad, x, mean, inverse, weight)

    return value, layer_norm_pullback


@op
def rms_norm(x, weight, *, epsilon: float = NORM_EPSILON):
    """Divide by the root mean square along the last axis, then scale: (..., n), (n,) -> (..., n).

    Fused for speed (Zhang & Sennrich 2019).
    """
    if not x.ndim or weight.shape != x.shape[-1:]:
        raise ValueError("rms_norm wants (..., n) and (n,)")
    value, inverse = kernels.rms_norm(x, weight, epsilon)

    def rms_norm_pullback(grad):
        return kernels.rms_norm_backward(grad, x, inverse, weight)

    return value, rms_norm_pullback


@op
def causal_attention(q, k, v):
    """softmax(q k^T / sqrt(size), masked) v, each query seeing the keys not after it.

    Fused for memory (Vaswani et al. 2017; Dao et al. 2022): the (queries, keys) scores are never
    held as a whole. With more keys than queries the queries are the last ones.

    Parameters
    ----------
    q : (batch, heads, queries, size), with queries <= keys
    k, v : (batch, heads, keys, size)
    """
    if q.ndim != 4 or k.ndim != 4 or not q.shape[3]:
        raise ValueError("attention wants q, k, v of (batch, heads, time, size)")
    if k.shape != v.shape or q.shape[:2] != k.shape[:2] or q.shape[3] != k.shape[3]:
        raise ValueError("attention wants q, k, v alike in batch, heads and size")
    if q.shape[2] > k.shape[2]:
        raise ValueError("attention has more queries than keys")
    value, log_total = kernels.attention(q, k, v)

    def causal_attention_pullback(grad):
        return kernels.attention_backward(grad, q, k, v, value, log_total)

    return value, causal_attention_pullback


@op
def dropout(x, *, rate: float, rng: np.random.Generator):
    """Zero each number with probability `rate`, scale the rest by 1 / (1 - rate)."""
    if not 0 <= rate < 1:
        raise ValueError(f"the rate must be in [0, 1), not {rate}")
    scale = (rng.random(x.shape, dtype=np.float32) >= rate) / x.dtype.type(1 - rate)

    def dropout_pullback(grad):
        return (grad * scale,)

    return x * scale, dropout_pullback
