"""The engine: a Tensor remembers how it was computed, and `backward` walks that memory in reverse.

An op is a function on plain arrays that returns `(value, pullback)`; `pullback(grad)` turns the
gradient with respect to the value into one gradient for each array input. `@op` lifts such a
function to Tensors. What all ops share is done here, once: taking arrays out of Tensors, checking
their types, skipping constants, undoing broadcasting, adding up, guarding what a pullback will
read, and freeing the graph.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from lmladder.autograd.guards import Guard, release_all
from lmladder.autograd.inputs import as_arrays, shapes
from lmladder.system.arrays import Array, BoolArray, FloatArray
from lmladder.tracing import asarray, constant, plain

import numpy as np

Pullback: TypeAlias = Callable[[Any], tuple[Any, ...]]

OPS: dict[str, Callable[..., "Tensor"]] = {}  # every @op by name, for the tests that want them all

_numbers = itertools.count(1)  # of results, in the order in which ops make them
_AGE = attrgetter("_number")

_recording: ContextVar[bool] = ContextVar("recording", default=True)


@contextmanager
def no_grad() -> Iterator[None]:
    """Within this context ops compute values only and remember nothing."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


class Tensor:
    """A float32 or float64 array that can be differentiated.

    Parameters
    ----------
    value : array, nested lists or a number; arrays are not copied
    requires_grad : whether `backward` shall leave a gradient in `grad`

    Attributes
    ----------
    value : the array. What an op made of something that requires a gradient is read-only, and so is
        every other array while a graph holds it: a pullback may read it again. (Another view of the
        same memory is not locked.) Optimizers change parameters in place; a graph that still holds
        one has no gradients after that.
    grad : None, or an array like value: the sum over all backward passes since it was last None.
        Read-only, for it may share memory with other gradients.
    """

    __slots__ = (
        "__weakref__",
        "_guard",
        "_number",
        "_parents",
        "_pullback",
        "grad",
        "requires_grad",
        "value",
    )
    __array_ufunc__ = None  # so that array + tensor reaches Tensor.__radd__

    if TYPE_CHECKING:  # bound at the end of ops.py, where the ops are
        # fmt: off
        def __add__(self, other: Any) -> "Tensor": ...
        def __radd__(self, other: Any) -> "Tensor": ...
        def __sub__(self, other: Any) -> "Tensor": ...
        def __rsub__(self, other: Any) -> "Tensor": ...
        def __mul__(self, other: Any) -> "Tensor": ...
        def __rmul__(self, other: Any) -> "Tensor": ...
        def __truediv__(self, other: Any) -> "Tensor": ...
        def __rtruediv__(self, other: Any) -> "Tensor": ...
        def __matmul__(self, other: Any) -> "Tensor": ...
        def __rmatmul__(self, other: Any) -> "Tensor": ...
        def __neg__(self) -> "Tensor": ...
        def __abs__(self) -> "Tensor": ...
        def __pow__(self, exponent: float) -> "Tensor": ...
        def __getitem__(self, index: Any) -> "Tensor": ...
        def sum(self, *, axis: Any = None, keepdims: bool = False) -> "Tensor": ...
        def cumsum(self, *, axis: int | None = None) -> "Tensor": ...
        def mean(self, *, axis: Any = None, keepdims: bool = False) -> "Tensor": ...
        def var(self, *, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> "Tensor": ...
        def max(self, *, axis: Any = None, keepdims: bool = False) -> "Tensor": ...
        def min(self, *, axis: Any = None, keepdims: bool = False) -> "Tensor": ...
        def clip(self, *, min: float | None = None, max: float | None = None) -> "Tensor": ...
        def astype(self, dtype: Any) -> "Tensor": ...
        def reshape(self, *shape: int) -> "Tensor": ...
        def squeeze(self, *, axis: Any = None) -> "Tensor": ...
        def transpose(self, *axes: int) -> "Tensor": ...
        def swapaxes(self, axis1: int, axis2: int) -> "Tensor": ...
        @property
        def T(self) -> "Tensor": ...  # noqa: N802, NumPy's name
        # fmt: on

    def __init__(self, value: Any, *, requires_grad: bool = False):
        array = value if type(value) is np.ndarray else asarray(value)
        if array.dtype not in (np.float32, np.float64):
            if array.dtype.kind not in "iub" or isinstance(value, np.ndarray):
                raise TypeError(f"a Tensor holds float32 or float64, not {array.dtype}")
            array = array.astype(np.float64)  # Python integers
        self.value: FloatArray = array
        self.requires_grad = requires_grad
        self.grad: FloatArray | None = None
        self._parents: Sequence[Tensor | None] = ()
        self._pullback: Pullback | None = None
        self._guard: Guard | None = None
        self._number = 0  # results are counted, from 1; leaves are older than all of them

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def ndim(self) -> int:
        return self.value.ndim

    @property
    def size(self) -> int:
        return self.value.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.value.dtype

    @property
    def is_leaf(self) -> bool:
        """Whether a graph begins here: no recorded op made this Tensor."""
        return self._pullback is None

    def item(self) -> float:
        """The single number that this Tensor holds."""
        return float(self.value.item())

    def detach(self) -> "Tensor":
        """The same array as a constant."""
        return Tensor(self.value)

    def __len__(self) -> int:
        return len(self.value)

    def __repr__(self) -> str:
        suffix = ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({np.array2string(self.value, prefix='Tensor(', threshold=20)}{suffix})"

    def __array__(self, *args: Any, **kwargs: Any) -> FloatArray:
        raise TypeError("a Tensor is no array; tensor.value is, without the tensor's history")

    def __iter__(self) -> Iterator["Tensor"]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d Tensor")
        return (self[index] for index in range(len(self)))

    __contains__ = None  # else Python would ask for identity

    def __bool__(self) -> bool:
        return bool(self.value)  # of one number; NumPy refuses more

    def __lt__(self, other: Any) -> BoolArray:
        return self.value < getattr(other, "value", other)

    def __le__(self, other: Any) -> BoolArray:
        return self.value <= getattr(other, "value", other)

    def __gt__(self, other: Any) -> BoolArray:
        return self.value > getattr(other, "value", other)

    def __ge__(self, other: Any) -> BoolArray:
        return self.value >= getattr(other, "value", other)

    def __reduce_ex__(self, protocol: Any) -> Any:
        if not self.is_leaf:
            raise TypeError("only a leaf can be copied or pickled; detach() makes one of a result")
        return super().__reduce_ex__(protocol)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("a Tensor cannot be changed in place; where and scatter_add make a new one")

    def backward(self, gradient: Any = None) -> None:
        """Add to `grad` of each leaf that this Tensor depends on; free the graph on the way.

        Gradients are plain arrays, with no history of their own: a gradient of a gradient is
        refused, not computed wrongly.

        Parameters
        ----------
        gradient : of some loss with respect to this Tensor, an array in its shape and type; may be
            left out for a single number, whose gradient with respect to itself is 1

        Raises
        ------
        ValueError
            If gradient is left out for more than one number, or has another shape or type.
        TypeError
            If gradient is a Tensor, which would ask for a gradient of a gradient.
        RuntimeError
            If nothing here requires a gradient, an earlier backward has freed part of the graph, or
            an array that it reads was released to an optimizer or by Ctrl-C.
        """
        try:
            for tensor, grad in reverse(self, gradient):
                if tensor._pullback is None:
                    total = asarray(grad if tensor.grad is None else tensor.grad + grad)
                    tensor.grad = total.view()
                    tensor.grad.setflags(write=False)
        except KeyboardInterrupt:  # whose traceback holds the graph
            release_all()
            raise


def reverse(
    root: Tensor, gradient: Any = None, *, free: bool = True
) -> Iterator[tuple[Tensor, FloatArray]]:
    """Each Tensor that root depends on with its gradient, from results to inputs.

    `backward` is this walk, and keeps what comes to the leaves; the same parameters and errors.
    With `free=False` the graph stays, for another walk.
    """
    if not root.requires_grad:
        raise RuntimeError(
            "backward from a tensor that depends on nothing with requires_grad"
            " (gradients are plain arrays: they depend on nothing)"
        )
    if isinstance(gradient, Tensor):
        raise TypeError(
            "the upstream gradient must be an array, not a Tensor: "
            "gradients of gradients are not supported"
        )
    if gradient is None:
        if root.size != 1:
            raise ValueError(f"backward from shape {root.shape} needs an upstream gradient")
        gradient = constant(np.ones(root.shape, root.dtype))
    elif isinstance(gradient, np.ndarray | np.generic):
        gradient = np.array(gradient)  # a copy, for what arrives at a leaf is kept there
    else:
        gradient = np.array(gradient, root.dtype)
    if gradient.shape != root.shape or gradient.dtype != root.dtype:
        raise ValueError(
            f"upstream gradient is {gradient.dtype} {gradient.shape}, "
            f"the tensor {root.dtype} {root.shape}"
        )
    order = inputs_first(root)
    for each in order:
        if each._guard is not None:
            each._guard.require_whole()
    gradients = {id(root): gradient}
    while order:
        tensor = order.pop()  # the list's last reference: the tensor and its arrays may go
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
            if parent is None or part is None:
                continue
            like = parent.value
            if type(part) is not np.ndarray or part.shape != like.shape or part.dtype != like.dtype:
                part = _unbroadcast(part, like, tensor._pullback)
            earlier = gradients.get(id(parent))
            gradients[id(parent)] = part if earlier is None else asarray(earlier + part)
        if free:
            tensor._pullback, tensor._parents, tensor._guard = _freed, (), None


Function: TypeAlias = Callable[..., tuple[Any, Pullback]]


@overload
def op(function: Function) -> Callable[..., Tensor]: ...
@overload
def op(*, discrete: Mapping[int, str]) -> Callable[[Function], Callable[..., Tensor]]: ...
def op(function: Function | None = None, *, discrete: Mapping[int, str] | None = None) -> Any:
    """Lift `function(*arrays, **options) -> (value, pullback)` to Tensors.

    Positional arguments are Tensors, arrays, lists or numbers; all but arrays of floats take the
    type of these, and floats of two types are refused, not promoted. Keyword arguments are options.
    A pullback returns a gradient for each positional argument. It may keep arrays, never a Tensor,
    and must not change them nor its argument.

    Parameters
    ----------
    discrete : places of arguments that are arrays of booleans ("b") or of integers ("iu"); they
        pass as they are, and the pullback returns None in their place
    """
    if function is None:
        return functools.partial(op, discrete=discrete)
    name, places = function.__name__, discrete or {}

    @functools.wraps(function)
    def lifted(*inputs: Any, **options: Any) -> Tensor:
        try:
            return record(inputs, options)
        except KeyboardInterrupt:  # whose traceback holds the graph
            release_all()
            raise

    def record(inputs: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
        arrays = as_arrays(
            name, [each.value if isinstance(each, Tensor) else each for each in inputs], places
        )
        try:
            made = function(*arrays, **options)
        except (ValueError, IndexError, TypeError) as error:
            kinds = (ValueError, IndexError, TypeError)  # no subclass with arguments of its own
            kind = next(each for each in kinds if isinstance(error, each))
            raise kind(f"{name} of shapes {shapes(arrays)}: {error}") from error
        if not (isinstance(made, tuple) and len(made) == 2 and callable(made[1])):
            raise TypeError(f"{name} must return its value and its pullback")
        out = Tensor(made[0])
        if _recording.get():
            parents: list[Tensor | None] = []
            held: list[Array] = []  # what no op has made; results are read-only anyway
            for each, array in zip(inputs, arrays, strict=True):
                recorded = isinstance(each, Tensor) and each.requires_grad
                parents.append(each if recorded else None)
                if not (recorded and each._pullback):
                    held.append(array)
            if parents.count(None) < len(parents):
                out.requires_grad, out._pullback, out._parents = True, made[1], parents
                out._number = next(_numbers)
                out._guard = Guard(plain(held)) if held else None
                out.value.setflags(write=False)
        return out

    OPS.setdefault(name, lifted)
    return lifted


def inputs_first(root: Tensor) -> list[Tensor]:
    """Every Tensor that root depends on and that requires a gradient, inputs before results.

    A result is younger than its inputs, so the order of age will do; no recursion, which a chain of
    some thousand ops would overflow.
    """
    found = {id(root): root}
    stack = [root]
    while stack:
        tensor = stack.pop()
        if tensor._pullback is _freed:
            raise RuntimeError("an earlier backward has freed this graph; compute the result again")
        for parent in tensor._parents:
            if parent is not None and id(parent) not in found:
                found[id(parent)] = parent
                stack.append(parent)
    return sorted(found.values(), key=_AGE)


def _unbroadcast(grad: FloatArray, like: FloatArray, pullback: Pullback) -> FloatArray:
    """Sum `grad` over the axes along which an input shaped like `like` was broadcast."""
    if not isinstance(grad, np.ndarray | np.generic) or grad.dtype != like.dtype:
        kind = grad.dtype if isinstance(grad, np.ndarray) else type(grad).__name__
        raise TypeError(f"{_name(pullback)} returned {kind} for an array of {like.dtype}")
    extra = max(0, grad.ndim - like.ndim)  # axes that broadcasting put before the input's own
    shape = grad.shape[extra:]
    stretched = []
    if shape != like.shape:
        if len(shape) != like.ndim or any(
            n not in (1, stretched_to) for n, stretched_to in zip(like.shape, shape, strict=True)
        ):
            raise ValueError(
                f"{_name(pullback)} returned {grad.shape} for an array of {like.shape}"
            )
        stretched = [extra + axis for axis, n in enumerate(like.shape) if n == 1]
    axes = (*range(extra), *stretched)
    total = np.add.reduce(grad, axis=axes) if axes else asarray(grad)
    return total.reshape(like.shape)


def _name(pullback: Pullback) -> str:
    return getattr(pullback, "__name__", "a pullback")


def _freed(_: Any) -> tuple[Any, ...]:
    """Stands in for the pullback of a node whose graph is gone."""
    raise RuntimeError("this graph has been freed")
