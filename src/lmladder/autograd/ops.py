"""The ops: each one function, its value and its pullback side by side.

In a pullback, `grad` is the gradient of the loss with respect to the op's value. Broadcasting need
not be undone here; the engine does that. What can be composed of other ops at no loss of speed or
precision is composed. Some ops are named as NumPy names them and hide Python's own `sum` and `max`.
"""

from collections.abc import Sequence
from typing import Any

from lmladder import kernels
from lmladder.autograd.tensor import Tensor, op

import numpy as np

# ------------------------------------------------------------------------------- arithmetic


@op
def add(a, b):
    """Elementwise a + b, broadcasting like NumPy."""

    def add_pullback(grad):
        return grad, grad

    return a + b, add_pullback


@op
def sub(a, b):
    """Elementwise a - b, broadcasting like NumPy."""

    def sub_pullback(grad):
        return grad, -grad

    return a - b, sub_pullback


@op
def mul(a, b):
    """Elementwise a * b, broadcasting like NumPy."""

    def mul_pullback(grad):
        return grad * b, grad * a

    return a * b, mul_pullback


@op
def div(a, b):
    """Elementwise a / b, broadcasting like NumPy."""
    value = a / b

    def div_pullback(grad):
        by_a = grad / b
        return by_a, -by_a * value

    return value, div_pullback


@op
def neg(a):
    """Elementwise -a."""

    def neg_pullback(grad):
        return (-grad,)

    return -a, neg_pullback


@op
def power(a, *, exponent: float):
    """Elementwise a ** exponent, the exponent a plain number."""

    def power_pullback(grad):
        if exponent == 0:  # a constant; 0 ** -1 would be infinite
            return (np.zeros_like(a),)
        return (grad * exponent * a ** (exponent - 1),)

    return a**exponent, power_pullback


@op
def matmul(a, b):
    """Matrix product over the last two axes, broadcasting the others; both have at least two."""
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError("matmul wants at least two axes each; reshape a vector first")

    def matmul_pullback(grad):
        by_a = kernels.matmul(grad, b.swapaxes(-1, -2))
        if b.ndim == 2:  # one matrix for all of a's leading axes: a single product sums over them
            return by_a, kernels.matmul(kernels.as_rows(a).T, kernels.as_rows(grad))
        return by_a, kernels.matmul(a.swapaxes(-1, -2), grad)

    return kernels.matmul(a, b), matmul_pullback


@op
def linear(x, weight, bias):
    """x @ weight + bias: (..., n), (n, m), (m,) -> (..., m). Fused to save a pass over memory."""

    def linear_pullback(grad):
        rows = kernels.as_rows(grad)
        by_weight = kernels.matmul(kernels.as_rows(x).T, rows)
        return kernels.matmul(grad, weight.T), by_weight, rows.sum(axis=0)

    return kernels.matmul(x, weight, bias), linear_pullback


# ------------------------------------------------------------------------------- reductions


def _restore(reduced, shape: tuple[int, ...], axis):
    """View of a reduction's result that broadcasts against the array it came from."""
    axes = range(len(shape)) if axis is None else np.atleast_1d(axis) % (len(shape) or 1)
    return reduced.reshape([1 if i in axes else n for i, n in enumerate(shape)])


@op
def sum(a, *, axis=None, keepdims: bool = False):
    """Sum over `axis` (a number, a tuple, or None for all)."""

    def sum_pullback(grad):
        return (np.broadcast_to(_restore(grad, a.shape, axis), a.shape),)

    return a.sum(axis=axis, keepdims=keepdims), sum_pullback


@op
def max(a, *, axis=None, keepdims: bool = False):
    """Maximum over `axis`; equal maxima share the gradient equally."""
    value = a.max(axis=axis, keepdims=keepdims)

    def max_pullback(grad):
        winners = (a == _restore(value, a.shape, axis)).astype(a.dtype)
        winners /= winners.sum(axis=axis, keepdims=True)
        return (winners * _restore(grad, a.shape, axis),)

    return value, max_pullback


def mean(a: Tensor, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Mean over `axis` (a number, a tuple, or None for all)."""
    total = sum(a, axis=axis, keepdims=keepdims)
    return total * (np.prod(total.shape) / np.prod(a.shape))


# ------------------------------------------------------------------------------- functions


@op
def exp(a):
    """Elementwise e ** a."""
    value = np.exp(a)

    def exp_pullback(grad):
        return (grad * value,)

    return value, exp_pullback


@op
def log(a):
    """Elementwise natural logarithm."""

    def log_pullback(grad):
        return (grad / a,)

    return np.log(a), log_pullback


@op
def sqrt(a):
    """Elementwise square root."""
    value = np.sqrt(a)

    def sqrt_pullback(grad):
        return (grad / (2 * value),)

    return value, sqrt_pullback


@op
def tanh(a):
    """Elementwise hyperbolic tangent."""
    value = np.tanh(a)

    def tanh_pullback(grad):
        return (grad * (1 - value * value),)

    return value, tanh_pullback


@op
def sigmoid(a):
    """Elementwise 1 / (1 + exp(-a)), through tanh, which does not overflow."""
    value = (np.tanh(a / 2) + 1) / 2

    def sigmoid_pullback(grad):
        return (grad * value * (1 - value),)

    return value, sigmoid_pullback


@op
def relu(a):
    """Elementwise max(a, 0); its gradient at 0 is 0."""

    def relu_pullback(grad):
        return (grad * (a > 0),)

    return np.maximum(a, 0), relu_pullback


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


# ------------------------------------------------------------------------------- shapes


@op
def reshape(a, *, shape: int | tuple[int, ...]):
    """The same numbers in another shape; one -1 is worked out."""

    def reshape_pullback(grad):
        return (grad.reshape(a.shape),)

    return a.reshape(shape), reshape_pullback


@op
def transpose(a, *, axes: Sequence[int] | None = None):
    """Permute axes, by default reverse them."""
    inverse = None if axes is None else np.argsort([axis % a.ndim for axis in axes])

    def transpose_pullback(grad):
        return (grad.transpose(inverse),)

    return a.transpose(axes), transpose_pullback


@op
def concat(*arrays, axis: int = 0):
    """Join along an existing axis."""
    ends = np.cumsum([array.shape[axis] for array in arrays])

    def concat_pullback(grad):
        return tuple(np.split(grad, ends[:-1], axis=axis))

    return np.concatenate(arrays, axis=axis), concat_pullback


@op
def getitem(a, *, index: Any):
    """a[index] by NumPy's rules: slices, numbers, integer and boolean arrays."""

    def getitem_pullback(grad):
        out = np.zeros_like(a)
        np.add.at(out, index, grad)  # an integer array may name a place twice
        return (out,)

    return a[index], getitem_pullback


def split(a: Tensor, sections: int, *, axis: int = -1) -> tuple[Tensor, ...]:
    """Cut into equal parts along `axis`."""
    length = a.shape[axis]
    if sections < 1 or length % sections:
        raise ValueError(f"split of shape {a.shape}: axis {axis} is no multiple of {sections}")
    step = length // sections
    before = (slice(None),) * (axis % a.ndim)
    return tuple(
        getitem(a, index=(*before, slice(start, start + step))) for start in range(0, length, step)
    )


@op
def where(condition, a, b):
    """a where `condition` (a boolean array) holds, else b, broadcasting like NumPy."""

    def where_pullback(grad):
        return None, np.where(condition, grad, 0), np.where(condition, 0, grad)

    return np.where(condition, a, b), where_pullback


# ------------------------------------------------------------------------------- neural networks


@op
def embedding(table, ids):
    """Rows of `table` by number: (n, size), integers (...) -> (..., size).

    An op of its own because sorted sums beat `getitem`'s pullback by far.
    """
    if ids.size and not 0 <= ids.min() <= ids.max() < len(table):
        raise IndexError(
            f"ids range from {ids.min()} to {ids.max()}, the table has {len(table)} rows"
        )

    def embedding_pullback(grad):
        rows = grad.reshape(ids.size, table.shape[-1])
        return kernels.scatter_rows(rows, ids.reshape(-1), len(table)), None

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


@op
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
        If targets.shape differs from logits.shape[:-1], or a target is out of range.
    """
    if targets.shape != logits.shape[:-1]:
        raise ValueError("targets must have the shape of logits without its last axis")
    if targets.size and not 0 <= targets.min() <= targets.max() < logits.shape[-1]:
        raise ValueError(f"targets range from {targets.min()} to {targets.max()}")
    nats, log_total = kernels.cross_entropy(logits, targets)

    def cross_entropy_pullback(grad):
        each = np.full(targets.shape, grad / targets.size, logits.dtype)
        return kernels.cross_entropy_backward(each, logits, targets, log_total), None

    return nats.mean(), cross_entropy_pullback


@op
def layer_norm(x, weight, bias, *, epsilon: float = 1e-5):
    """Normalise along the last axis to mean 0 and variance 1, then scale and shift.

    Fused for speed (Ba, Kiros & Hinton 2016): (..., n), (n,), (n,) -> (..., n).
    """
    value, mean, inverse = kernels.layer_norm(x, weight, bias, epsilon)

    def layer_norm_pullback(grad):
        return kernels.layer_norm_backward(grad, x, mean, inverse, weight)

    return value, layer_norm_pullback


@op
def rms_norm(x, weight, *, epsilon: float = 1e-5):
    """Divide by the root mean square along the last axis, then scale: (..., n), (n,) -> (..., n).

    Fused for speed (Zhang & Sennrich 2019).
    """
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


# ------------------------------------------------------------------------------- operators


def _power(base: Tensor, exponent: float) -> Tensor:
    if not isinstance(exponent, int | float):
        raise TypeError("tensor ** exponent takes a number; for a tensor use exp(b * log(a))")
    return power(base, exponent=float(exponent))


_OPERATORS = {
    "__add__": add,
    "__radd__": lambda self, other: add(other, self),
    "__sub__": sub,
    "__rsub__": lambda self, other: sub(other, self),
    "__mul__": mul,
    "__rmul__": lambda self, other: mul(other, self),
    "__truediv__": div,
    "__rtruediv__": lambda self, other: div(other, self),
    "__matmul__": matmul,
    "__rmatmul__": lambda self, other: matmul(other, self),
    "__neg__": neg,
    "__pow__": _power,
    "__getitem__": lambda self, index: getitem(self, index=index),
    "sum": sum,
    "mean": mean,
    "max": max,
    "reshape": lambda self, *shape: reshape(self, shape=shape),
    "transpose": lambda self, *axes: transpose(self, axes=axes or None),
}
for _name, _function in _OPERATORS.items():
    setattr(Tensor, _name, _function)
