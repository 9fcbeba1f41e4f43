"""The ops: each is one function with its value and its pullback side by side.

In a pullback, `grad` is the gradient of the loss with respect to the value of the op. A pullback
ignores broadcasting, which the engine undoes. Names, broadcasting and axes follow NumPy; arrays are
positional arguments, options are keywords. An op is composed of other ops unless that would cost
speed or precision. `sum`, `min`, `max` and `abs` hide Python's functions in this file.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from types import EllipsisType, NoneType
from typing import Any

from lmladder import kernels
from lmladder.autograd.tensor import Tensor, op

import numpy as np

# Indices that select no element twice.
BASIC_INDICES = (int, np.integer, slice, NoneType, EllipsisType)

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
    value = kernels.elementwise("exp", a)

    def exp_pullback(grad):
        return (grad * value,)

    return value, exp_pullback


@op
def log(a):
    """Elementwise natural logarithm."""

    def log_pullback(grad):
        return (grad / a,)

    return kernels.elementwise("log", a), log_pullback


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
def maximum(a, b):
    """Elementwise maximum; where a and b are equal, each gets half of the gradient."""

    def maximum_pullback(grad):
        weight = np.where(a == b, 0.5, a > b).astype(grad.dtype)
        return grad * weight, grad * (1 - weight)

    return np.maximum(a, b), maximum_pullback


def minimum(a: Any, b: Any) -> Tensor:
    """Elementwise minimum; where a and b are equal, each gets half of the gradient."""
    return negative(maximum(negative(a), negative(b)))


@partial(op, discrete={0: "b"})
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
    parts = index if isinstance(index, tuple) else (index,)
    # Arrays are copied, as the caller may change them before the pullback reads them.
    parts = tuple(p.astype(p.dtype) if isinstance(p, np.ndarray) else p for p in parts)
    is_basic = all(isinstance(part, BASIC_INDICES) for part in parts)

    def getitem_pullback(grad):
        out = np.zeros_like(a)
        if is_basic:
            out[parts] = grad
        else:  # the index may select an element several times
            np.add.at(out, parts, grad)
        return (out,)

    return a[parts], getitem_pullback


def split(a: Tensor, sections: int, *, axis: int = -1) -> tuple[Tensor, ...]:
    """Split into equal parts along `axis`."""
    step, rest = divmod(a.shape[axis], sections)
    if rest:
        raise ValueError(f"split of shape {a.shape}: axis {axis} is not a multiple of {sections}")
    before = (slice(None),) * (axis % a.ndim)
    parts = [slice(part * step, (part + 1) * step) for part in range(sections)]
    return tuple(getitem(a, index=(*before, part)) for part in parts)


# ------------------------------------------------------------------------------- operators


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
    "pow": lambda a, exponent: power(a, exponent=exponent),
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
    **{each.__name__: each for each in (sum, mean, var, max, min)},
}
for _name, _method in _METHODS.items():
    setattr(Tensor, _name, _method)
