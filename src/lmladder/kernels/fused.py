"""The kernels of `reference`, compiled for float32: each one pass or two over memory.

Numba compiles them for the processor that `runtime.pin` names, so that all processors with AVX2 get
the same code and the same bits. Compiled code is kept on disk, beside this file or in the user's
cache (`compiling.py`); the first run says that it compiles. Sums may be taken in any order that
suits the vector unit, but it is the compiler that chooses it, not the machine at run time.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from lmladder.kernels.compiling import compile_kept
from lmladder.kernels.reference import CUBIC, SLOPE

import numpy as np
from numba import float32, float64, int32, int64, njit, types

Kernel: TypeAlias = Callable[..., Any]

REORDER = {"contract", "reassoc", "nsz"}  # what the compiler may do to sums and quotients
EXACT = {"contract"}


def _array(element: Any, n_axes: int, layout: Any, *, readonly: bool) -> types.Array:
    return types.Array(element, n_axes, layout, readonly=readonly)


# What a kernel reads may be read-only, as arrays are that a graph holds.
READ_1D, READ_2D = (_array(float32, n, "C", readonly=True) for n in (1, 2))
READ_ANY_2D = _array(float32, 2, "A", readonly=True)
READ_IDS = _array(int64, 1, "C", readonly=True)
WRITE_1D, WRITE_2D, WRITE_3D = (_array(float32, n, "C", readonly=False) for n in (1, 2, 3))
WRITE_ANY_2D = _array(float32, 2, "A", readonly=False)
READ_4D = _array(float32, 4, "C", readonly=True)
WRITE_4D = _array(float32, 4, "C", readonly=False)


def compiled(*arguments: Any, result: Any = types.void) -> Callable[[Kernel], Kernel]:
    """Compile for these types of arguments, or load what an earlier run has compiled."""

    def compile_now(function: Kernel) -> Kernel:
        signature = result(*arguments)
        return compile_kept(signature, function, nogil=True, error_model="numpy", fastmath=REORDER)

    return compile_now


def inlined(function: Callable[..., Any]) -> Any:
    """A function of single numbers within the kernels; its operations keep their order."""
    return njit(forceinline=True, error_model="numpy", fastmath=EXACT)(function)


# ------------------------------------------------------------------------------- single numbers


@inlined
def _exp(x):
    """e ** x to 2 units in the last place; 0 below -87.3, where float32 loses digits.

    With n = round(x / log 2): 2 ** n times a polynomial in x - n log 2 (Cephes, expf.c). Adding
    1.5 * 2 ** 23 rounds, and leaves n in the lowest bits; shifted by 23 they are an exponent.
    """
    shifted = x * float32(1.44269504) + float32(12582912.0)
    n = shifted - float32(12582912.0)
    r = x - n * float32(0.693359375) - n * float32(-2.12194440e-4)
    p = float32(1.9875691500e-4)
    p = p * r + float32(1.3981999507e-3)
    p = p * r + float32(8.3334519073e-3)
    p = p * r + float32(4.1665795894e-2)
    p = p * r + float32(1.6666665459e-1)
    p = p * r + float32(5.0000001201e-1)
    p = p * r * r + r + float32(1)
    power = (np.float32(shifted).view(np.int32) << int32(23)) + int32(0x3F800000)
    value = p * np.int32(power).view(np.float32)
    value = float32(np.inf) if x > float32(88.7) else value
    return float32(0) if x < float32(-87.3) else value


@inlined
def _sigmoid(x):
    return float32(1) / (float32(1) + _exp(-x))


@inlined
def _erf(x):
    """The error function, as in `reference`, to 2e-7."""
    size = abs(x)
    size = float32(6) if size > float32(6) else size
    square = size * size
    top = float32(1.85777706184603153e-1)
    top = top * square + float32(3.16112374387056560)
    top = top * square + float32(1.13864154151050156e2)
    top = top * square + float32(3.77485237685302021e2)
    top = top * square + float32(3.20937758913846947e3)
    bottom = square + float32(2.36012909523441209e1)
    bottom = bottom * square + float32(2.44024637934444173e2)
    bottom = bottom * square + float32(1.28261652607737228e3)
    bottom = bottom * square + float32(2.84423683343917062e3)
    near = size * top / bottom
    top = float32(2.15311535474403846e-8)
    top = top * size + float32(5.64188496988670089e-1)
    top = top * size + float32(8.88314979438837594)
    top = top * size + float32(6.61191906371416295e1)
    top = top * size + float32(2.98635138197400131e2)
    top = top * size + float32(8.81952221241769090e2)
    top = top * size + float32(1.71204761263407058e3)
    top = top * size + float32(2.05107837782607147e3)
    top = top * size + float32(1.23033935479799725e3)
    bottom = size + float32(1.57449261107098347e1)
    bottom = bottom * size + float32(1.17693950891312499e2)
    bottom = bottom * size + float32(5.37181101862009858e2)
    bottom = bottom * size + float32(1.62138957456669019e3)
    bottom = bottom * size + float32(3.29079923573345963e3)
    bottom = bottom * size + float32(4.36261909014324716e3)
    bottom = bottom * size + float32(3.43936767414372164e3)
    bottom = bottom * size + float32(1.23033935480374942e3)
    far = float32(1) - _exp(-square) * (top / bottom)
    value = near if size <= float32(0.46875) else far
    return -value if x < float32(0) else value


# ------------------------------------------------------------------------------- activations


@compiled(READ_1D, WRITE_1D)
def gelu_tanh(x, out):
    # (1 + tanh u) / 2 is the sigmoid of 2 u
    for i in range(x.size):
        v = x[i]
        out[i] = v * _sigmoid(float32(2 * SLOPE) * v * (float32(1) + float32(CUBIC) * v * v))


@compiled(READ_1D, READ_1D, WRITE_1D)
def gelu_tanh_backward(grad, x, out):
    for i in range(x.size):
        v = x[i]
        square = float32(CUBIC) * v * v
        s = _sigmoid(float32(2 * SLOPE) * v * (float32(1) + square))
        slope = float32(2 * SLOPE) * (float32(1) + float32(3) * square)
        out[i] = grad[i] * (s + v * s * (float32(1) - s) * slope)


@compiled(READ_1D, WRITE_1D)
def gelu(x, out):
    for i in range(x.size):
        v = x[i]
        out[i] = float32(0.5) * v * (float32(1) + _erf(v * float32(0.70710678)))


@compiled(READ_1D, READ_1D, WRITE_1D)
def gelu_backward(grad, x, out):
    for i in range(x.size):
        v = x[i]
        below = float32(0.5) * (float32(1) + _erf(v * float32(0.70710678)))
        density = float32(0.39894228) * _exp(float32(-0.5) * v * v)
        out[i] = grad[i] * (below + v * density)


@compiled(READ_1D, READ_1D, float64, WRITE_1D)
def dropout(x, chances, rate, out):
    least, scale = float32(rate), float32(1) / float32(1 - rate)
    for i in range(x.size):
        out[i] = x[i] * (scale if chances[i] >= least else float32(0))


# ------------------------------------------------------------------------------- normalisation


@compiled(READ_2D, READ_1D, READ_1D, float32, WRITE_2D, WRITE_1D, WRITE_1D)
def layer_norm(x, weight, bias, epsilon, out, mean, inverse):
    n = x.shape[1]
    for i in range(len(x)):
        total = float32(0)
        for j in range(n):
            total += x[i, j]
        m = total / float32(n)
        squares = float32(0)
        for j in range(n):
            squares += (x[i, j] - m) * (x[i, j] - m)
        r = float32(1) / np.sqrt(squares / float32(n) + epsilon)
        for j in range(n):
            out[i, j] = (x[i, j] - m) * r * weight[j] + bias[j]
        mean[i] = m
        inverse[i] = r


@compiled(READ_2D, READ_2D, READ_1D, READ_1D, READ_1D, WRITE_2D, WRITE_1D, WRITE_1D)
def layer_norm_backward(grad, x, mean, inverse, weight, out, grad_weight, grad_bias):
    n = x.shape[1]
    grad_weight[:] = float32(0)
    grad_bias[:] = float32(0)
    for i in range(len(x)):
        m, r = mean[i], inverse[i]
        total = float32(0)
        along = float32(0)
        for j in range(n):
            normal = (x[i, j] - m) * r
            grad_bias[j] += grad[i, j]
            grad_weight[j] += grad[i, j] * normal
            by_normal = grad[i, j] * weight[j]
            total += by_normal
            along += by_normal * normal
        total /= float32(n)
        along /= float32(n)
        for j in range(n):
            normal = (x[i, j] - m) * r
            out[i, j] = (grad[i, j] * weight[j] - total - normal * along) * r


@compiled(READ_2D, READ_1D, float32, WRITE_2D, WRITE_1D)
def rms_norm(x, weight, epsilon, out, inverse):
    n = x.shape[1]
    for i in range(len(x)):
        squares = float32(0)
        for j in range(n):
            squares += x[i, j] * x[i, j]
        r = float32(1) / np.sqrt(squares / float32(n) + epsilon)
        for j in range(n):
            out[i, j] = x[i, j] * r * weight[j]
        inverse[i] = r


@compiled(READ_2D, READ_2D, READ_1D, READ_1D, WRITE_2D, WRITE_1D)
def rms_norm_backward(grad, x, inverse, weight, out, grad_weight):
    n = x.shape[1]
    grad_weight[:] = float32(0)
    for i in range(len(x)):
        r = inverse[i]
        along = float32(0)
        for j in range(n):
            normal = x[i, j] * r
            grad_weight[j] += grad[i, j] * normal
            along += grad[i, j] * weight[j] * normal
        along /= float32(n)
        for j in range(n):
            out[i, j] = (grad[i, j] * weight[j] - x[i, j] * r * along) * r


# ------------------------------------------------------------------------------- softmax and loss


@compiled(READ_2D, WRITE_2D)
def softmax(x, out):
    n = x.shape[1]
    for i in range(len(x)):
        largest = x[i, 0]
        for j in range(1, n):
            largest = max(largest, x[i, j])
        total = float32(0)
        for j in range(n):
            out[i, j] = _exp(x[i, j] - largest)
            total += out[i, j]
        for j in range(n):
            out[i, j] /= total


@compiled(READ_2D, READ_IDS, WRITE_1D, WRITE_1D)
def cross_entropy(logits, targets, nats, log_total):
    n = logits.shape[1]
    for i in range(len(logits)):
        largest = logits[i, 0]
        for j in range(1, n):
            largest = max(largest, logits[i, j])
        total = float32(0)
        for j in range(n):
            total += _exp(logits[i, j] - largest)
        log_total[i] = np.log(total) + largest
        nats[i] = log_total[i] - logits[i, targets[i]]


@compiled(READ_2D, READ_IDS, READ_1D, READ_1D, WRITE_2D)
def cross_entropy_backward(logits, targets, log_total, grad, out):
    g = grad[0]
    for i in range(len(logits)):
        for j in range(logits.shape[1]):
            out[i, j] = g * _exp(logits[i, j] - log_total[i])
        out[i, targets[i]] -= g


@compiled(WRITE_3D, float32, WRITE_ANY_2D)
def causal_softmax(scores, scale, log_total):
    heads, queries, keys = scores.shape
    for h in range(heads):
        for i in range(queries):
            row = scores[h, i]
            seen = keys - queries + i + 1
            largest = row[0]
            for j in range(1, seen):
                largest = max(largest, row[j])
            total = float32(0)
            for j in range(seen):
                row[j] = _exp((row[j] - largest) * scale)
                total += row[j]
            for j in range(seen):
                row[j] /= total
            for j in range(seen, keys):
                row[j] = float32(0)
            log_total[h, i] = np.log(total) + largest * scale


@compiled(WRITE_3D, WRITE_3D, READ_ANY_2D, READ_ANY_2D, float32)
def causal_softmax_backward(by_weights, scores, log_total, along, scale):
    heads, queries, keys = scores.shape
    for h in range(heads):
        for i in range(queries):
            seen = keys - queries + i + 1
            shift = log_total[h, i]
            expected = along[h, i]
            for j in range(seen):
                weight = _exp(scores[h, i, j] * scale - shift)
                scores[h, i, j] = weight
                by_weights[h, i, j] = weight * (by_weights[h, i, j] - expected) * scale
            for j in range(seen, keys):
                scores[h, i, j] = float32(0)
                by_weights[h, i, j] = float32(0)


# ------------------------------------------------------------------------------- embedding, Adam


@compiled(READ_2D, READ_IDS, WRITE_2D)
def scatter_rows(grad, indices, out):
    out[:] = float32(0)
    for i in range(len(grad)):
        row = indices[i]
        for j in range(grad.shape[1]):
            out[row, j] += grad[i, j]


@compiled(READ_1D, WRITE_1D, WRITE_1D, WRITE_1D, *[float64] * 8)
def adam(
    grad,
    mean,
    square,
    value,
    beta_mean,
    beta_square,
    epsilon,
    gradient_scale,
    rate,
    mean_correction,
    square_correction,
    shrink,
):
    if not grad.size == mean.size == square.size == value.size:
        raise ValueError("adam takes vectors of one size")
    # 1 - beta and the quotients in float64: in float32, 1 - 0.999 is off by 5e-5
    keep_mean, take_mean = float32(beta_mean), float32(1 - beta_mean)
    keep_square, take_square = float32(beta_square), float32(1 - beta_square)
    scale, shrunk, small = float32(gradient_scale), float32(shrink), float32(epsilon)
    step, by_square = float32(rate / mean_correction), float32(1 / square_correction)
    for i in range(grad.size):
        g = grad[i] * scale
        mean[i] = keep_mean * mean[i] + take_mean * g
        square[i] = keep_square * square[i] + take_square * g * g
        root = np.sqrt(square[i] * by_square) + small
        value[i] = value[i] * shrunk - mean[i] / root * step


@compiled(READ_1D, result=float64)
def square_sum(x):
    whole = float64(0)
    for start in range(0, x.size, 4096):
        part = float32(0)
        for i in range(start, min(start + 4096, x.size)):
            part += x[i] * x[i]
        whole += float64(part)
    return whole


# ------------------------------------------------------------------------------- decoding


@compiled(READ_1D, READ_2D, READ_1D, WRITE_1D)
def linear_row(x, weight, bias, out):
    n, m = weight.shape
    out[:] = bias
    whole = n - n % 4
    for k in range(0, whole, 4):  # four rows of weights to each pass over the result
        a, b, c, d = x[k], x[k + 1], x[k + 2], x[k + 3]
        for j in range(m):
            out[j] += (
                a * weight[k, j]
                + b * weight[k + 1, j]
                + c * weight[k + 2, j]
                + d * weight[k + 3, j]
            )
    for k in range(whole, n):
        for j in range(m):
            out[j] += x[k] * weight[k, j]


@compiled(READ_4D, READ_4D, READ_4D, WRITE_4D, WRITE_4D, READ_IDS, float32, WRITE_4D)
def cached_attention(q, k, v, keys, values, position, scale, out):
    rows, heads, _, size = q.shape
    end = position[0] + 1
    if not 0 < end <= keys.shape[2]:
        raise IndexError("the position is past those that there is room for")
    weights = np.empty(end, np.float32)
    for r in range(rows):
        for h in range(heads):
            query, result, key, value = q[r, h, 0], out[r, h, 0], keys[r, h], values[r, h]
            key[end - 1] = k[r, h, 0]
            value[end - 1] = v[r, h, 0]
            largest = float32(-np.inf)
            for j in range(end):
                score = float32(0)
                for i in range(size):
                    score += query[i] * key[j, i]
                weights[j] = score * scale
                largest = max(largest, weights[j])
            total = float32(0)
            for j in range(end):
                weights[j] = _exp(weights[j] - largest)
                total += weights[j]
            result[:] = float32(0)
            for j in range(end):
                weight = weights[j] / total
                for i in range(size):
                    result[i] += weight * value[j, i]
