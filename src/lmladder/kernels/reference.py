"""The kernels in plain NumPy: the readable definition of what `fused` computes.

Every function takes float arrays of one dtype and writes its results into its last arguments. A
function `*_backward` takes the gradient of a loss with respect to the result of the forward
function, and writes the gradients with respect to its inputs. It changes nothing else.
"""

from functools import lru_cache, reduce
from importlib.util import find_spec
from operator import add

import numpy as np

# gelu_tanh: x/2 (1 + tanh(SLOPE (x + CUBIC x^3))), Hendrycks & Gimpel 2016, section 2.
SLOPE = float(np.sqrt(2 / np.pi))
CUBIC = 0.044715

MAX_EXPONENT = 80.0  # for exp in float32, which overflows at 88.7


def exp(x, out):
    """Compute e ** x, elementwise."""
    np.exp(x, out=out)


def log(x, out):
    """Compute the natural logarithm, elementwise; -inf of 0 and NaN of negative numbers."""
    np.log(x, out=out)


def sigmoid(x, out):
    """Compute 1 / (1 + exp(-x)), elementwise, from exp(-|x|), which cannot overflow."""
    small = np.exp(-np.abs(x))
    np.divide(np.where(x >= 0, 1, small), 1 + small, out=out)


def gelu_tanh(x, out):
    """Compute GELU in its tanh form, elementwise."""
    out[...] = x / 2 * (1 + np.tanh(SLOPE * (x + CUBIC * x**3)))


def gelu_tanh_backward(grad, x, out):
    """Compute the gradient of `gelu_tanh` at x: (1 + t) / 2 + x (1 - t^2) u' / 2, t = tanh(u)."""
    tanh = np.tanh(SLOPE * (x + CUBIC * x**3))
    slope = SLOPE * (1 + 3 * CUBIC * x**2)
    out[...] = grad * (1 + tanh + x * (1 - tanh**2) * slope) / 2


def gelu(x, out):
    """Compute GELU in its exact form, x times the normal distribution function, elementwise."""
    out[...] = x / 2 * (1 + erf(x * 0.5**0.5))


def gelu_backward(grad, x, out):
    """Compute the gradient of `gelu` at x: the distribution function plus x times the density."""
    out[...] = grad * (1 + erf(x * 0.5**0.5) + x * np.exp(x * x * -0.5) * SLOPE) / 2


def relu_squared(x, out):
    """Compute max(x, 0) ** 2, elementwise."""
    np.square(np.maximum(x, 0), out=out)


def relu_squared_backward(grad, x, out):
    """Compute the gradient of `relu_squared` at x: 2 max(x, 0)."""
    np.multiply(2 * np.maximum(x, 0), grad, out=out)


def layer_norm(x, weight, bias, epsilon, out, mean, inverse):
    """Normalize each row to mean 0 and variance 1, then scale and shift (Ba et al. 2016).

    `mean` and `inverse`, the reciprocal of a row's standard deviation, have shape (rows,).
    """
    np.mean(x, axis=1, out=mean)
    np.subtract(x, mean[:, None], out=out)
    variance = np.einsum("ri,ri->r", out, out) / x.shape[1]
    np.divide(1, np.sqrt(variance + epsilon, dtype=x.dtype), out=inverse)
    out *= inverse[:, None]
    out *= weight
    out += bias


def layer_norm_backward(grad, x, mean, inverse, weight, out, grad_weight, grad_bias):
    """Compute gradients of `layer_norm`: x (rows, n), weight and bias summed over rows, (n,)."""
    normal = x - mean[:, None]
    normal *= inverse[:, None]
    np.einsum("ri,ri->i", grad, normal, out=grad_weight)
    np.sum(grad, axis=0, out=grad_bias)
    np.multiply(grad, weight, out=out)
    along = np.einsum("ri,ri->r", out, normal)[:, None] / x.shape[1]
    out -= out.mean(axis=1, keepdims=True)
    normal *= along
    out -= normal
    out *= inverse[:, None]


def rms_norm(x, weight, epsilon, out, inverse):
    """Divide each row by its root mean square, then scale (Zhang & Sennrich 2019).

    `inverse`, the reciprocal of a row's root mean square, has shape (rows,).
    """
    mean_square = np.einsum("ri,ri->r", x, x) / x.shape[1]
    np.divide(1, np.sqrt(mean_square + epsilon, dtype=x.dtype), out=inverse)
    np.multiply(x, inverse[:, None], out=out)
    out *= weight


def rms_norm_backward(grad, x, inverse, weight, out, grad_weight):
    """Compute the gradients of `rms_norm`: of x (rows, n), of weight (n,), summed over rows."""
    normal = x * inverse[:, None]
    np.einsum("ri,ri->i", grad, normal, out=grad_weight)
    np.multiply(grad, weight, out=out)
    normal *= np.einsum("ri,ri->r", out, normal)[:, None] / x.shape[1]
    out -= normal
    out *= inverse[:, None]


def causal_convolution(x, weight, out):
    """Add to each vector a weighted sum, by element, of itself and of those before it.

    Parameters
    ----------
    x, out : (rows, time, n)
    weight : (lags, n), weight[lag] of the vector `lag` positions before
    """
    np.copyto(out, x)
    time = x.shape[1]
    for lag, factor in enumerate(weight[:time]):
        out[:, lag:] += factor * x[:, : time - lag]


def causal_convolution_backward(grad, x, weight, out, grad_weight):
    """Compute the gradients of `causal_convolution`: of x and, summed over rows, of weight."""
    np.copyto(out, grad)
    grad_weight[...] = 0
    time = x.shape[1]
    for lag, factor in enumerate(weight[:time]):
        out[:, : time - lag] += factor * grad[:, lag:]
        np.einsum("rti,rti->i", grad[:, lag:], x[:, : time - lag], out=grad_weight[lag])


def rotary(x, cosine, sine, epsilon, out, inverse):
    """Rotate each pair of elements i and i + size / 2 by an angle of their position.

    If `epsilon` is not 0, each vector is first divided by its root mean square, as by `rms_norm`.

    Parameters
    ----------
    x, out : (rows, time, heads, size), size even
    cosine, sine : (time, size / 2), of the angles
    inverse : (rows, time, heads), written: the factor of each vector
    """
    inverse[...] = 1
    if epsilon:
        mean_square = np.einsum("rthi,rthi->rth", x, x) / x.shape[3]
        np.divide(1, np.sqrt(mean_square + epsilon, dtype=x.dtype), out=inverse)
    _rotate(x * inverse[..., None], cosine, sine, out)


def rotary_backward(grad, turned, inverse, cosine, sine, epsilon, out):
    """Compute the gradient of `rotary` from its results, `turned` and `inverse`."""
    if epsilon:
        along = np.einsum("rthi,rthi->rth", grad, turned)[..., None] / grad.shape[3]
        grad = (grad - turned * along) * inverse[..., None]
    _rotate(grad, cosine, -sine, out)


def _rotate(points, cosine, sine, out):
    first, second = np.split(points, 2, axis=3)
    c, s = cosine[:, None], sine[:, None]
    np.concatenate([first * c - second * s, first * s + second * c], axis=3, out=out)


def cross_entropy(logits, targets, nll, log_total):
    """Compute -log(softmax(logits)[target]) in nats by log-sum-exp: log(softmax(x)) underflows.

    Parameters
    ----------
    logits : (rows, vocabulary)
    targets : (rows,), each in [0, vocabulary)
    nll : (rows,), written
    log_total : (rows,), written: the log of each row's sum of exp(logits)
    """
    largest = logits.max(axis=1)
    total = np.exp(logits - largest[:, None]).sum(axis=1)
    np.add(np.log(total), largest, out=log_total)
    np.subtract(log_total, logits[np.arange(len(targets)), targets], out=nll)


def cross_entropy_backward(logits, targets, log_total, grad, out):
    """Compute (softmax(logits) - one-hot targets) * grad, (rows, vocabulary); `grad` is (1,)."""
    np.subtract(logits, log_total[:, None], out=out)
    np.exp(out, out=out)
    out[np.arange(len(targets)), targets] -= 1
    out *= grad


def log_mixture(logits, gate, other, out, log_total):
    """Compute log((1 - g) softmax(logits) + g other) with g = sigmoid(gate) (Merity et al. 2017).

    Parameters
    ----------
    logits, other, out : (rows, n); `other` contains probabilities
    gate : (rows,)
    log_total : (rows,), written: the log of each row's sum of exp(logits - maximum)
    """
    below = logits - logits.max(axis=1, keepdims=True)
    np.log(np.exp(below).sum(axis=1), out=log_total)
    out[...] = -np.inf
    np.log(other, out=out, where=other != 0)
    out -= _softplus(-gate)[:, None]
    np.logaddexp(below - (log_total + _softplus(gate))[:, None], out, out=out)


def log_mixture_backward(grad, logits, gate, other, log_total, out, grad_gate, grad_other):
    """Compute the gradients of `log_mixture`, which has written `log_total`.

    The gradient of a probability in `other` is at most e^MAX_EXPONENT times that of the result.
    """
    log_rest, log_share = -_softplus(gate)[:, None], -_softplus(-gate)[:, None]
    below = logits - logits.max(axis=1, keepdims=True) - log_total[:, None]
    np.exp(np.minimum(log_share - (below + log_rest), MAX_EXPONENT), out=grad_other)
    np.divide(grad, 1 + grad_other * other, out=out)
    grad_other *= out
    by_rest, by_share = (each.sum(axis=1, keepdims=True) for each in (out, grad_other * other))
    grad_gate[...] = (by_share * np.exp(log_rest) - by_rest * np.exp(log_share))[:, 0]
    out -= by_rest * np.exp(below)


def _softplus(x):
    return np.logaddexp(0, x, dtype=x.dtype)


def causal_softmax(scores, scale, window, log_total):
    """Compute the softmax of `scale` times the visible scores, and 0 for the others, in place.

    Parameters
    ----------
    scores : (heads, queries, keys), changed; the last query sees the last `window` keys, the one
        before it the `window` keys that end one key earlier, and so on
    log_total : (heads, queries), written: the log of each query's sum of exp(scale * score)
    """
    scores *= scores.dtype.type(scale)
    scores += _hidden(*scores.shape[1:], window, scores.dtype)
    largest = scores.max(axis=2, keepdims=True)
    scores -= largest
    np.exp(scores, out=scores)
    total = scores.sum(axis=2, keepdims=True)
    scores /= total
    np.log(total[..., 0], out=log_total)
    log_total += largest[..., 0]


def causal_softmax_backward(grads, scores, log_total, scale, window):
    """Compute the weights and the gradients of the scores of `causal_softmax`, in place.

    Parameters
    ----------
    grads : (heads, queries, keys), gradients of the weights, replaced by those of the scores
    scores : (heads, queries, keys), the argument of `causal_softmax`, replaced by the weights
    log_total : (heads, queries), as written by `causal_softmax`
    """
    scores *= scores.dtype.type(scale)
    scores += _hidden(*scores.shape[1:], window, scores.dtype)
    scores -= log_total[..., None]
    np.exp(scores, out=scores)
    grads -= (grads * scores).sum(axis=2, keepdims=True)
    grads *= scores
    grads *= scores.dtype.type(scale)


@lru_cache
def _hidden(queries, keys, window, dtype):
    """Return an array (queries, keys): -inf where the query does not see the key, else 0."""
    before = np.arange(keys - queries, keys)[:, None] - np.arange(keys)
    return np.where((before >= 0) & (before < window), dtype.type(0), dtype.type(-np.inf))


def dropout(x, chances, rate, out):
    """Compute x / (1 - rate) where a chance in [0, 1) is at least `rate`, else 0, elementwise."""
    np.multiply(x, (chances >= rate) / x.dtype.type(1 - rate), out=out)


def scatter_rows(grad, indices, out):
    """Sum the rows of `grad` that share an index: (m, size), (m,) -> (rows, size).

    Sorting fixes the order of the sums and is faster than `np.add.at`.
    """
    out[...] = 0
    if len(indices):
        order = np.argsort(indices, kind="stable")
        ordered = indices[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        out[ordered[starts]] = np.add.reduceat(grad[order], starts, axis=0)


def adam(
    grad, mean, square, value, beta1, beta2, epsilon, scale, rate, correction1, correction2, shrink
):
    """Apply one step of Adam (Kingma & Ba 2015) to vectors of one size; changes all but `grad`.

    Parameters
    ----------
    grad, mean, square, value : the gradient, its two averages, and the value of parameters
    scale : multiplies the gradient
    correction1, correction2 : 1 - beta ** t, by which the averages are divided
    shrink : multiplies the value before the step: the weight decay of Loshchilov & Hutter 2019
    """
    scaled = grad * grad.dtype.type(scale)
    mean *= beta1
    mean += scaled * (1 - beta1)
    square *= beta2
    square += scaled * scaled * (1 - beta2)
    root = np.sqrt(square / correction2)
    root += epsilon
    value *= value.dtype.type(shrink)
    value -= mean / root * (rate / correction1)


def square_sum(x):
    """Return the sum of squares of a vector, computed in float64."""
    return float(np.square(x, dtype=np.float64).sum())


PART = 256  # terms that a matrix product adds in a chain
EXACT = find_spec("numba") is not None  # else the products of BLAS, hundreds of times faster


def multiply(a, b, out, bias=None):
    """Compute a @ b + bias over the last two axes: (..., n, k), (..., k, m), (m,) -> (..., n, m).

    In float32 each element is a sum of parts, in order, and each part a chain of fused
    multiply-adds over PART terms, so that every machine computes the same bits. NumPy computes it
    in float64, which only checks use, and where Numba is missing, whose kernel is exact, too.
    """
    if not EXACT or out.dtype != np.float32:
        np.matmul(a, b, out=out)
    else:
        starts = range(0, max(1, a.shape[-1]), PART)
        parts = (slice(start, start + PART) for start in starts)
        out[...] = reduce(add, (_chain(a[..., part], b[..., part, :]) for part in parts))
    if bias is not None:
        out += bias


def _chain(a, b):
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    total = np.zeros((*lead, a.shape[-2], b.shape[-1]), np.float32)
    for k in range(a.shape[-1]):
        total = _fused_multiply_add(a[..., k, None], b[..., k, None, :], total)
    return total


def _fused_multiply_add(a, b, c):
    """Return a * b + c of float32 arrays, rounded once.

    The product is exact in float64. The sum is rounded to odd, so that rounding it again, to
    float32, is the same as rounding once (Boldo & Melquiond 2008, "Emulation of FMA").
    """
    product = a.astype(np.float64) * b
    total = product + c
    by_c = total - product
    with np.errstate(invalid="ignore", over="ignore"):  # infinite numbers
        error = (product - (total - by_c)) + (c - by_c)  # of the sum (Knuth, TwoSum)
        bits = total.view(np.int64)
        is_even = (error != 0) & (bits % 2 == 0) & np.isfinite(total)
        bits += is_even * np.where((error > 0) == (total > 0), 1, -1)
        return total.astype(np.float32)


def linear_row(x, weight, bias, out):
    """Compute x @ weight + bias for one vector: (n,), (n, m), (m,) -> (m,)."""
    multiply(x[None], weight, out[None], bias)


def cached_attention(q, k, v, keys, values, position, scale, window, out):
    """Store the key and value of one position; attend to the last `window` positions up to it.

    The products are NumPy's, so their last bits depend on the machine.

    Parameters
    ----------
    q, k, v, out : (rows, heads, 1, size)
    keys, values : (rows, heads, positions, size), written at the position
    position : (1,), less than positions
    """
    end = int(position[0]) + 1
    seen = slice(max(0, end - window), end)
    keys[:, :, end - 1] = k[:, :, 0]
    values[:, :, end - 1] = v[:, :, 0]
    scores = q @ keys[:, :, seen].swapaxes(2, 3)
    scores *= scores.dtype.type(scale)
    scores -= scores.max(axis=3, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=3, keepdims=True)
    np.matmul(scores, values[:, :, seen], out=out)


def cached_convolution(x, weight, inputs, position, out):
    """Store the vector of one position; compute `causal_convolution` there.

    Parameters
    ----------
    x, out : (rows, n)
    weight : (lags, n)
    inputs : (rows, positions, n), written at the position
    position : (1,), less than positions
    """
    end = int(position[0]) + 1
    inputs[:, end - 1] = x
    recent = inputs[:, max(0, end - len(weight)) : end][:, ::-1]  # the latest first
    np.einsum("rli,li->ri", recent, weight[: recent.shape[1]], out=out)
    out += x


# Numerators and denominators of rational functions, coefficients from the highest power down, from
# Cody 1969, "Rational Chebyshev approximations for the error function", tables I and II.
ERF_SMALL = (
    (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2,
     3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
     2.84423683343917062e3),
)  # fmt: skip
ERF_LARGE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
     1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3,
     1.23033935480374942e3),
)  # fmt: skip


def erf(x):
    """Return the error function, elementwise, which NumPy lacks.

    This is x r(x^2) up to 0.46875 and 1 - exp(-x^2) r(|x|) up to 6, with rational functions r;
    beyond 6, erf is 1 in double precision. The absolute error is below 4e-16 in float64 and 2e-7 in
    float32.
    """
    size = np.minimum(np.abs(x), 6)
    square = x * x
    near = x * _rational(np.minimum(square, 0.25), *ERF_SMALL)
    far = 1 - np.exp(-size * size) * _rational(size, *ERF_LARGE)
    return np.where(size <= 0.46875, near, np.copysign(far, x))


def _rational(x, top, bottom):
    """Return the quotient of two polynomials at x."""
    above, below = (np.polyval(np.array(each, x.dtype), x) for each in (top, bottom))
    return above / below
