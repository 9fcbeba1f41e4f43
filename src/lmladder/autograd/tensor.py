"""The engine: a Tensor records how it was computed, and `backward` follows the record in reverse.

An op is a function on plain arrays that returns `(value, pullback)`; `pullback(grad)` returns the
gradient with respect to each array input, given the gradient with respect to the value. `@op` lifts
such a function to Tensors. The engine does what all ops share: it takes arrays out of Tensors,
checks their types, skips constants, undoes broadcasting, accumulates gradients, notices values that
have changed since, and frees the graph.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from operator import attrgetter, ge, gt, le, lt
from typing import TYPE_CHECKING, Any, TypeAlias

from lmladder.autograd.inputs import as_arrays, shapes
from lmladder.system.arrays import Array, BoolArray, FloatArray
from lmladder.tracing import asarray, constant

import numpy as np

Pullback: TypeAlias = Callable[[Any], tuple[Any, ...]]

OPS: dict[str, Callable[..., "Tensor"]] = {}  # every @op by name, for tests of all ops

_numbers = itertools.count(1)  # of results and of changes of leaves, in their order

_recording: ContextVar[bool] = ContextVar("recording", default=True)


@contextmanager
def no_grad() -> Iterator[None]:
    """Compute values only, without recording a graph, in this context."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


def _comparison(compare: Callable[[Any, Any], BoolArray]) -> Callable[["Tensor", Any], BoolArray]:
    return lambda tensor, other: compare(tensor.value, getattr(other, "value", other))


class Tensor:
    """A float32 or float64 array that can be differentiated.

    Parameters
    ----------
    value : array, nested lists or a number; an array is not copied
    requires_grad : whether `backward` computes a gradient in `grad`

    Attributes
    ----------
    value : the array. The result of an op is read-only if it requires a gradient. That of a leaf
        may be assigned (`leaf.value -= step` assigns, too) and is changed in place by optimizers; a
        graph that was computed from the value before cannot compute gradients after that. Writing
        to elements of an array that a graph holds is not noticed.
    grad : None, or an array like value: the sum over all backward passes since it was last None. It
        is read-only, because it may share memory with other gradients.
    """

    __slots__ = "__weakref__", "_number", "_parents", "_pullback", "_value", "grad", "requires_grad"
    __array_ufunc__ = None  # so that array + tensor reaches Tensor.__radd__

    if TYPE_CHECKING:  # defined below this class, and at the end of ops.py
        # fmt: off
        @property
        def value(self) -> FloatArray: ...
        @value.setter
        def value(self, array: FloatArray) -> None: ...
        def _unary(self) -> "Tensor": ...
        def _binary(self, other: Any) -> "Tensor": ...
        def _method(self, *arguments: Any, **options: Any) -> "Tensor": ...
        __neg__ = __abs__ = _unary
        __add__ = __sub__ = __mul__ = __truediv__ = __matmul__ = __pow__ = __getitem__ = _binary
        __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rmatmul__ = _binary
        sum = mean = max = min = var = astype = reshape = transpose = swapaxes = _method
        T = property(_unary)
        # fmt: on

    def __init__(self, value: Any, *, requires_grad: bool = False):
        array = value if type(value) is np.ndarray else asarray(value)
        if array.dtype not in (np.float32, np.float64):
            if array.dtype.kind not in "iub" or isinstance(value, np.ndarray):
                raise TypeError(f"a Tensor must be float32 or float64, got {array.dtype}")
            array = array.astype(np.float64)  # Python integers
        self._value: FloatArray = array
        self.requires_grad = requires_grad
        self.grad: FloatArray | None = None
        self._parents: Sequence[Tensor | Array] = ()  # inputs; those without a gradient as arrays
        self._pullback: Pullback | None = None
        self._number = 0  # of a result, when it was computed; of a leaf, when its value changed

    @property
    def shape(self) -> tuple[int, ...]:
        return self._value.shape

    @property
    def ndim(self) -> int:
        return self._value.ndim

    @property
    def size(self) -> int:
        return self._value.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._value.dtype

    @property
    def is_leaf(self) -> bool:
        """Whether this Tensor is not the result of a recorded op."""
        return self._pullback is None

    def item(self) -> float:
        """Return the value of a Tensor with one element as a Python number."""
        return float(self.value.item())

    def detach(self) -> "Tensor":
        """Return a Tensor with the same array that requires no gradient."""
        return Tensor(self.value)

    def __len__(self) -> int:
        return len(self.value)

    def __repr__(self) -> str:
        suffix = ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({np.array2string(self.value, prefix='Tensor(', threshold=20)}{suffix})"

    def __array__(self, *args: Any, **kwargs: Any) -> FloatArray:
        raise TypeError("a Tensor is not an array; tensor.value is one, without the graph")

    def __iter__(self) -> Iterator["Tensor"]:
        return (self[index] for index in range(len(self)))

    __contains__ = None  # otherwise Python would compare identities

    def __bool__(self) -> bool:
        return bool(self.value)  # NumPy raises ValueError for several elements

    __lt__, __le__, __gt__, __ge__ = map(_comparison, (lt, le, gt, ge))

    def __reduce_ex__(self, protocol: Any) -> Any:
        if not self.is_leaf:
            raise TypeError("only a leaf can be copied or pickled; detach() returns one")
        return functools.partial(Tensor, requires_grad=self.requires_grad), (self.value,)

    def backward(self, gradient: Any = None) -> None:
        """Add to `grad` of each leaf that this Tensor depends on, and free the graph.

        Gradients are plain arrays and have no graph, so a gradient of a gradient is an error.

        Parameters
        ----------
        gradient : array of the shape and dtype of this Tensor, the gradient of some loss with
            respect to it; 1 by default for a Tensor with one element

        Raises
        ------
        ValueError
            If gradient is missing for more than one element, or has another shape or dtype.
        TypeError
            If gradient is a Tensor, which would require a gradient of a gradient.
        RuntimeError
            If no input requires a gradient, an earlier backward has freed part of the graph, or a
            value from which the graph was computed has changed.
        """
        for tensor, grad in reverse(self, gradient):
            if tensor._pullback is None:
                total = asarray(grad if tensor.grad is None else tensor.grad + grad)
                tensor.grad = total.view()
                tensor.grad.setflags(write=False)


def _assign(tensor: Tensor, value: FloatArray) -> None:
    tensor._value, tensor._number = value, next(_numbers)


if not TYPE_CHECKING:
    Tensor.value = property(attrgetter("_value"), _assign)  # faster than a method


def changed(tensors: Iterable[Tensor]) -> None:
    """Declare that the arrays of leaves have been changed in place."""
    number = next(_numbers)
    for tensor in tensors:
        tensor._number = number


def reverse(
    root: Tensor, gradient: Any = None, *, free: bool = True
) -> Iterator[tuple[Tensor, FloatArray]]:
    """Yield each Tensor that root depends on with its gradient, from results to inputs.

    `backward` keeps the gradients of the leaves; it has the same parameters and errors. With
    `free=False` the graph is not freed.
    """
    if not root.requires_grad:
        raise RuntimeError("backward from a tensor that depends on nothing with requires_grad")
    if gradient is None:
        if root.size != 1:
            raise ValueError(f"backward from shape {root.shape} needs an upstream gradient")
        gradient = constant(np.ones(root.shape, root.dtype))
    else:  # a copy, because a leaf may keep it
        is_array = isinstance(gradient, np.ndarray | np.generic)
        gradient = np.array(gradient, None if is_array else root.dtype)
    if gradient.shape != root.shape or gradient.dtype != root.dtype:
        raise ValueError(
            f"the upstream gradient must be {root.dtype} {root.shape}, "
            f"got {gradient.dtype} {gradient.shape}"
        )
    order = inputs_first(root)
    for each in order:
        if any(isinstance(p, Tensor) and p._number > each._number for p in each._parents):
            op = _name(each._pullback).removesuffix("_pullback")
            raise RuntimeError(f"a value that {op} read has changed; compute the result again")
    gradients = {id(root): gradient}
    while order:
        tensor = order.pop()  # the last reference in this list, so that the arrays can be freed
        grad = gradients.pop(id(tensor), None)
        if grad is None:
            continue
        yield tensor, grad
        if tensor._pullback is None:
            continue
        parts = tensor._pullback(grad)
        if not isinstance(parts, tuple) or len(parts) != len(tensor._parents):
            raise TypeError(
                f"{_name(tensor._pullback)} must return a tuple, "
                f"one gradient or None for each of {len(tensor._parents)} inputs"
            )
        for parent, part in zip(tensor._parents, parts, strict=True):
            if part is None or not isinstance(parent, Tensor):
                continue
            like = parent._value
            if type(part) is not np.ndarray or part.shape != like.shape or part.dtype != like.dtype:
                part = _unbroadcast(part, like, tensor._pullback)
            earlier = gradients.get(id(parent))
            gradients[id(parent)] = part if earlier is None else asarray(earlier + part)
        if free:
            tensor._pullback, tensor._parents = _freed, ()


def op(
    function: Callable[..., tuple[Any, Pullback]], *, discrete: Mapping[int, str] | None = None
) -> Callable[..., Tensor]:
    """Lift `function(*arrays, **options) -> (value, pullback)` to Tensors.

    Positional arguments are Tensors, arrays, lists or numbers. All but float arrays are converted
    to the dtype of these; two float dtypes are an error, not promoted. Keyword arguments are
    options. The pullback returns one gradient for each positional argument. It may keep arrays but
    no Tensor, and must not change them or its argument.

    Parameters
    ----------
    discrete : positions of the arguments that are arrays of booleans ("b") or integers ("iu"),
        which are not converted and for which the pullback returns None; by functools.partial
    """
    name, kinds = function.__name__, discrete or {}

    @functools.wraps(function)
    def lifted(*inputs: Any, **options: Any) -> Tensor:
        arrays = as_arrays(
            name, [each._value if isinstance(each, Tensor) else each for each in inputs], kinds
        )
        try:
            made = function(*arrays, **options)
        except (ValueError, IndexError, TypeError) as error:
            # not the class of the error, whose constructor may have other parameters
            bases = (ValueError, IndexError, TypeError)
            base = next(each for each in bases if isinstance(error, each))
            raise base(f"{name} of shapes {shapes(arrays)}: {error}") from error
        if not (isinstance(made, tuple) and len(made) == 2 and callable(made[1])):
            raise TypeError(f"{name} must return its value and its pullback")
        out = Tensor(made[0])
        if _recording.get():
            recorded = [isinstance(each, Tensor) and each.requires_grad for each in inputs]
            if any(recorded):
                parents = zip(recorded, inputs, arrays, strict=True)
                out._parents = [each if is_recorded else a for is_recorded, each, a in parents]
                out.requires_grad, out._pullback, out._number = True, made[1], next(_numbers)
                out._value.setflags(write=False)
        return out

    OPS.setdefault(name, lifted)
    return lifted


def inputs_first(root: Tensor) -> list[Tensor]:
    """Return every Tensor that root depends on and that requires a gradient, inputs first.

    A result has a higher number than its inputs. Recursion would overflow on long chains of ops.
    """
    found = {id(root): root}
    stack = [root]
    while stack:
        tensor = stack.pop()
        if tensor._pullback is _freed:
            raise RuntimeError("an earlier backward has freed this graph; compute the result again")
        for parent in tensor._parents:
            if isinstance(parent, Tensor) and id(parent) not in found:
                found[id(parent)] = parent
                stack.append(parent)
    return sorted(found.values(), key=attrgetter("_number"))


def _unbroadcast(grad: FloatArray, like: FloatArray, pullback: Pullback) -> FloatArray:
    """Sum `grad` over the axes along which an input shaped like `like` was broadcast."""
    if not isinstance(grad, np.ndarray | np.generic) or grad.dtype != like.dtype:
        kind = grad.dtype if isinstance(grad, np.ndarray) else type(grad).__name__
        raise TypeError(f"{_name(pullback)} returned {kind} for an array of {like.dtype}")
    if grad.shape == like.shape:  # a sum over an axis of length 1 would turn -0.0 into 0.0
        return asarray(grad)
    shape = (1,) * (grad.ndim - like.ndim) + like.shape  # with the axes that broadcasting added
    if len(shape) != grad.ndim or any(
        n not in (1, m) for n, m in zip(shape, grad.shape, strict=True)
    ):
        raise ValueError(f"{_name(pullback)} returned {grad.shape} for an array of {like.shape}")
    axes = tuple(axis for axis, n in enumerate(shape) if n == 1)
    total = np.add.reduce(grad, axis=axes) if axes else asarray(grad)
    return total.reshape(like.shape)


def _name(pullback: Pullback | None) -> str:
    return getattr(pullback, "__name__", "a pullback")


def _freed(_: Any) -> tuple[Any, ...]:
    """Replace the pullback of a Tensor whose graph has been freed."""
    raise RuntimeError("this graph has been freed")
