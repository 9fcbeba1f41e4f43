"""The ops: each is one function with its value and its pullback side by side.

In a pullback, `grad` is the gradient of the loss with respect to the value of the op. A pullback
ignores broadcasting, which the engine undoes. Names, broadcasting and axes follow NumPy; arrays are
positional arguments, options are keywords. An op is composed of other ops unless that would cost
speed or precision. `sum`, `min`, `max` and `abs` hide Python's functions in this file.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from numbers import Real
from types import EllipsisType, NoneType
from typing import Any

from lmladder import kernels
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
        grad_a = grad / b
        return grad_a, -grad_a * value

    return value, divide_pullback


@op
def negative(a):
    """Elementwise -a."""

    def negative_pullback(grad):
        return (-grad,)

    return -a, negative_pullback


@op
def power(a, *, exponent: float):
    """Elementwise a ** exponent, for an exponent that is a Python number."""
    exponent = float(exponent)

    def power_pullback(grad):
        if exponent == 0:  # the value is constant; 0 ** -1 would be infinite
            return (np.zeros_like(a),)
        return (grad * exponent * a ** (exponent - 1),)

    return a**exponent, power_pullback


@op
def matmul(a, b):
    """Matrix product over the last two axes, broadcasting the others; vectors as in np.matmul."""
    if not a.ndim or not b.ndim:
        raise ValueError("a matrix product expects at least one axis each; use * for a number")
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(f"{left.shape[-1]} columns against {right.shape[-2]} rows")
    product = kernels.matmul(left, right)  # (..., rows, columns)
    shape = product.shape
    value = product[..., 0, :] if a.ndim == 1 else product

    def matmul_pullback(grad):
        grad = grad.reshape(shape)
        grad_left = kernels.matmul(grad, right.swapaxes(-1, -2))
        if b.ndim <= 2:  # one product also sums over the leading axes of a
            grad_right = kernels.matmul(kernels.as_rows(left).T, kernels.as_rows(grad))
        else:
            grad_right = kernels.matmul(left.swapaxes(-1, -2), grad)
        return (
            grad_left[..., 0, :] if a.ndim == 1 else grad_left,
            grad_right[..., 0] if b.ndim == 1 else grad_right,
        )

    return value[..., 0] if b.ndim == 1 else value, matmul_pullback


@op
def einsum(*arrays, subscripts: str):
    """Sum of products in Einstein notation, as numpy.einsum: "ij,jk->ik" is a matrix product.

    There must be a letter for each axis, and "->"; the other forms of NumPy are not supported.

    Raises
    ------
    ValueError
        If subscripts and shapes do not match, one letter has two lengths (1 is not broadcast), or
        an array has a letter twice.
    """
    left, arrow, result = subscripts.replace(" ", "").partition("->")
    labels = left.split(",")
    if not arrow or "." in subscripts:
        raise ValueError(f"{subscripts!r} must have '->' and a letter for each axis")
    if len(labels) != len(arrays):
        raise ValueError(f"{subscripts!r} names {len(labels)} arrays, got {len(arrays)}")
    lengths = _lengths(labels, arrays)

    def einsum_pullback(grad):
        return tuple(by_operand(grad, i) for i in range(len(arrays)))

    def by_operand(grad, i):
        others = ",".join([result, *labels[:i], *labels[i + 1 :]])
        alone = "".join(letter for letter in labels[i] if letter not in others)
        ones = np.ones_like(grad, shape=[lengths[letter] for letter in alone])  # summed over
        factors = grad, *arrays[:i], *arrays[i + 1 :], ones
        return np.einsum(f"{others},{alone}->{labels[i]}", *factors, optimize="greedy")

    return np.einsum(subscripts, *arrays, optimize=len(arrays) > 1), einsum_pullback


def _lengths(labels: Sequence[str], arrays) -> dict[str, int]:
    """Return the length of the axes of each letter."""
    lengths: dict[str, int] = {}
    for letters, array in zip(labels, arrays, strict=True):
        if not len(set(letters)) == len(letters) == array.ndim:
            raise ValueError(f"{letters!r} does not name the axes of shape {array.shape}")
        for letter, length in zip(letters, array.shape, strict=True):
            if lengths.setdefault(letter, length) != length:
                raise ValueError(f"{letter!r} has the lengths {lengths[letter]} and {length}")
    return lengths


# ------------------------------------------------------------------------------- reductions


def _restore(reduced, shape: tuple[int, ...], axis):
    """View the result of a reduction so that it broadcasts against its input of this shape."""
    axes = range(len(shape)) if axis is None else np.atleast_1d(axis) % (len(shape) or 1)
    return reduced.reshape([1 if i in axes else n for i, n in enumerate(shape)])


@op
def sum(a, *, axis=None, keepdims: bool = False):
    """Sum over `axis` (an integer, a tuple, or None for all)."""

    def sum_pullback(grad):
        return (np.broadcast_to(_restore(grad, a.shape, axis), a.shape),)

    return a.sum(axis=axis, keepdims=keepdims), sum_pullback


@op
def cumsum(a, *, axis: int | None = None):
    """Cumulative sum along `axis`; with None, of the flattened array."""
    along = 0 if axis is None else axis

    def cumsum_pullback(grad):
        # an element is part of its own sum and of all later ones
        later = np.flip(np.cumsum(np.flip(grad, along), along), along)
        return (later.reshape(a.shape),)

    return np.cumsum(a, axis), cumsum_pullback


@op
def max(a, *, axis=None, keepdims: bool = False):
    """Maximum over `axis`; equal maxima share the gradient equally."""
    value = a.max(axis=axis, keepdims=keepdims)

    def max_pullback(grad):
        weights = (a == _restore(value, a.shape, axis)).astype(a.dtype)
        weights /= weights.sum(axis=axis, keepdims=True)
        return (weights * _restore(grad, a.shape, axis),)

    return value, max_pullback


def min(a: Any, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Minimum over `axis`; equal minima share the gradient equally."""
    return -max(negative(a), axis=axis, keepdims=keepdims)


@op
def logsumexp(a, *, axis=None, keepdims: bool = False):
    """log(sum(exp(a))) over `axis`, shifted by the maximum so that it cannot overflow."""
    largest = a.max(axis=axis, keepdims=True, initial=-np.inf)
    largest = np.where(np.isfinite(largest), largest, 0)  # -inf - -inf is nan
    total = np.exp(a - largest).sum(axis=axis, keepdims=True)
    total = np.log(total, where=total != 0, out=np.full_like(total, -np.inf)) + largest

    def logsumexp_pullback(grad):
        finite = np.maximum(total, float(np.finfo(a.dtype).min))
        return (_restore(grad, a.shape, axis) * np.exp(a - finite),)

    return total if keepdims else total.squeeze(axis), logsumexp_pullback


def mean(a: Any, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Mean over `axis` (an integer, a tuple, or None for all)."""
    total = sum(a, axis=axis, keepdims=keepdims)
    return total / (np.size(a) // (total.size or 1))


def var(a: Any, *, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """Variance over `axis`: the sum of squared deviations, divided by the count minus `ddof`."""
    centered = a - mean(a, axis=axis, keepdims=True)
    total = sum(centered * centered, axis=axis, keepdims=keepdims)
    return total / (np.size(a) // (total.size or 1) - ddof)


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


def abs(a: Any) -> Tensor:
    """Elementwise absolute value; its gradient at 0 is 0."""
    return maximum(a, negative(a))


@op
def clip(a, *, min: float | None = None, max: float | None = None):
    """Elementwise a, limited to [`min`, `max`]; outside of them the gradient is 0."""
    low, high = (None if bound is None else float(bound) for bound in (min, max))
    value = np.clip(a, low, high)

    def clip_pullback(grad):
        return (grad * (a == value),)

    return value, clip_pullback


@op
def maximum(a, b):
    """Elementwise maximum; where a and b are equal, each gets half of the gradient."""

    def maximum_pullback(grad):
        weight = np.where(a == b, 0.5, a > b).astype(grad.dtype)
        return grad * weight, grad * (1 - weight)

    return np.maximum(a, b), maximum_pullback


def minimum(a: Any, b: Any) -> Tensor:
    """Elementwise minimum; where a and b are equal, each gets half of the gradient."""
    return negative(maximum(negative(a), negative(b)))


@op(discrete={0: "b"})
def where(condition, a, b):
    """Elementwise a where `condition` (a boolean array) is true, else b."""

    def where_pullback(grad):
        return None, np.where(condition, grad, 0), np.where(condition, 0, grad)

    return np.where(condition, a, b), where_pullback


@op
def astype(a, *, dtype: Any):
    """Convert to float32 or float64."""

    def astype_pullback(grad):
        return (grad.astype(a.dtype),)

    return a.astype(dtype), astype_pullback


# ------------------------------------------------------------------------------- shapes


@op
def reshape(a, *, shape: int | tuple[int, ...]):
    """Change the shape; a length of -1 is inferred."""

    def reshape_pullback(grad):
        return (grad.reshape(a.shape),)

    return a.reshape(shape), reshape_pullback


@op
def transpose(a, *, axes: Sequence[int] | None = None):
    """Permute the axes; by default, reverse their order."""
    inverse = None if axes is None else np.argsort([axis % a.ndim for axis in axes]).tolist()

    def transpose_pullback(grad):
        return (grad.transpose(inverse),)

    return a.transpose(axes), transpose_pullback


@op
def concat(*arrays, axis: int = 0):
    """Join arrays along an existing axis."""
    value = np.concatenate(arrays, axis=axis)
    ends = list(accumulate(array.shape[axis] for array in arrays))

    def concat_pullback(grad):
        return tuple(np.split(grad, ends[:-1], axis=axis))

    return value, concat_pullback


def swapaxes(a: Any, *, axis1: int, axis2: int) -> Tensor:
    """Exchange two axes."""
    axes = list(range(np.ndim(a)))
    axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
    return transpose(a, axes=axes)


@op
def stack(*arrays, axis: int = 0):
    """Join arrays of one shape along a new axis."""

    def stack_pullback(grad):
        return tuple(np.moveaxis(grad, axis, 0))

    return np.stack(arrays, axis=axis), stack_pullback


# ------------------------------------------------------------------------------- indices


@op
def getitem(a, *, index: Any):
    """a[index] as in NumPy: integers, slices, integer and boolean arrays."""
    parts = tuple(map(_copied, index if isinstance(index, tuple) else (index,)))
    repeats = any(isinstance(part, np.ndarray) and part.dtype != bool for part in parts)

    def getitem_pullback(grad):
        out = np.zeros_like(a)
        if repeats:  # the index may select an element several times
            np.add.at(out, parts, grad)
        else:
            out[parts] = grad
        return (out,)

    return a[parts], getitem_pullback


def _copied(part):
    """Copy a part of an index, because the caller may change it before the pullback reads it."""
    if isinstance(part, int | np.integer | slice | NoneType | EllipsisType):
        return part
    return part.astype(part.dtype) if isinstance(part, np.ndarray) else asarray(part)


def take_along_axis(a: Any, indices: Any, *, axis: int) -> Tensor:
    """Gather: out[i, j] = a[indices[i, j], j] for axis 0 of a matrix.

    `indices` has the shape of a except along `axis`, or broadcasts to it.
    """
    shape = np.shape(a)
    if np.ndim(indices) != len(shape):
        raise ValueError(f"indices must have {len(shape)} axes")
    index = [constant(each) for each in np.indices(shape, sparse=True)]
    index[normalize_axis_index(axis, len(shape))] = indices
    return getitem(a, index=tuple(index))


def split(a: Tensor, sections: int, *, axis: int = -1) -> tuple[Tensor, ...]:
    """Split into equal parts along `axis`."""
    axis = normalize_axis_index(axis, a.ndim)
    length = a.shape[axis]
    if sections < 1 or length % sections:
        raise ValueError(f"split of shape {a.shape}: axis {axis} is not a multiple of {sections}")
    step = length // sections
    before = (slice(None),) * axis
    return tuple(
        getitem(a, index=(*before, slice(part * step, (part + 1) * step)))
        for part in range(sections)
    )


# ------------------------------------------------------------------------------- operators


def _power(base: Tensor, exponent: float) -> Tensor:
    if not isinstance(exponent, Real):
        raise TypeError("tensor ** exponent expects a number; for a tensor use exp(b * log(a))")
    return power(base, exponent=exponent)


def _reflected(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda self, other: operation(other, self)


def _in_place(name: str, operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a method that computes `a += b` as a = a + b, except for a leaf."""

    def method(self: Tensor, other: Any) -> Tensor:
        if self.requires_grad and self.is_leaf:
            raise TypeError(
                f"in-place {name} would replace a leaf by a result; "
                "change its array, leaf.value, when no graph needs it any more"
            )
        return operation(self, other)

    return method


def _as_shape(lengths: tuple[Any, ...]) -> Any:
    """Return the shape, given as in reshape(2, 3) or as in reshape((2, 3))."""
    alone = len(lengths) == 1 and isinstance(lengths[0], tuple | list | NoneType)
    return lengths[0] if alone else lengths


_OPERATORS = {
    "add": add,
    "sub": subtract,
    "mul": multiply,
    "truediv": divide,
    "matmul": matmul,
    "pow": _power,
}
for _name, _operation in _OPERATORS.items():
    setattr(Tensor, f"__{_name}__", _operation)
    setattr(Tensor, f"__r{_name}__", _reflected(_operation))
    setattr(Tensor, f"__i{_name}__", _in_place(_name, _operation))

_METHODS = {
    "__neg__": negative,
    "__abs__": abs,
    "__getitem__": lambda self, index: getitem(self, index=index),
    "astype": lambda self, dtype: astype(self, dtype=dtype),
    "reshape": lambda self, *shape: reshape(self, shape=_as_shape(shape)),
    "transpose": lambda self, *axes: transpose(self, axes=_as_shape(axes) or None),
    "swapaxes": lambda self, axis1, axis2: swapaxes(self, axis1=axis1, axis2=axis2),
    "T": property(transpose),
    **{each.__name__: each for each in (sum, cumsum, mean, var, max, min, clip)},
}
for _name, _method in _METHODS.items():
    setattr(Tensor, _name, _method)
