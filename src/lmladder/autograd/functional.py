"""The ops of neural networks, fused where that saves memory or time, or improves precision.

They are written like the ops in `ops.py`, with value and pullback side by side. Those that take
most of the time call a kernel.
"""

import math
from functools import partial

from lmladder import kernels
from lmladder.autograd import ops
from lmladder.autograd.tensor import Tensor, op
from lmladder.tracing import constant

import numpy as np

NORM_EPSILON = 1e-5  # added to a variance or mean square, so that it is never 0


@op
def linear(x, weight, bias):
    """x @ weight + bias: (..., n), (n, m), (m,) -> (..., m). Fused to save a pass over memory."""
    if weight.ndim != 2 or bias.shape != weight.shape[1:] or x.shape[-1:] != weight.shape[:1]:
        raise ValueError("linear expects (..., n), (n, m) and (m,)")

    def linear_pullback(grad):
        return kernels.linear_backward(grad, x, weight)

    one_row = math.prod(x.shape[:-1]) == 1
    product = kernels.linear_row if one_row else kernels.matmul
    return product(x, weight, bias), linear_pullback


@op
def relu(a):
    """Elementwise max(a, 0); its gradient at 0 is 0."""

    def relu_pullback(grad):
        return (grad * (a > 0),)

    return np.maximum(a, 0), relu_pullback


@op
def relu_squared(a):
    """Elementwise max(a, 0) ** 2 (So et al. 2021). Fused for speed."""

    def relu_squared_pullback(grad):
        return (kernels.elementwise("relu_squared_backward", grad, a),)

    return kernels.elementwise("relu_squared", a), relu_squared_pullback


@op
def sigmoid(a):
    """Elementwise 1 / (1 + exp(-a)), which cannot overflow."""
    value = kernels.elementwise("sigmoid", a)

    def sigmoid_pullback(grad):
        return (grad * value * (1 - value),)

    return value, sigmoid_pullback


@op
def gelu(a):
    """Gaussian error linear unit in its exact form (Hendrycks & Gimpel 2016). Fused for speed."""

    def gelu_pullback(grad):
        return (kernels.elementwise("gelu_backward", grad, a),)

    return kernels.elementwise("gelu", a), gelu_pullback


@op
def gelu_tanh(a):
    """GELU in its tanh form (Hendrycks & Gimpel 2016), as in GPT-2. Fused for speed."""

    def gelu_tanh_pullback(grad):
        return (kernels.elementwise("gelu_tanh_backward", grad, a),)

    return kernels.elementwise("gelu_tanh", a), gelu_tanh_pullback


@partial(op, discrete={1: "iu"})
def embedding(table, ids):
    """Rows of `table` at the indices: (n, size), integers (...) -> (..., size).

    The pullback sums whole rows, which is much faster than that of `getitem`.
    """
    if table.ndim != 2:
        raise ValueError("embedding expects a table with two axes")

    def embedding_pullback(grad):
        return kernels.scatter_rows(grad, ids, len(table)), None

    return kernels.gather_rows(table, ids), embedding_pullback


@op
def softmax(a):
    """exp(a) / sum(exp(a)) along the last axis, shifted by the maximum so as not to overflow."""
    powers = kernels.elementwise("exp", a - a.max(axis=-1, keepdims=True))
    value = powers / powers.sum(axis=-1, keepdims=True)

    def softmax_pullback(grad):
        along = (grad * value).sum(axis=-1, keepdims=True)
        return (value * (grad - along),)

    return value, softmax_pullback


def log_softmax(a: Tensor) -> Tensor:
    """log(softmax(a)) along the last axis by log-sum-exp, because softmax may underflow to 0."""
    below = a - a.max(axis=-1, keepdims=True)
    return below - ops.log(ops.exp(below).sum(axis=-1, keepdims=True))


@op
def log_mixture(logits, gate, other):
    """log((1 - g) softmax(logits) + g other) with g = sigmoid(gate): (..., n), (...), (..., n).

    Fused for precision and speed: computed from logarithms, neither share vanishes if the gate
    saturates. `other` contains probabilities, which may be 0.
    """
    if not logits.ndim or logits.shape != other.shape or gate.shape != logits.shape[:-1]:
        raise ValueError("log_mixture expects (..., n), (...) and (..., n)")
    rows, shapes = (logits, gate, other), (logits.shape, gate.shape, other.shape)
    value, log_total = kernels.by_rows("log_mixture", *rows, out=shapes[:2])

    def log_mixture_pullback(grad):
        return kernels.by_rows("log_mixture_backward", grad, *rows, log_total, out=shapes)

    return value, log_mixture_pullback


@partial(op, discrete={1: "iu"})
def cross_entropy(logits, targets):
    """Mean negative log-likelihood of `targets` under softmax(`logits`), in nats per token.

    Fused for stability, because log(softmax(x)) may underflow to -inf, and for memory, because the
    probabilities are not stored for the pullback.

    Parameters
    ----------
    logits : float array, shape (..., vocabulary)
    targets : int array, shape (...), each in [0, vocabulary)

    Raises
    ------
    ValueError
        If targets.shape differs from logits.shape[:-1], or there are no targets.
    IndexError
        If a target is out of range.
    """
    if not logits.ndim or targets.shape != logits.shape[:-1]:
        raise ValueError("targets must have the shape of logits without its last axis")
    if not targets.size:
        raise ValueError("cross_entropy expects at least one of the targets")
    targets = targets.astype(np.int64, copy=False)
    nll, log_total = kernels.cross_entropy(logits, targets)

    def cross_entropy_pullback(grad):
        rows, each = (logits, targets, log_total), grad / targets.size
        like = {"shared": [each.reshape(1)], "out": [logits.shape]}
        return kernels.by_rows("cross_entropy_backward", *rows, **like)[0], None

    return nll.sum() / targets.size, cross_entropy_pullback


@op
def layer_norm(x, weight, bias, *, epsilon: float = NORM_EPSILON):
    """Normalize along the last axis to mean 0 and variance 1, then scale and shift.

    Fused for speed (Ba, Kiros & Hinton 2016): (..., n), (n,), (n,) -> (..., n).
    """
    if not x.ndim or weight.shape != x.shape[-1:] or bias.shape != x.shape[-1:]:
        raise ValueError("layer_norm expects (..., n), (n,) and (n,)")
    shared, shapes = (weight, bias, epsilon), (x.shape, x.shape[:-1], x.shape[:-1])
    value, mean, inverse = kernels.by_rows("layer_norm", x, shared=shared, out=shapes)

    def layer_norm_pullback(grad):
        rows, like = (grad, x, mean, inverse), {"out": [x.shape], "sums": [weight, bias]}
        return kernels.by_rows("layer_norm_backward", *rows, shared=[weight], **like)

    return value, layer_norm_pullback


@op
def rms_norm(x, weight, *, epsilon: float = NORM_EPSILON):
    """Divide by the root mean square along the last axis, then scale: (..., n), (n,) -> (..., n).

    Fused for speed (Zhang & Sennrich 2019).
    """
    if not x.ndim or weight.shape != x.shape[-1:]:
        raise ValueError("rms_norm expects (..., n) and (n,)")
    shapes = x.shape, x.shape[:-1]
    value, inverse = kernels.by_rows("rms_norm", x, shared=[weight, epsilon], out=shapes)

    def rms_norm_pullback(grad):
        rows, like = (grad, x, inverse), {"out": [x.shape], "sums": [weight]}
        return kernels.by_rows("rms_norm_backward", *rows, shared=[weight], **like)

    return value, rms_norm_pullback


@op
def causal_attention(q, k, v, *, window: int | None = None):
    """softmax(q k^T / sqrt(size), masked) v, where no query sees a later key.

    Fused for memory (Vaswani et al. 2017; Dao et al. 2022): the scores, (queries, keys), are never
    stored as a whole. If there are fewer queries than keys, they belong to the last keys.

    Parameters
    ----------
    q : (batch, heads, queries, size), with queries <= keys
    k : (batch, heads, keys, size)
    v : (batch, heads, keys, n)
    window : number of keys that a query sees, the last of which is its own; None: all

    Returns
    -------
    Tensor, shape (batch, heads, queries, n)
    """
    if q.ndim != 4 or k.ndim != 4 or not q.shape[3]:
        raise ValueError("attention expects q, k, v of (batch, heads, time, size)")
    if k.shape[:3] != v.shape[:3] or q.shape[:2] != k.shape[:2] or q.shape[3] != k.shape[3]:
        raise ValueError(
            "attention expects q, k, v with the same batch and heads, q and k of one size"
        )
    if q.shape[2] > k.shape[2]:
        raise ValueError("attention has more queries than keys")
    if window is not None and window < 1:
        raise ValueError(f"attention expects a window of at least 1, got {window}")
    window = k.shape[2] if window is None else window
    value, log_total = kernels.attention(q, k, v, window)

    def causal_attention_pullback(grad):
        return kernels.attention_backward(grad, q, k, v, log_total, window)

    return value, causal_attention_pullback


@partial(op, discrete={1: "iu"})
def rotary(x, positions, *, normalize: bool = False):
    """Rotary position embedding (Su et al. 2021): (..., time, size) -> the same, size even.

    Elements i and i + size / 2 of a vector are the coordinates of a point (the half-split layout of
    GPT-NeoX; the paper pairs neighbors), which is rotated by position * 10,000 ** (-2 i / size). So
    the product of a query and a key depends only on the distance between their positions.

    Fused for speed, also with the normalization.

    Parameters
    ----------
    positions : integers, (time,)
    normalize : divide each vector by its root mean square first, as `rms_norm` does
    """
    if x.ndim < 2 or x.shape[-1] % 2 or positions.shape != x.shape[-2:-1]:
        raise ValueError("rotary expects (..., time, size), size even, and (time,)")
    size = x.shape[-1]
    frequencies = constant(10_000.0 ** (np.arange(0, size, 2) / -size))
    angles = positions[:, np.newaxis] * frequencies
    cosine, sine = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
    shared = cosine, sine, NORM_EPSILON if normalize else 0.0
    rows = _by_token(x)
    shapes = rows.shape, rows.shape[:3]
    turned, inverse = kernels.by_rows("rotary", rows, shared=shared, out=shapes, axes=3)

    def rotary_pullback(grad):
        rows, like = (_by_token(grad), turned, inverse), {"out": shapes[:1], "axes": 3}
        (found,) = kernels.by_rows("rotary_backward", *rows, shared=shared, **like)
        return found.swapaxes(1, 2).reshape(x.shape), None

    return turned.swapaxes(1, 2).reshape(x.shape), rotary_pullback


def _by_token(x):
    """Rearrange (batch, heads, time, size) or (..., time, size) to (rows, time, heads, size).

    The result is C-contiguous, a view of what `CausalSelfAttention` splits into heads.
    """
    if x.ndim != 4:
        x = x.reshape(math.prod(x.shape[:-2]), 1, *x.shape[-2:])
    return x.swapaxes(1, 2)


@op
def causal_convolution(x, weight):
    """x plus a depthwise causal convolution of it: (batch, time, n), (lags, n) -> as x.

    The result at position t is x[t] + sum over lags of weight[lag] * x[t - lag], where positions
    before the first count as 0. Fused for speed (So et al. 2021; Allen-Zhu 2025).
    """
    if x.ndim != 3 or weight.ndim != 2 or weight.shape[1] != x.shape[2]:
        raise ValueError("causal_convolution expects (batch, time, n) and (lags, n)")

    settings = {"shared": [weight], "out": [x.shape], "axes": 2}
    (value,) = kernels.by_rows("causal_convolution", x, **settings)

    def causal_convolution_pullback(grad):
        return kernels.by_rows("causal_convolution_backward", grad, x, **settings, sums=[weight])

    return value, causal_convolution_pullback


@op
def dropout(x, *, rate: float, rng: np.random.Generator):
    """Set each element to 0 with probability `rate`, scale the others by 1 / (1 - rate).

    Fused for speed (Srivastava et al. 2014).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate must be in [0, 1), got {rate}")
    chances = rng.random(x.shape, np.float32)

    def dropout_pullback(grad):
        return (kernels.elementwise("dropout", grad, chances, shared=[rate]),)

    return kernels.elementwise("dropout", x, chances, shared=[rate]), dropout_pullback
