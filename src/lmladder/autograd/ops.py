"""The ops: each one function, its value and its pullback side by side.

In a pullback, `grad` is the gradient of the loss with respect to the op's value. Broadcasting need
not be undone here; the engine does that. Names, broadcasting and axes are NumPy's; arrays come
first, one argument each, options by keyword. What can be composed of other ops at no loss of speed
or precision is composed. `sum`, `min`, `max` and `abs` hide Python's own in this file.
"""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from numbers import Real
from types import EllipsisType, NoneType
from typing import Any

from lmladder import kernels
from lmladder.autograd.einsum import einsum as einsum
from lmladder.autograd.tensor import Tensor, op
from lmladder.tracing import asarray, constant

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

# ------------------------------------------------------------------------------- arithmetic


@op
def add(a, b):
    """Elementwise a + b."""

    def add_pullback(grad):
        return grad, grad

    return a + b, add_pullback


@op
def subtract(a, b):
    """Elementwise a - b."""

    def subtract_pullback(grad):
        return grad, -grad

    return a - b, subtract_pullback


@op
def multiply(a, b):
    """Elementwise a * b."""

    def multiply_pullback(grad):
        return grad * b, grad * a

    return a * b, multiply_pullback


@op
def divide(a, b):
    """Elementwise a / b."""
    value = a / b

    def divide_pullback(grad):
        by_a = grad / b
        return by_a, -by_a * value

    return value, divide_pullback


@op
def negative(a):
    """Elementwise -a."""

    def negative_pullback(grad):
        return (-grad,)

    return -a, negative_pullback


@op
def power(a, *, exponent: float):
    """Elementwise a ** exponent, the exponent a plain number."""
    exponent = float(exponent)

    def power_pullback(grad):
        if exponent == 0:  # a constant; 0 ** -1 would be infinite
            return (np.zeros_like(a),)
        return (grad * exponent * a ** (exponent - 1),)

    return a**exponent, power_pullback


@op
def matmul(a, b):
    """Matrix product over the last two axes, broadcasting the others; a vector is summed over."""
    if not a.ndim or not b.ndim:
        raise ValueError("a matrix product wants at least one axis each; use * for a number")
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(f"{left.shape[-1]} columns against {right.shape[-2]} rows")
    if left.ndim > 2 and right.ndim > 2:
        np.broadcast_shapes(left.shape[:-2], right.shape[:-2])  # says better what does not fit
    product = kernels.matmul(left, right)  # (..., rows, columns)
    shape = product.shape
    value = product[..., 0, :] if a.ndim == 1 else product

    def matmul_pullback(grad):
        grad = grad.reshape(shape)
        by_left = kernels.matmul(grad, right.swapaxes(-1, -2))
        if b.ndim <= 2:  # one matrix for all of a's leading axes: one product sums over them
            by_right = kernels.matmul(kernels.as_rows(left).T, kernels.as_rows(grad))
        else:
            by_right = kernels.matmul(left.swapaxes(-1, -2), grad)
        return (
            by_left[..., 0, :] if a.ndim == 1 else by_left,
            by_right[..., 0] if b.ndim == 1 else by_right,
        )

    return value[..., 0] if b.ndim == 1 else value, matmul_pullback


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
def cumsum(a, *, axis: int | None = None):
    """Running sum along `axis`; None runs through all of a, flattened."""
    along = 0 if axis is None else axis

    def cumsum_pullback(grad):
        later = np.flip(np.cumsum(np.flip(grad, along), along), along)
        return (later.reshape(a.shape),)  # a number is part of its own sum and of all later ones

    return np.cumsum(a, axis), cumsum_pullback


@op
def max(a, *, axis=None, keepdims: bool = False):
    """Maximum over `axis`; equal maxima share the gradient equally."""
    value = a.max(axis=axis, keepdims=keepdims)

    def max_pullback(grad):
        return (_to_winners(grad, a, value, axis),)

    return value, max_pullback


@op
def min(a, *, axis=None, keepdims: bool = False):
    """Minimum over `axis`; equal minima share the gradient equally."""
    value = a.min(axis=axis, keepdims=keepdims)

    def min_pullback(grad):
        return (_to_winners(grad, a, value, axis),)

    return value, min_pullback


def _to_winners(grad, a, value, axis):
    """The gradient of an extreme value: to the numbers of `a` that equal it, in equal parts."""
    winners = (a == _restore(value, a.shape, axis)).astype(a.dtype)
    winners /= winners.sum(axis=axis, keepdims=True)
    return winners * _restore(grad, a.shape, axis)


@op
def logsumexp(a, *, axis=None, keepdims: bool = False):
    """log(sum(exp(a))) over `axis`, shifted by the maximum so that it can't overflow."""
    largest = a.max(axis=axis, keepdims=True, initial=-np.inf)
    largest = np.where(np.isfinite(largest), largest, 0)  # -inf - -inf is nan
    total = np.exp(a - largest).sum(axis=axis, keepdims=True)
    total = np.log(total, where=total != 0, out=np.full_like(total, -np.inf)) + largest

    def logsumexp_pullback(grad):
        finite = np.maximum(total, float(np.finfo(a.dtype).min))
        return (_restore(grad, a.shape, axis) * np.exp(a - finite),)

    return total if keepdims else total.squeeze(axis), logsumexp_pullback


@op
def norm(a, *, axis=None, keepdims: bool = False):
    """Euclidean norm over `axis` (None for all); at 0, where it has a kink, the gradient is 0.

    Scaled by the largest number, so that squares neither overflow nor underflow.
    """
    tiny = float(np.finfo(a.dtype).tiny)
    largest = np.maximum(np.abs(a).max(axis=axis, keepdims=True, initial=0), tiny)
    value = np.sqrt(np.square(a / largest).sum(axis=axis, keepdims=True)) * largest

    def norm_pullback(grad):
        unit = a / np.maximum(value, float(np.finfo(a.dtype).smallest_subnormal))
        return (_restore(grad, a.shape, axis) * unit,)

    return value if keepdims else value.squeeze(axis), norm_pullback


def mean(a: Any, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Mean over `axis` (a number, a tuple, or None for all)."""
    return sum(a, axis=axis, keepdims=keepdims) / _count(np.shape(_value(a)), axis)


def var(a: Any, *, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """Mean square distance from the mean over `axis`; the count less `ddof` divides."""
    centred = a - mean(a, axis=axis, keepdims=True)
    total = sum(centred * centred, axis=axis, keepdims=keepdims)
    return total / (_count(np.shape(_value(a)), axis) - ddof)


def _value(a: Any) -> Any:
    return a.value if isinstance(a, Tensor) else a


def _count(shape: tuple[int, ...], axis) -> int:
    """How many elements a reduction over `axis` makes into one."""
    axes = range(len(shape)) if axis is None else np.atleast_1d(axis)
    return math.prod(shape[i] for i in axes)


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
def abs(a):
    """Elementwise absolute value; its gradient at 0 is 0."""

    def abs_pullback(grad):
        return (grad * np.sign(a),)

    return np.abs(a), abs_pullback


@op
def clip(a, *, min: float | None = None, max: float | None = None):
    """Elementwise a, but at least `min` and at most `max`; beyond them the gradient is 0."""
    low, high = (None if bound is None else float(bound) for bound in (min, max))
    value = np.clip(a, low, high)

    def clip_pullback(grad):
        return (grad * (a == value),)

    return value, clip_pullback


@op
def maximum(a, b):
    """Elementwise the larger of a and b; where they are equal, each gets half the gradient."""

    def maximum_pullback(grad):
        to_a = _first_wins(a > b, a == b, grad)
        return grad * to_a, grad * (1 - to_a)

    return np.maximum(a, b), maximum_pullback


@op
def minimum(a, b):
    """Elementwise the smaller of a and b; where they are equal, each gets half the gradient."""

    def minimum_pullback(grad):
        to_a = _first_wins(a < b, a == b, grad)
        return grad * to_a, grad * (1 - to_a)

    return np.minimum(a, b), minimum_pullback


def _first_wins(wins, ties, grad):
    """1 where the first wins, 1/2 where there is a tie, else 0; of the type of `grad`."""
    return np.where(ties, 0.5, wins).astype(grad.dtype)


@op(discrete={0: "b"})
def where(condition, a, b):
    """a where `condition` (a boolean array) holds, else b."""

    def where_pullback(grad):
        return None, np.where(condition, grad, 0), np.where(condition, 0, grad)

    return np.where(condition, a, b), where_pullback


@op
def astype(a, *, dtype: Any):
    """The same numbers as float32 or float64."""

    def astype_pullback(grad):
        return (grad.astype(a.dtype),)

    return a.astype(dtype), astype_pullback


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
    inverse = None if axes is None else np.argsort([axis % a.ndim for axis in axes]).tolist()

    def transpose_pullback(grad):
        return (grad.transpose(inverse),)

    return a.transpose(axes), transpose_pullback


@op
def concat(*arrays, axis: int = 0):
    """Join along an existing axis."""
    value = np.concatenate(arrays, axis=axis)
    ends = list(accumulate(array.shape[axis] for array in arrays))

    def concat_pullback(grad):
        return tuple(np.split(grad, ends[:-1], axis=axis))

    return value, concat_pullback


@op
def flip(a, *, axis=None):
    """Reverse the order along `axis` (a number, a tuple, or None for all)."""

    def flip_pullback(grad):
        return (np.flip(grad, axis),)

    return np.flip(a, axis), flip_pullback


@op
def squeeze(a, *, axis=None):
    """Drop `axis` (a number, a tuple, or None for all of length 1)."""

    def squeeze_pullback(grad):
        return (grad.reshape(a.shape),)

    return np.squeeze(a, axis), squeeze_pullback


@op
def expand_dims(a, *, axis):
    """Add axes of length 1 that stand at `axis` (a number or a tuple) of the result."""

    def expand_dims_pullback(grad):
        return (grad.reshape(a.shape),)

    return np.expand_dims(a, axis), expand_dims_pullback


@op
def swapaxes(a, *, axis1: int, axis2: int):
    """Exchange two axes."""

    def swapaxes_pullback(grad):
        return (grad.swapaxes(axis1, axis2),)

    return a.swapaxes(axis1, axis2), swapaxes_pullback


@op
def stack(*arrays, axis: int = 0):
    """Join arrays of one shape along a new axis."""

    def stack_pullback(grad):
        return tuple(np.moveaxis(grad, axis, 0))

    return np.stack(arrays, axis=axis), stack_pullback


# ------------------------------------------------------------------------------- indices


@op
def getitem(a, *, index: Any):
    """a[index] by NumPy's rules: slices, numbers, integer and boolean arrays."""
    parts = tuple(map(_own, index if isinstance(index, tuple) else (index,)))
    repeats = any(isinstance(part, np.ndarray) and part.dtype != bool for part in parts)

    def getitem_pullback(grad):
        out = np.zeros_like(a)
        if repeats:  # integers may name a place twice
            np.add.at(out, parts, grad)
        else:
            out[parts] = grad
        return (out,)

    return a[parts], getitem_pullback


def _own(part):
    """A part of an index; a copy, as its owner may change it before the pullback reads it."""
    if isinstance(part, int | np.integer | slice | NoneType | EllipsisType):
        return part
    return part.astype(part.dtype) if isinstance(part, np.ndarray) else asarray(part)


@op(discrete={1: "iu"})
def take_along_axis(a, indices, *, axis: int):
    """Gather: out[i, j] = a[indices[i, j], j] for axis 0 of two, and so on.

    `indices` are integers of a's shape but for `axis`, or broadcast to it.
    """
    places = _along(indices, a.shape, axis)

    def take_along_axis_pullback(grad):
        out = np.zeros_like(a)
        np.add.at(out, places, grad)
        return out, None

    return a[places], take_along_axis_pullback


@op(discrete={1: "iu"})
def scatter_add(a, indices, updates, *, axis: int):
    """A copy of a with out[indices[i, j], j] += updates[i, j] for axis 0 of two, and so on.

    The gradient of `take_along_axis`, and the other way round. A place may be named repeatedly.
    """
    places = _along(indices, a.shape, axis)
    value = a.copy()
    np.add.at(value, places, updates)

    def scatter_add_pullback(grad):
        return grad, None, grad[places]

    return value, scatter_add_pullback


def _along(indices, shape: tuple[int, ...], axis: int) -> tuple[Any, ...]:
    """An index of all places that `indices` name along `axis`, each in its own row."""
    if indices.ndim != len(shape):
        raise ValueError(f"indices must have {len(shape)} axes")
    places = [constant(each) for each in np.indices(shape, sparse=True)]
    places[normalize_axis_index(axis, len(shape))] = indices
    return tuple(places)


def split(a: Tensor, sections: int, *, axis: int = -1) -> tuple[Tensor, ...]:
    """Cut into equal parts along `axis`."""
    axis = normalize_axis_index(axis, a.ndim)
    length = a.shape[axis]
    if sections < 1 or length % sections:
        raise ValueError(f"split of shape {a.shape}: axis {axis} is no multiple of {sections}")
    step = length // sections
    before = (slice(None),) * axis
    return tuple(
        getitem(a, index=(*before, slice(part * step, (part + 1) * step)))
        for part in range(sections)
    )


# ------------------------------------------------------------------------------- operators


def _power(base: Tensor, exponent: float) -> Tensor:
    if not isinstance(exponent, Real):
        raise TypeError("tensor ** exponent takes a number; for a tensor use exp(b * log(a))")
    return power(base, exponent=exponent)


def _rebinding(symbol: str, operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`a += b` as a = a + b; refused for a leaf, which would be a leaf no more."""

    def rebind(self: Tensor, other: Any) -> Tensor:
        if self.requires_grad and self.is_leaf:
            raise TypeError(
                f"tensor {symbol}= ... would replace a leaf by a result; "
                f"change its array, leaf.value {symbol}= ..., when no graph needs it any more"
            )
        return operation(self, other)

    return rebind


def _one_by_one(sizes: tuple[Any, ...]) -> Any:
    """reshape(2, 3) and reshape((2, 3)) are the same, as in NumPy."""
    return sizes[0] if len(sizes) == 1 and isinstance(sizes[0], tuple | list | NoneType) else sizes


_METHODS = {
    "__add__": add,
    "__radd__": lambda self, other: add(other, self),
    "__iadd__": _rebinding("+", add),
    "__sub__": subtract,
    "__rsub__": lambda self, other: subtract(other, self),
    "__isub__": _rebinding("-", subtract),
    "__mul__": multiply,
    "__rmul__": lambda self, other: multiply(other, self),
    "__imul__": _rebinding("*", multiply),
    "__truediv__": divide,
    "__rtruediv__": lambda self, other: divide(other, self),
    "__itruediv__": _rebinding("/", divide),
    "__ipow__": _rebinding("**", _power),
    "__imatmul__": _rebinding("@", matmul),
    "__matmul__": matmul,
    "__rmatmul__": lambda self, other: matmul(other, self),
    "__neg__": negative,
    "__abs__": abs,
    "__pow__": _power,
    "__getitem__": lambda self, index: getitem(self, index=index),
    "sum": sum,
    "cumsum": cumsum,
    "mean": mean,
    "var": var,
    "max": max,
    "min": min,
    "clip": clip,
    "astype": lambda self, dtype: astype(self, dtype=dtype),
    "reshape": lambda self, *shape: reshape(self, shape=_one_by_one(shape)),
    "squeeze": squeeze,
    "transpose": lambda self, *axes: transpose(self, axes=_one_by_one(axes) or None),
    "swapaxes": lambda self, axis1, axis2: swapaxes(self, axis1=axis1, axis2=axis2),
    "T": property(transpose),
}
for _name, _function in _METHODS.items():
    setattr(Tensor, _name, _function)
