"""The kernels of `reference`, compiled for float32: each makes one or two passes over memory.

The source defines the order of all operations, see `lanes`, so all processors compute the same
bits. A product and a sum are rounded together where the source has `fma`, and only there.
"""

from functools import partial

from lmladder.kernels import lanes
from lmladder.kernels.compiling import compile_cached
from lmladder.kernels.lanes import (
    INFINITY,
    WIDTH,
    fma,
    inlined,
    load,
    repeat,
    store,
    total,
    where_less,
)
from lmladder.kernels.products import multiply  # noqa: F401
from lmladder.kernels.reference import CUBIC, ERF_LARGE, ERF_SMALL, MAX_EXPONENT, PART, SLOPE

import numpy as np
from numba import float32, float64, int64, void
from numba.types import Array

# Arguments that a kernel reads may be read-only arrays, as those of a graph are.
READ_1D, READ_2D, READ_3D, READ_4D = (Array(float32, n, "C", readonly=True) for n in range(1, 5))
READ_ANY_2D = Array(float32, 2, "A", readonly=True)
READ_IDS = Array(int64, 1, "C", readonly=True)
WRITE_1D, WRITE_2D, WRITE_3D, WRITE_4D = (Array(float32, n, "C") for n in range(1, 5))
WRITE_ANY_2D = Array(float32, 2, "A")


def compiled(*arguments, result=void):
    """Compile a kernel for arguments of these types, or load it from the cache."""
    return partial(compile_cached, result(*arguments), nogil=True, error_model="numpy")


ZERO, ONE, LIMIT = map(float32, (0, 1, MAX_EXPONENT))
GROUP = 8  # rows whose sums are computed before their results, so that the processor overlaps them


# ------------------------------------------------------------------------------- elementwise


SMALL_TOP, SMALL_BOTTOM = (tuple(map(np.float32, each)) for each in ERF_SMALL)
LARGE_TOP, LARGE_BOTTOM = (tuple(map(np.float32, each)) for each in ERF_LARGE)


@inlined
def _erf(x):
    """The error function as in `reference`, with an absolute error of 2e-7."""
    size = abs(x)
    size = where_less(6, size, 6, size)
    square = size * size
    near = size * lanes.polynomial(square, SMALL_TOP) / lanes.polynomial(square, SMALL_BOTTOM)
    ratio = lanes.polynomial(size, LARGE_TOP) / lanes.polynomial(size, LARGE_BOTTOM)
    far = fma(-lanes.exp(-square), ratio, 1)
    value = where_less(float32(0.46875), size, far, near)
    return where_less(x, 0, -value, value)


@compiled(READ_1D, WRITE_1D)
def exp(x, out):
    for i in range(x.size):
        out[i] = lanes.exp(x[i])


@compiled(READ_1D, WRITE_1D)
def log(x, out):
    for i in range(x.size):
        out[i] = lanes.log(x[i])


@compiled(READ_1D, WRITE_1D)
def sigmoid(x, out):
    for i in range(x.size):
        out[i] = lanes.sigmoid(x[i])


@compiled(READ_1D, WRITE_1D)
def gelu_tanh(x, out):
    # (1 + tanh u) / 2 is the sigmoid of 2 u
    for i in range(x.size):
        v = x[i]
        out[i] = v * lanes.sigmoid(float32(2 * SLOPE) * v * fma(float32(CUBIC) * v, v, 1))


@compiled(READ_1D, READ_1D, WRITE_1D)
def gelu_tanh_backward(grad, x, out):
    for i in range(x.size):
        v = x[i]
        square = float32(CUBIC) * v * v
        s = lanes.sigmoid(float32(2 * SLOPE) * v * (ONE + square))
        slope = float32(2 * SLOPE) * fma(3, square, 1)
        out[i] = grad[i] * fma(v * s, fma(-s, slope, slope), s)


@compiled(READ_1D, WRITE_1D)
def gelu(x, out):
    for i in range(x.size):
        v = x[i]
        out[i] = float32(0.5) * v * (ONE + _erf(v * float32(0.70710678)))


@compiled(READ_1D, READ_1D, WRITE_1D)
def gelu_backward(grad, x, out):
    for i in range(x.size):
        v = x[i]
        below = float32(0.5) * (ONE + _erf(v * float32(0.70710678)))
        density = float32(0.39894228) * lanes.exp(float32(-0.5) * v * v)
        out[i] = grad[i] * fma(v, density, below)


@compiled(READ_1D, WRITE_1D)
def relu_squared(x, out):
    for i in range(x.size):
        v = where_less(x[i], 0, 0, x[i])  # NaN stays
        out[i] = v * v


@compiled(READ_1D, READ_1D, WRITE_1D)
def relu_squared_backward(grad, x, out):
    for i in range(x.size):
        v = where_less(x[i], 0, 0, x[i])
        out[i] = grad[i] * v * float32(2)


@compiled(READ_1D, READ_1D, float64, WRITE_1D)
def dropout(x, chances, rate, out):
    threshold, scale = float32(rate), ONE / float32(1 - rate)
    for i in range(x.size):
        out[i] = x[i] * (scale if chances[i] >= threshold else ZERO)


# ------------------------------------------------------------------------------- normalization


@inlined
def _dot(a, b, n):
    """The sum of products of the first n elements of two rows."""
    sums = repeat(ZERO)
    for j in range(0, n, WIDTH):
        sums = fma(load(a, j, n, ZERO), load(b, j, n, ZERO), sums)
    return total(sums)


@compiled(READ_2D, READ_1D, READ_1D, float32, WRITE_2D, WRITE_1D, WRITE_1D)
def layer_norm(x, weight, bias, epsilon, out, mean, inverse):
    n = x.shape[1]
    for start in range(0, len(x), GROUP):
        group = range(start, min(start + GROUP, len(x)))
        for i in group:
            row, sums = x[i], repeat(ZERO)
            for j in range(0, n, WIDTH):
                sums = sums + load(row, j, n, ZERO)
            mean[i] = total(sums) / float32(n)
        for i in group:
            row, m, squares = x[i], mean[i], repeat(ZERO)
            for j in range(0, n, WIDTH):
                above = load(row, j, n, m) - m
                squares = fma(above, above, squares)
            inverse[i] = ONE / np.sqrt(total(squares) / float32(n) + epsilon)
        for i in group:
            row, to, m, r = x[i], out[i], mean[i], inverse[i]
            for j in range(0, n, WIDTH):
                normal = (load(row, j, n, ZERO) - m) * r
                store(to, j, n, fma(normal, load(weight, j, n, ZERO), load(bias, j, n, ZERO)))


@compiled(READ_2D, READ_2D, READ_1D, READ_1D, READ_1D, WRITE_2D, WRITE_1D, WRITE_1D)
def layer_norm_backward(grad, x, mean, inverse, weight, out, grad_weight, grad_bias):
    n = x.shape[1]
    grad_weight[:] = ZERO
    grad_bias[:] = ZERO
    for i in range(len(x)):
        m, r = mean[i], inverse[i]
        row, by, to = x[i], grad[i], out[i]
        sums, products = repeat(ZERO), repeat(ZERO)
        for j in range(0, n, WIDTH):
            g, normal = load(by, j, n, ZERO), (load(row, j, n, ZERO) - m) * r
            store(grad_bias, j, n, load(grad_bias, j, n, ZERO) + g)
            store(grad_weight, j, n, fma(g, normal, load(grad_weight, j, n, ZERO)))
            by_normal = g * load(weight, j, n, ZERO)
            sums = sums + by_normal
            products = fma(by_normal, normal, products)
        average, along = total(sums) / float32(n), total(products) / float32(n)
        for j in range(0, n, WIDTH):
            normal = (load(row, j, n, ZERO) - m) * r
            above = fma(load(by, j, n, ZERO), load(weight, j, n, ZERO), -average)
            store(to, j, n, fma(normal, -along, above) * r)


@compiled(READ_2D, READ_1D, float32, WRITE_2D, WRITE_1D)
def rms_norm(x, weight, epsilon, out, inverse):
    n = x.shape[1]
    for start in range(0, len(x), GROUP):
        group = range(start, min(start + GROUP, len(x)))
        for i in group:
            inverse[i] = ONE / np.sqrt(_dot(x[i], x[i], n) / float32(n) + epsilon)
        for i in group:
            row, to, r = x[i], out[i], inverse[i]
            for j in range(0, n, WIDTH):
                store(to, j, n, load(row, j, n, ZERO) * r * load(weight, j, n, ZERO))


@compiled(READ_2D, READ_2D, READ_1D, READ_1D, WRITE_2D, WRITE_1D)
def rms_norm_backward(grad, x, inverse, weight, out, grad_weight):
    n = x.shape[1]
    grad_weight[:] = ZERO
    for i in range(len(x)):
        row, by, to, r = x[i], grad[i], out[i], inverse[i]
        products = repeat(ZERO)
        for j in range(0, n, WIDTH):
            g, normal = load(by, j, n, ZERO), load(row, j, n, ZERO) * r
            store(grad_weight, j, n, fma(g, normal, load(grad_weight, j, n, ZERO)))
            products = fma(g * load(weight, j, n, ZERO), normal, products)
        along = total(products) / float32(n)
        for j in range(0, n, WIDTH):
            by_normal = load(by, j, n, ZERO) * load(weight, j, n, ZERO)
            store(to, j, n, fma(load(row, j, n, ZERO) * r, -along, by_normal) * r)


@compiled(READ_3D, READ_2D, WRITE_3D)
def causal_convolution(x, weight, out):
    rows, time, n = x.shape
    for i in range(rows):
        for t in range(time):
            for j in range(0, n, WIDTH):
                value = load(x[i, t], j, n, ZERO)
                for lag in range(min(len(weight), t + 1)):
                    factor = load(weight[lag], j, n, ZERO)
                    value = fma(factor, load(x[i, t - lag], j, n, ZERO), value)
                store(out[i, t], j, n, value)


@compiled(READ_3D, READ_3D, READ_2D, WRITE_3D, WRITE_2D)
def causal_convolution_backward(grad, x, weight, out, grad_weight):
    rows, time, n = x.shape
    grad_weight[:] = ZERO
    for i in range(rows):
        for t in range(time):
            for j in range(0, n, WIDTH):
                value, factor = load(grad[i, t], j, n, ZERO), load(x[i, t], j, n, ZERO)
                for lag in range(min(len(weight), time - t)):
                    g = load(grad[i, t + lag], j, n, ZERO)
                    value = fma(load(weight[lag], j, n, ZERO), g, value)
                    by = grad_weight[lag]
                    store(by, j, n, fma(g, factor, load(by, j, n, ZERO)))
                store(out[i, t], j, n, value)


@inlined
def _rotate(to, j, first, second, cosine, sine):
    """Write the elements from j on, and those from size / 2 + j on, of a rotated row."""
    size = len(to)
    store(to, j, size // 2, fma(first, cosine, ZERO - second * sine))
    store(to, size // 2 + j, size, fma(first, sine, second * cosine))


@compiled(READ_4D, READ_2D, READ_2D, float32, WRITE_4D, WRITE_3D)
def rotary(x, cosine, sine, epsilon, out, inverse):
    rows, time, heads, size = x.shape
    half = size // 2
    for i in range(rows):
        for t in range(time):
            factors = inverse[i, t]
            factors[:] = ONE
            if epsilon > 0:
                for h in range(heads):
                    row = x[i, t, h]
                    factors[h] = ONE / np.sqrt(_dot(row, row, size) / float32(size) + epsilon)
            for h in range(heads):
                row, to, r = x[i, t, h], out[i, t, h], factors[h]
                for j in range(0, half, WIDTH):
                    first, second = load(row, j, half, ZERO), load(row, half + j, size, ZERO)
                    c, s = load(cosine[t], j, half, ZERO), load(sine[t], j, half, ZERO)
                    _rotate(to, j, first * r, second * r, c, s)


@compiled(READ_4D, READ_4D, READ_3D, READ_2D, READ_2D, float32, WRITE_4D)
def rotary_backward(grad, turned, inverse, cosine, sine, epsilon, out):
    rows, time, heads, size = grad.shape
    half = size // 2
    for i in range(rows):
        for t in range(time):
            for h in range(heads):
                by, point, to, r = grad[i, t, h], turned[i, t, h], out[i, t, h], inverse[i, t, h]
                along = _dot(by, point, size) / float32(size) if epsilon > 0 else ZERO
                for j in range(0, half, WIDTH):
                    first, second = load(by, j, half, ZERO), load(by, half + j, size, ZERO)
                    if epsilon > 0:
                        first = fma(load(point, j, half, ZERO), -along, first) * r
                        second = fma(load(point, half + j, size, ZERO), -along, second) * r
                    c, s = load(cosine[t], j, half, ZERO), load(sine[t], j, half, ZERO)
                    _rotate(to, j, first, second, c, ZERO - s)


# ------------------------------------------------------------------------------- softmax and loss


@inlined
def _largest(row, n):
    """The largest of the first n elements, not counting NaN."""
    top = repeat(-INFINITY)
    for j in range(0, n, WIDTH):
        top = lanes.larger(load(row, j, n, -INFINITY), top)
    return lanes.largest(top)


@inlined
def _exp_sum(row, n, top):
    """The sum of e ** (element - top) over the first n elements."""
    sums = repeat(ZERO)
    for j in range(0, n, WIDTH):
        sums = sums + lanes.exp(load(row, j, n, -INFINITY) - top)
    return total(sums)


@compiled(READ_2D, READ_IDS, WRITE_1D, WRITE_1D)
def cross_entropy(logits, targets, nll, log_total):
    n = logits.shape[1]
    for i in range(len(logits)):
        top = _largest(logits[i], n)
        log_total[i] = _exp_sum(logits[i], n, top)
        nll[i] = top
    for i in range(len(logits)):
        log_total[i] = lanes.log(log_total[i]) + nll[i]
        nll[i] = log_total[i] - logits[i, targets[i]]


@compiled(READ_2D, READ_IDS, READ_1D, READ_1D, WRITE_2D)
def cross_entropy_backward(logits, targets, log_total, grad, out):
    n, g = logits.shape[1], grad[0]
    for i in range(len(logits)):
        row, to, shift = logits[i], out[i], log_total[i]
        for j in range(0, n, WIDTH):
            store(to, j, n, lanes.exp(load(row, j, n, ZERO) - shift) * g)
        to[targets[i]] -= g


@inlined
def _limited_exp(x):
    return lanes.exp(where_less(LIMIT, x, LIMIT, x))


@compiled(READ_2D, READ_1D, READ_2D, WRITE_2D, WRITE_1D)
def log_mixture(logits, gate, other, out, log_total):
    n = logits.shape[1]
    for i in range(len(logits)):
        row, share, to = logits[i], other[i], out[i]
        top = _largest(row, n)
        log_total[i] = lanes.log(_exp_sum(row, n, top))
        shift, log_share = log_total[i] + lanes.softplus(gate[i]), -lanes.softplus(-gate[i])
        for j in range(0, n, WIDTH):  # the sum of both, divided by the first; or the second ...
            logit, second = load(row, j, n, ZERO), load(share, j, n, ZERO)
            first = logit - top - shift  # in this order, a large logit does not absorb the shift
            odds = log_share - first
            both = fma(second, _limited_exp(odds), 1)
            far = where_less(0, second, odds, 0)  # ..., if far larger
            factor = where_less(LIMIT, far, second, both)
            store(to, j, n, lanes.log(factor) + where_less(LIMIT, far, log_share, first))


@compiled(READ_2D, READ_2D, READ_1D, READ_2D, READ_1D, WRITE_2D, WRITE_1D, WRITE_2D)
def log_mixture_backward(grad, logits, gate, other, log_total, out, grad_gate, grad_other):
    n = logits.shape[1]
    for i in range(len(logits)):
        row, share, by, to, to_share = logits[i], other[i], grad[i], out[i], grad_other[i]
        top = _largest(row, n)
        log_rest, log_share = -lanes.softplus(gate[i]), -lanes.softplus(-gate[i])
        shift = log_total[i] - log_rest
        rests, shares = repeat(ZERO), repeat(ZERO)
        for j in range(0, n, WIDTH):
            second = load(share, j, n, ZERO)
            odds = _limited_exp(log_share - (load(row, j, n, ZERO) - top - shift))
            rest = load(by, j, n, ZERO) / fma(odds, second, 1)
            store(to, j, n, rest)
            store(to_share, j, n, odds * rest)
            rests = rests + rest
            shares = fma(odds * rest, second, shares)
        by_rest, by_share = total(rests), total(shares)
        grad_gate[i] = fma(by_share, lanes.exp(log_rest), -(by_rest * lanes.exp(log_share)))
        for j in range(0, n, WIDTH):
            probability = lanes.exp(load(row, j, n, ZERO) - top - log_total[i])
            store(to, j, n, fma(probability, -by_rest, load(to, j, n, ZERO)))


@inlined
def _from_window(row, i, window):
    """Return the keys from the first that query i sees, i < 0 from the end, and how many it sees.

    Those before become 0.
    """
    end = len(row) + i + 1
    first = max(0, end - window)
    row[:first] = ZERO
    return row[first:], end - first


@compiled(WRITE_3D, float32, int64, WRITE_ANY_2D)
def causal_softmax(scores, scale, window, log_total):
    heads, queries, _ = scores.shape
    for h in range(heads):
        for i in range(queries):
            row, seen = _from_window(scores[h, i], i - queries, window)
            keys = len(row)
            top = _largest(row, seen)
            sums = repeat(ZERO)
            for j in range(0, seen, WIDTH):
                power = lanes.exp((load(row, j, seen, -INFINITY) - top) * scale)
                store(row, j, keys, power)  # 0 from `seen` on
                sums = sums + power
            whole = total(sums)
            for j in range(0, seen, WIDTH):
                store(row, j, keys, load(row, j, keys, ZERO) / whole)
            row[seen:] = ZERO
            log_total[h, i] = fma(top, scale, lanes.log(whole))


@compiled(WRITE_3D, WRITE_3D, READ_ANY_2D, float32, int64)
def causal_softmax_backward(grads, scores, log_total, scale, window):
    heads, queries, _ = scores.shape
    for h in range(heads):
        for i in range(queries):
            by, _ = _from_window(grads[h, i], i - queries, window)
            row, seen = _from_window(scores[h, i], i - queries, window)
            keys, shift = len(row), log_total[h, i]
            products = repeat(ZERO)
            for j in range(0, seen, WIDTH):
                weight = lanes.exp(fma(load(row, j, seen, -INFINITY), scale, -shift))
                store(row, j, keys, weight)  # 0 from `seen` on
                products = fma(weight, load(by, j, seen, ZERO), products)
            expected = total(products)
            for j in range(0, seen, WIDTH):
                weight = load(row, j, keys, ZERO)
                store(by, j, keys, weight * (load(by, j, seen, ZERO) - expected) * scale)
            row[seen:] = ZERO
            by[seen:] = ZERO


# ------------------------------------------------------------------------------- embedding, Adam


@compiled(READ_2D, READ_IDS, WRITE_2D)
def scatter_rows(grad, indices, out):
    out[:] = ZERO
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
        mean[i] = fma(keep1, mean[i], take1 * g)
        square[i] = fma(keep2, square[i], take2 * g * g)
        root = np.sqrt(square[i] * by_square) + small
        value[i] = fma(value[i], shrunk, -(mean[i] / root * step))


@compiled(READ_1D, result=float64)
def square_sum(x):
    whole = float64(0)
    for start in range(0, x.size, 4096):
        stop = min(start + 4096, x.size)
        rest = stop - (stop - start) % (4 * WIDTH)
        first, second, third, fourth = repeat(ZERO), repeat(ZERO), repeat(ZERO), repeat(ZERO)
        for i in range(start, rest, 4 * WIDTH):  # four sums, which the processor adds at once
            a, b = load(x, i, rest, ZERO), load(x, i + WIDTH, rest, ZERO)
            c, d = load(x, i + 2 * WIDTH, rest, ZERO), load(x, i + 3 * WIDTH, rest, ZERO)
            first, second = fma(a, a, first), fma(b, b, second)
            third, fourth = fma(c, c, third), fma(d, d, fourth)
        for i in range(rest, stop, WIDTH):
            a = load(x, i, stop, ZERO)
            first = fma(a, a, first)
        whole += float64(total((first + third) + (second + fourth)))
    return whole


# ------------------------------------------------------------------------------- decoding


@compiled(READ_1D, READ_2D, READ_1D, WRITE_1D)
def linear_row(x, weight, bias, out):
    n, m = weight.shape
    out[:] = ZERO
    part = out
    for start in range(0, n, PART):
        if start:
            part = np.zeros(m, np.float32)
        stop = min(start + PART, n)
        whole = stop - stop % 4  # `start` is a multiple of 4
        for k in range(start, whole, 4):  # four rows of the weight in each pass over the result
            r1, r2, r3, r4 = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
            x1, x2, x3, x4 = x[k], x[k + 1], x[k + 2], x[k + 3]
            for j in range(0, m, WIDTH):
                value = fma(x1, load(r1, j, m, ZERO), load(part, j, m, ZERO))
                value = fma(x2, load(r2, j, m, ZERO), value)
                value = fma(x3, load(r3, j, m, ZERO), value)
                store(part, j, m, fma(x4, load(r4, j, m, ZERO), value))
        for k in range(whole, stop):
            for j in range(m):
                part[j] = fma(x[k], weight[k, j], part[j])
        if start:
            for j in range(m):
                out[j] += part[j]
    for j in range(m):
        out[j] += bias[j]


@compiled(READ_2D, READ_2D, WRITE_3D, READ_IDS, WRITE_2D)
def cached_convolution(x, weight, inputs, position, out):
    rows, n = x.shape
    end = position[0] + 1
    for r in range(rows):
        for i in range(n):
            inputs[r, end - 1, i] = out[r, i] = x[r, i]
        for lag in range(min(len(weight), end)):
            for i in range(n):
                out[r, i] = fma(weight[lag, i], inputs[r, end - 1 - lag, i], out[r, i])


@compiled(READ_4D, READ_4D, READ_4D, WRITE_4D, WRITE_4D, READ_IDS, float32, int64, WRITE_4D)
def cached_attention(q, k, v, keys, values, position, scale, window, out):
    rows, heads, _, size = q.shape
    first = max(0, position[0] + 1 - window)
    end = position[0] + 1 - first
    weights = np.empty(end, np.float32)
    for r in range(rows):
        for h in range(heads):
            query, result = q[r, h, 0], out[r, h, 0]
            key, value = keys[r, h, first:], values[r, h, first:]
            key[end - 1] = k[r, h, 0]
            value[end - 1] = v[r, h, 0]
            for j in range(end):
                weights[j] = _dot(query, key[j], size) * scale
            top = _largest(weights, end)
            sums = repeat(ZERO)
            for j in range(0, end, WIDTH):
                power = lanes.exp(load(weights, j, end, -INFINITY) - top)
                store(weights, j, end, power)
                sums = sums + power
            whole = total(sums)
            result[:] = ZERO
            for j in range(end):
                weight = weights[j] / whole
                for i in range(len(result)):
                    result[i] = fma(weight, value[j, i], result[i])
