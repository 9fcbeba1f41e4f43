"""The kernels in plain NumPy: the readable truth, for the rows that they are given.

Every function takes float arrays of one type and returns that type. A `*_backward` takes the
gradient of a loss with respect to the forward function's result, and returns the gradients with
respect to its inputs. Arguments are never changed, but for those that a docstring says are written.
"""

from collections.abc import Iterator
from functools import lru_cache

from lmladder.arrays import FloatArray, IntArray

import numpy as np

# gelu_tanh: x/2 (1 + tanh(SLOPE (x + CUBIC x^3))), Hendrycks & Gimpel 2016, section 2.
SLOPE = float(np.sqrt(2 / np.pi))
CUBIC = 0.044715


def softmax(x: FloatArray) -> FloatArray:
    """Softmax along the last axis: (rows, n) -> (rows, n)."""
    out = x - x.max(axis=-1, keepdims=True)
    np.exp(out, out=out)
    out /= out.sum(axis=-1, keepdims=True)
    return out


def gelu_tanh(x: FloatArray) -> FloatArray:
    """GELU in its tanh form, elementwise."""
    out = x * x
    out *= SLOPE * CUBIC
    out += SLOPE
    out *= x
    np.tanh(out, out=out)
    out += 1
    out *= x
    out *= 0.5
    return out


def gelu_tanh_backward(grad: FloatArray, x: FloatArray) -> FloatArray:
    """Gradient of `gelu_tanh` at x: with t = tanh(u), (1 + t) / 2 + x (1 - t^2) u' / 2."""
    square = x * x
    tanh = square * (SLOPE * CUBIC)
    tanh += SLOPE
    tanh *= x
    np.tanh(tanh, out=tanh)
    slope = square  # u' = SLOPE (1 + 3 CUBIC x^2)
    slope *= 3 * CUBIC * SLOPE
    slope += SLOPE
    slope *= x
    slope *= 1 - tanh * tanh
    slope += tanh
    slope += 1
    slope *= grad
    slope *= 0.5
    return slope


def gelu(x: FloatArray) -> FloatArray:
    """GELU in its exact form, x times the normal distribution function of x, elementwise."""
    out = erf(x * np.sqrt(0.5, dtype=x.dtype))
    out += 1
    out *= x
    out *= 0.5
    return out


def gelu_backward(grad: FloatArray, x: FloatArray) -> FloatArray:
    """Gradient of `gelu` at x: distribution function plus x times density."""
    out = np.exp(x * x * -0.5)
    out *= x
    out *= SLOPE  # 2 / sqrt(2 pi), halved below
    out += erf(x * np.sqrt(0.5, dtype=x.dtype))
    out += 1
    out *= grad
    out *= 0.5
    return out


def layer_norm(
    x: FloatArray, weight: FloatArray, bias: FloatArray, epsilon: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Normalise each row to mean 0 and variance 1, then scale and shift (Ba et al. 2016).

    Returns the result (rows, n), and each row's mean and 1 / standard deviation, (rows, 1).
    """
    mean = x.mean(axis=-1, keepdims=True)
    out = x - mean
    variance = np.einsum("ri,ri->r", out, out)[:, None] / x.shape[-1]
    inverse = 1 / np.sqrt(variance + epsilon, dtype=x.dtype)
    out *= inverse
    out *= weight
    out += bias
    return out, mean, inverse


def layer_norm_backward(
    grad: FloatArray, x: FloatArray, mean: FloatArray, inverse: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Gradients of `layer_norm`: x (rows, n), then weight and bias, summed over the rows, (n,)."""
    normal = x - mean
    normal *= inverse
    grad_weight = np.einsum("ri,ri->i", grad, normal)
    grad_bias = grad.sum(axis=0)
    out = grad * weight
    along = np.einsum("ri,ri->r", out, normal)[:, None] / x.shape[1]
    out -= out.mean(axis=1, keepdims=True)
    normal *= along
    out -= normal
    out *= inverse
    return out, grad_weight, grad_bias


def rms_norm(x: FloatArray, weight: FloatArray, epsilon: float) -> tuple[FloatArray, FloatArray]:
    """Divide each row by its root mean square, then scale (Zhang & Sennrich 2019).

    Returns the result (rows, n), and each row's 1 / root mean square, (rows, 1).
    """
    mean_square = np.einsum("ri,ri->r", x, x)[:, None] / x.shape[-1]
    inverse = 1 / np.sqrt(mean_square + epsilon, dtype=x.dtype)
    out = x * inverse
    out *= weight
    return out, inverse


def rms_norm_backward(
    grad: FloatArray, x: FloatArray, inverse: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Gradients of `rms_norm`: x (rows, n), then weight, summed over the rows, (n,)."""
    normal = x * inverse
    grad_weight = np.einsum("ri,ri->i", grad, normal)
    out = grad * weight
    normal *= np.einsum("ri,ri->r", out, normal)[:, None] / x.shape[1]
    out -= normal
    out *= inverse
    return out, grad_weight


def cross_entropy(logits: FloatArray, targets: IntArray) -> tuple[FloatArray, FloatArray]:
    """Nats of each target under softmax(logits), by log-sum-exp: log(softmax(x)) underflows.

    Parameters
    ----------
    logits : (rows, vocabulary)
    targets : (rows,), each in [0, vocabulary)

    Returns
    -------
    nats : (rows,)
    log_total : (rows, 1), the log of each row's sum of exp(logits)
    """
    largest = logits.max(axis=-1, keepdims=True)
    total = np.exp(logits - largest).sum(axis=-1, keepdims=True)
    log_total = np.log(total) + largest
    return log_total[:, 0] - logits[np.arange(len(targets)), targets], log_total


def cross_entropy_backward(
    grad: FloatArray, logits: FloatArray, targets: IntArray, log_total: FloatArray
) -> FloatArray:
    """Gradient of `cross_entropy`'s nats, (rows,): (softmax - one-hot) times `grad`."""
    out = logits - log_total
    np.exp(out, out=out)
    out[np.arange(len(targets)), targets] -= 1
    out *= grad[:, None]
    return out


SCORE_BYTES = 1 << 18  # of the scores held at a time, so that they stay in a core's L2 cache


def attention(
    q: FloatArray, k: FloatArray, v: FloatArray, out: FloatArray, log_total: FloatArray
) -> None:
    """Causal attention of some heads (Vaswani et al. 2017), a tile of queries at a time.

    The last query sees all keys, the one before it all but the last key, and so on.

    Parameters
    ----------
    q : (heads, queries, size), with queries <= keys
    k, v : (heads, keys, size)
    out : (heads, queries, size), written: softmax(q k^T / sqrt(size), keys not after the query) v
    log_total : (heads, queries, 1), written: the log of each query's sum of exp(score)
    """
    for rows, seen, scores in _score_tiles(q, k):
        largest = scores.max(axis=-1, keepdims=True)
        scores -= largest
        np.exp(scores, out=scores)
        total = scores.sum(axis=-1, keepdims=True)
        np.divide(scores @ v[:, seen], total, out=out[:, rows])
        log_total[:, rows] = np.log(total) + largest


def attention_backward(
    grad: FloatArray,
    q: FloatArray,
    k: FloatArray,
    v: FloatArray,
    out: FloatArray,
    log_total: FloatArray,
    grads: tuple[FloatArray, FloatArray, FloatArray],
) -> None:
    """Gradients of `attention`, written into `grads`, which are shaped as q, k and v.

    The scores are computed again rather than kept: memory grows with the context, not its square
    (Dao et al. 2022, FlashAttention, section 3).
    """
    grad_q, grad_k, grad_v = grads
    grad_k[...] = 0
    grad_v[...] = 0
    scale = 1 / np.sqrt(q.shape[-1], dtype=q.dtype)
    along = np.einsum("hqi,hqi->hq", grad, out)[..., None]  # over keys: weight x its gradient
    for rows, seen, weights in _score_tiles(q, k):
        weights -= log_total[:, rows]
        np.exp(weights, out=weights)
        grad_v[:, seen] += weights.swapaxes(1, 2) @ grad[:, rows]
        grad_scores = grad[:, rows] @ v[:, seen].swapaxes(1, 2)
        grad_scores -= along[:, rows]
        grad_scores *= weights
        grad_scores *= scale
        np.matmul(grad_scores, k[:, seen], out=grad_q[:, rows])
        grad_k[:, seen] += grad_scores.swapaxes(1, 2) @ q[:, rows]


def _score_tiles(q: FloatArray, k: FloatArray) -> Iterator[tuple[slice, slice, FloatArray]]:
    """(rows of q, keys they may see, their masked scores) for one tile of queries after another."""
    heads, n_queries, size = q.shape
    n_keys = k.shape[1]
    scale = 1 / np.sqrt(size, dtype=q.dtype)
    tile = max(16, SCORE_BYTES // (heads * max(1, n_keys) * q.itemsize))
    for start in range(0, n_queries, tile):
        rows = slice(start, min(start + tile, n_queries))
        last = n_keys - n_queries + rows.stop
        scores = (q[:, rows] * scale) @ k[:, :last].swapaxes(1, 2)
        width = rows.stop - rows.start
        scores[..., last - width :] += _future(width, scores.dtype)
        yield rows, slice(last), scores


@lru_cache
def _future(width: int, dtype: "np.dtype[np.floating]") -> FloatArray:
    """(width, width): -inf above the diagonal, where a key comes after the query, else 0."""
    return np.triu(np.full((width, width), -np.inf, dtype), 1)


def scatter_rows(grad: FloatArray, indices: IntArray, n_rows: int) -> FloatArray:
    """Sum the rows of `grad` that share an index: (n, size), (n,) -> (n_rows, size).

    Sorted sums in a fixed order; `np.add.at` would visit the rows one number at a time.
    """
    out = np.zeros((n_rows, grad.shape[1]), grad.dtype)
    if len(indices):
        order = np.argsort(indices, kind="stable")
        ordered = indices[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        out[ordered[starts]] = np.add.reduceat(grad[order], starts, axis=0)
    return out


# Cody 1969, "Rational Chebyshev approximations for the error function", tables I to III.
_SMALL = (
    (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2,
     3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
     2.84423683343917062e3),
)  # fmt: skip
_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
     1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3,
     1.23033935480374942e3),
)  # fmt: skip


def erf(x: FloatArray) -> FloatArray:
    """The error function, elementwise; NumPy has none.

    Two of Cody's rational forms: x r(x^2) up to 0.46875, and 1 - exp(-x^2) r(|x|) up to 6, beyond
    which erf is 1 in double precision. Absolute error below 4e-16 in float64, 2e-7 in float32.
    """
    size = np.minimum(np.abs(x), 6)
    square = x * x
    near = x * _rational(np.minimum(square, 0.25), *_SMALL)
    far = 1 - np.exp(-size * size) * _rational(size, *_MIDDLE)
    return np.where(size <= 0.46875, near, np.copysign(far, x))


def _rational(x: FloatArray, above: tuple[float, ...], below: tuple[float, ...]) -> FloatArray:
    """Quotient of two polynomials, coefficients from the highest power down (Horner)."""
    top, bottom = np.full_like(x, above[0]), np.full_like(x, below[0])
    for a, b in zip(above[1:], below[1:], strict=True):
        top = top * x + a
        bottom = bottom * x + b
    return top / bottom
