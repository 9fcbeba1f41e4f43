"""The kernels of `reference`, compiled for float32: each makes one or two passes over memory.

Numba compiles them for the processor that `runtime.pin` names, so all processors with AVX2 run the
same code and compute the same bits. The compiler may reorder sums for vector instructions, but the
order does not depend on the machine at run time.
"""

from functools import partial

from lmladder.kernels.compiling import compile_cached
from lmladder.kernels.products import multiply  # noqa: F401
from lmladder.kernels.reference import CUBIC, ERF_LARGE, ERF_SMALL, MAX_EXPONENT, SLOPE

import numpy as np
from numba import float32, float64, int32, int64, njit, void
from numba.types import Array

REORDER = {"contract", "reassoc", "nsz"}  # what the compiler may do to sums and products
EXACT = {"contract"}


# Arguments that a kernel reads may be read-only arrays, as those of a graph are.
READ_1D, READ_2D, READ_3D, READ_4D = (Array(float32, n, "C", readonly=True) for n in range(1, 5))
READ_ANY_2D = Array(float32, 2, "A", readonly=True)
READ_IDS = Array(int64, 1, "C", readonly=True)
WRITE_1D, WRITE_2D, WRITE_3D, WRITE_4D = (Array(float32, n, "C") for n in range(1, 5))
WRITE_ANY_2D = Array(float32, 2, "A")


def compiled(*arguments, result=void):
    """Compile a kernel for arguments of these types, or load it from the cache."""
    return partial(
        compile_cached, result(*arguments), nogil=True, error_model="numpy", fastmath=REORDER
    )


def inlined(function):
    """Compile a function of numbers for use in kernels; its operations keep their order."""
    return njit(forceinline=True, error_model="numpy", fastmath=EXACT)(function)


# ------------------------------------------------------------------------------- scalar functions


_EXP = 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5
EXP = tuple(map(np.float32, _EXP))
SMALL_TOP, SMALL_BOTTOM = (tuple(map(np.float32, each)) for each in ERF_SMALL)
LARGE_TOP, LARGE_BOTTOM = (tuple(map(np.float32, each)) for each in ERF_LARGE)
LIMIT = np.float32(MAX_EXPONENT)


@inlined
def _polynomial(x, coefficients):
    """The value of a polynomial, coefficients from the highest power down."""
    value = coefficients[0]
    for each in coefficients[1:]:
        value = value * x + each
    return value


@inlined
def _exp(x):
    """e ** x with an error of 2 units in the last place; 0 below -87.3, where it is subnormal.

    With n = round(x / log 2), this is 2 ** n times a polynomial in x - n log 2 (Cephes, expf.c).
    Adding 1.5 * 2 ** 23 rounds and leaves n in the lowest bits; shifted by 23, it is an exponent.
    """
    shifted = x * float32(1.44269504) + float32(12582912.0)
    n = shifted - float32(12582912.0)
    r = x - n * float32(0.693359375) - n * float32(-2.12194440e-4)
    p = _polynomial(r, EXP)
    p = p * r * r + r + float32(1)
    power = (np.float32(shifted).view(np.int32) << int32(23)) + int32(0x3F800000)
    value = p * np.int32(power).view(np.float32)
    value = float32(np.inf) if x > float32(88.7) else value
    return float32(0) if x < float32(-87.3) else value


@inlined
def _sigmoid(x):
    return float32(1) / (float32(1) + _exp(-x))


@inlined
def _ordered(bits):
    """Bits of a float32 as an integer that is larger for a larger number; its own inverse."""
    return np.int32(bits ^ ((bits >> int32(31)) & int32(0x7FFFFFFF)))


@inlined
def _largest(row, n):
    """The largest of the first n elements. Only the maximum of integers is vectorized."""
    top = _ordered(np.float32(row[0]).view(np.int32))
    for j in range(1, n):
        top = max(top, _ordered(np.float32(row[j]).view(np.int32)))
    return np.int32(_ordered(top)).view(np.float32)


@inlined
def _erf(x):
    """The error function as in `reference`, with an absolute error of 2e-7."""
    size = abs(x)
    size = float32(6) if size > float32(6) else size
    square = size * size
    near = size * _polynomial(square, SMALL_TOP) / _polynomial(square, SMALL_BOTTOM)
    ratio = _polynomial(size, LARGE_TOP) / _polynomial(size, LARGE_BOTTOM)
    far = float32(1) - _exp(-square) * ratio
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


@compiled(READ_1D, WRITE_1D)
def relu_squared(x, out):
    for i in range(x.size):
        v = float32(0) if x[i] < float32(0) else x[i]  # NaN stays
        out[i] = v * v


@compiled(READ_1D, READ_1D, WRITE_1D)
def relu_squared_backward(grad, x, out):
    for i in range(x.size):
        v = float32(0) if x[i] < float32(0) else x[i]
        out[i] = grad[i] * v * float32(2)


@compiled(READ_1D, READ_1D, float64, WRITE_1D)
def dropout(x, chances, rate, out):
    threshold, scale = float32(rate), float32(1) / float32(1 - rate)
    for i in range(x.size):
        out[i] = x[i] * (scale if chances[i] >= threshold else float32(0))


# ------------------------------------------------------------------------------- normalization


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


@compiled(READ_3D, READ_2D, WRITE_3D)
def causal_convolution(x, weight, out):
    rows, time, n = x.shape
    for i in range(rows):
        for t in range(time):
            for j in range(n):
                out[i, t, j] = x[i, t, j]
            for lag in range(min(len(weight), t + 1)):
                for j in range(n):
                    out[i, t, j] += weight[lag, j] * x[i, t - lag, j]


@compiled(READ_3D, READ_3D, READ_2D, WRITE_3D, WRITE_2D)
def causal_convolution_backward(grad, x, weight, out, grad_weight):
    rows, time, n = x.shape
    grad_weight[:] = float32(0)
    for i in range(rows):
        for t in range(time):
            for j in range(n):
                out[i, t, j] = grad[i, t, j]
            for lag in range(min(len(weight), time - t)):
                for j in range(n):
                    out[i, t, j] += weight[lag, j] * grad[i, t + lag, j]
                    grad_weight[lag, j] += grad[i, t + lag, j] * x[i, t, j]


@compiled(READ_4D, READ_2D, READ_2D, float32, WRITE_4D, WRITE_3D)
def rotary(x, cosine, sine, epsilon, out, inverse):
    rows, time, heads, size = x.shape
    half = size // 2
    for i in range(rows):
        for t in range(time):
            for h in range(heads):
                r = float32(1)
                if epsilon > 0:
                    squares = float32(0)
                    for j in range(size):
                        squares += x[i, t, h, j] * x[i, t, h, j]
                    r = float32(1) / np.sqrt(squares / float32(size) + epsilon)
                inverse[i, t, h] = r
                for j in range(size):
                    out[i, t, h, j] = x[i, t, h, j] * r
                for j in range(half):  # in place, which is vectorized better
                    first, second = out[i, t, h, j], out[i, t, h, half + j]
                    out[i, t, h, j] = first * cosine[t, j] - second * sine[t, j]
                    out[i, t, h, half + j] = first * sine[t, j] + second * cosine[t, j]


@compiled(READ_4D, READ_4D, READ_3D, READ_2D, READ_2D, float32, WRITE_4D)
def rotary_backward(grad, turned, inverse, cosine, sine, epsilon, out):
    rows, time, heads, size = grad.shape
    half = size // 2
    for i in range(rows):
        for t in range(time):
            for h in range(heads):
                if epsilon > 0:
                    r = inverse[i, t, h]
                    along = float32(0)
                    for j in range(size):
                        along += grad[i, t, h, j] * turned[i, t, h, j]
                    along /= float32(size)
                    for j in range(size):
                        out[i, t, h, j] = (grad[i, t, h, j] - along * turned[i, t, h, j]) * r
                else:
                    for j in range(size):
                        out[i, t, h, j] = grad[i, t, h, j]
                for j in range(half):
                    first, second = out[i, t, h, j], out[i, t, h, half + j]
                    out[i, t, h, j] = first * cosine[t, j] + second * sine[t, j]
                    out[i, t, h, half + j] = second * cosine[t, j] - first * sine[t, j]


# ------------------------------------------------------------------------------- softmax and loss


@compiled(READ_2D, READ_IDS, WRITE_1D, WRITE_1D)
def cross_entropy(logits, targets, nll, log_total):
    n = logits.shape[1]
    for i in range(len(logits)):
        largest = _largest(logits[i], n)
        total = float32(0)
        for j in range(n):
            total += _exp(logits[i, j] - largest)
        log_total[i] = np.log(total) + largest
        nll[i] = log_total[i] - logits[i, targets[i]]


@compiled(READ_2D, READ_IDS, READ_1D, READ_1D, WRITE_2D)
def cross_entropy_backward(logits, targets, log_total, grad, out):
    g = grad[0]
    for i in range(len(logits)):
        for j in range(logits.shape[1]):
            out[i, j] = g * _exp(logits[i, j] - log_total[i])
        out[i, targets[i]] -= g


@inlined
def _below(x, largest, shift):
    """x minus both, in this order, in which a large x does not absorb the shift."""
    return (x - largest) - shift


@inlined
def _odds(log_share, x, largest, shift):
    """The logarithm of the ratio of g to the share of a logit."""
    return log_share - ((x - largest) - shift)


@inlined
def _softplus(x):
    return max(x, float32(0)) + np.log1p(_exp(-abs(x)))


@compiled(READ_2D, READ_1D, READ_2D, WRITE_2D, WRITE_1D)
def log_mixture(logits, gate, other, out, log_total):
    n = logits.shape[1]
    for i in range(len(logits)):
        largest = _largest(logits[i], n)
        total = float32(0)
        for j in range(n):
            total += _exp(logits[i, j] - largest)
        log_total[i] = np.log(total)
        shift, log_share = log_total[i] + _softplus(gate[i]), -_softplus(-gate[i])
        for j in range(n):  # the sum of both, divided by the first; or the second, if far larger
            odds = _odds(log_share, logits[i, j], largest, shift)
            both = float32(1) + other[i, j] * _exp(min(odds, LIMIT))
            out[i, j] = other[i, j] if odds > LIMIT and other[i, j] > 0 else both
        for j in range(n):
            odds = _odds(log_share, logits[i, j], largest, shift)
            first = _below(logits[i, j], largest, shift)
            is_second = odds > LIMIT and other[i, j] > 0
            out[i, j] = np.log(out[i, j]) + (log_share if is_second else first)


@compiled(READ_2D, READ_2D, READ_1D, READ_2D, READ_1D, WRITE_2D, WRITE_1D, WRITE_2D)
def log_mixture_backward(grad, logits, gate, other, log_total, out, grad_gate, grad_other):
    n = logits.shape[1]
    for i in range(len(logits)):
        largest = _largest(logits[i], n)
        log_rest, log_share = -_softplus(gate[i]), -_softplus(-gate[i])
        by_rest = float32(0)
        by_share = float32(0)
        for j in range(n):
            odds = _odds(log_share, logits[i, j], largest, log_total[i] - log_rest)
            odds = _exp(min(odds, LIMIT))
            out[i, j] = grad[i, j] / (float32(1) + odds * other[i, j])
            grad_other[i, j] = odds * out[i, j]
            by_rest += out[i, j]
            by_share += grad_other[i, j] * other[i, j]
        grad_gate[i] = by_share * _exp(log_rest) - by_rest * _exp(log_share)
        for j in range(n):
            out[i, j] -= by_rest * _exp(_below(logits[i, j], largest, log_total[i]))


@compiled(WRITE_3D, float32, WRITE_ANY_2D)
def causal_softmax(scores, scale, log_total):
    heads, queries, keys = scores.shape
    for h in range(heads):
        for i in range(queries):
            row = scores[h, i]
            seen = keys - queries + i + 1
            largest = _largest(row, seen)
            total = float32(0)
            for j in range(seen):
                row[j] = _exp((row[j] - largest) * scale)
                total += row[j]
            for j in range(seen):
                row[j] /= total
            for j in range(seen, keys):
                row[j] = float32(0)
            log_total[h, i] = np.log(total) + largest * scale


@compiled(WRITE_3D, WRITE_3D, READ_ANY_2D, float32)
def causal_softmax_backward(grads, scores, log_total, scale):
    heads, queries, keys = scores.shape
    for h in range(heads):
        for i in range(queries):
            seen = keys - queries + i + 1
            shift = log_total[h, i]
            expected = float32(0)
            for j in range(seen):
                scores[h, i, j] = _exp(scores[h, i, j] * scale - shift)
                expected += scores[h, i, j] * grads[h, i, j]
            for j in range(seen):
                grads[h, i, j] = scores[h, i, j] * (grads[h, i, j] - expected) * scale
            for j in range(seen, keys):
                scores[h, i, j] = float32(0)
                grads[h, i, j] = float32(0)


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
    grad, mean, square, value, beta1, beta2, epsilon, scale, rate, correction1, correction2, shrink
):
    # 1 - beta and quotients are computed in float64: in float32, 1 - 0.999 has an error of 5e-5
    keep1, take1 = float32(beta1), float32(1 - beta1)
    keep2, take2 = float32(beta2), float32(1 - beta2)
    factor, shrunk, small = float32(scale), float32(shrink), float32(epsilon)
    step, by_square = float32(rate / correction1), float32(1 / correction2)
    for i in range(grad.size):
        g = grad[i] * factor
        mean[i] = keep1 * mean[i] + take1 * g
        square[i] = keep2 * square[i] + take2 * g * g
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
    for k in range(0, whole, 4):  # four rows of the weight in each pass over the result
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


@compiled(READ_2D, READ_2D, WRITE_3D, READ_IDS, WRITE_2D)
def cached_convolution(x, weight, inputs, position, out):
    rows, n = x.shape
    end = position[0] + 1
    for r in range(rows):
        for i in range(n):
            inputs[r, end - 1, i] = out[r, i] = x[r, i]
        for lag in range(min(len(weight), end)):
            for i in range(n):
                out[r, i] += weight[lag, i] * inputs[r, end - 1 - lag, i]


@compiled(READ_4D, READ_4D, READ_4D, WRITE_4D, WRITE_4D, READ_IDS, float32, WRITE_4D)
def cached_attention(q, k, v, keys, values, position, scale, out):
    rows, heads, _, size = q.shape
    end = position[0] + 1
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
                for i in range(len(result)):
                    result[i] += weight * value[j, i]
