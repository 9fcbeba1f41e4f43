"""The engine: a Tensor remembers how it was computed, and `backward` walks that memory in reverse.

An op is a function on plain arrays that returns `(value, pullback)`; `pullback(grad)` turns the
gradient with respect to the value into one gradient for each array input. `@op` lifts such a
function to Tensors. What all ops share is done here, once: taking arrays out of Tensors, checking
their types, skipping constants, undoing broadcasting, adding up, and freeing the graph.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

from lmladder.arrays import Array, FloatArray

import numpy as np

Pullback: TypeAlias = Callable[[Any], tuple[Any, ...]]

OPS: dict[str, Callable[..., "Tensor"]] = {}  # every @op by name, for the tests that want them all

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
    value : the array; change it in place only where no graph holds it, as optimizers do
    grad : None, or an array like value: the sum over all backward passes since it was last None.
        Read it, do not change it in place: it may share memory with other gradients.
    """

    __slots__ = ("__weakref__", "_parents", "_pullback", "grad", "requires_grad", "value")
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
        def __pow__(self, exponent: float) -> "Tensor": ...
        def __getitem__(self, index: Any) -> "Tensor": ...
        def sum(self, *, axis: Any = None, keepdims: bool = False) -> "Tensor": ...
        def mean(self, *, axis: Any = None, keepdims: bool = False) -> "Tensor": ...
        def max(self, *, axis: Any = None, keepdims: bool = False) -> "Tensor": ...
        def reshape(self, *shape: int) -> "Tensor": ...
        def transpose(self, *axes: int) -> "Tensor": ...
        # fmt: on

    def __init__(self, value: Any, *, requires_grad: bool = False):
        array = np.asarray(value)
        if array.dtype not in (np.float32, np.float64):
            if array.dtype.kind not in "iub" or isinstance(value, np.ndarray):
                raise TypeError(f"a Tensor holds float32 or float64, not {array.dtype}")
            array = array.astype(np.float64)  # Python integers
        self.value: FloatArray = array
        self.requires_grad = requires_grad
        self.grad: FloatArray | None = None
        self._parents: tuple[Tensor | None, ...] = ()
        self._pullback: Pullback | None = None

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

    def backward(self, gradient: FloatArray | None = None) -> None:
        """Add to `grad` of each leaf that this Tensor depends on; free the graph on the way.

        Parameters
        ----------
        gradient : of some loss with respect to this Tensor, in its shape and type; may be left out
            for a single number, whose gradient with respect to itself is 1

        Raises
        ------
        ValueError
            If gradient is left out for more than one number, or has another shape or type.
        RuntimeError
            If nothing here requires a gradient, or an earlier backward has freed part of the graph.
        """
        if not self.requires_grad:
            raise RuntimeError("backward from a tensor that depends on nothing with requires_grad")
        if gradient is None:
            if self.size != 1:
                raise ValueError(f"backward from shape {self.shape} needs an upstream gradient")
            gradient = np.ones_like(self.value)
        if gradient.shape != self.shape or gradient.dtype != self.dtype:
            raise ValueError(
                f"upstream gradient is {gradient.dtype} {gradient.shape}, "
                f"the tensor {self.dtype} {self.shape}"
            )
        order = _inputs_first(self)
        gradients = {id(self): gradient}
        while order:
            node = order.pop()  # the list's last reference: node and its arrays may go
            grad = gradients.pop(id(node), None)
            if grad is None:
                continue
            if node._pullback is None:
                node.grad = np.asarray(grad if node.grad is None else node.grad + grad)
                continue
            parts = node._pullback(grad)
            for parent, part in zip(node._parents, parts, strict=True):
                if parent is None or part is None:
                    continue
                part = _unbroadcast(part, parent.value, node._pullback)
                earlier = gradients.get(id(parent))
                gradients[id(parent)] = part if earlier is None else earlier + part
            node._pullback, node._parents = _freed, ()


def op(function: Callable[..., tuple[Any, Pullback]]) -> Callable[..., Tensor]:
    """Lift `function(*arrays, **options) -> (value, pullback)` to Tensors.

    Positional arguments are Tensors, arrays, numbers or None. A number takes the type of the other
    arguments; float arrays of two types are refused, not promoted. Integer and boolean arrays pass
    as they are, and their place in the pullback's result is None. Keyword arguments are options.
    A pullback may keep arrays, never a Tensor, and must not change them nor its argument.
    """
    name = function.__name__

    @functools.wraps(function)
    def lifted(*inputs: Any, **options: Any) -> Tensor:
        arrays = _arrays(name, inputs)
        try:
            value, pullback = function(*arrays, **options)
        except (ValueError, IndexError) as error:
            shapes = ", ".join(str(array.shape) for array in arrays if array is not None)
            raise type(error)(f"{name} of shapes {shapes}: {error}") from error
        out = Tensor(value)
        if _recording.get():
            out._parents = tuple(
                each if isinstance(each, Tensor) and each.requires_grad else None for each in inputs
            )
            if any(parent is not None for parent in out._parents):
                out.requires_grad, out._pullback = True, pullback
        return out

    OPS[name] = lifted
    return lifted


def _arrays(name: str, inputs: tuple[Any, ...]) -> list[Array | None]:
    """The arrays of an op's inputs, all floats among them of one type."""
    arrays = [each.value if isinstance(each, Tensor) else each for each in inputs]
    types = {a.dtype for a in arrays if isinstance(a, np.ndarray) and a.dtype.kind == "f"}
    if len(types) > 1:
        names = " and ".join(sorted(str(dtype) for dtype in types))
        raise TypeError(f"{name} mixes {names}; convert one of them")
    dtype = types.pop() if types else np.dtype(np.float64)
    return [a if a is None or isinstance(a, np.ndarray) else np.asarray(a, dtype) for a in arrays]


def _inputs_first(root: Tensor) -> list[Tensor]:
    """Every Tensor that root depends on and that requires a gradient, inputs before results.

    Depth first with a stack of its own: Python's would overflow on a chain of some thousand ops.
    """
    order: list[Tensor] = []
    seen: set[int] = set()
    stack = [(root, False)]
    while stack:
        node, inputs_done = stack.pop()
        if inputs_done:
            order.append(node)
        elif id(node) not in seen:
            if node._pullback is _freed:
                raise RuntimeError(
                    "backward through a graph that an earlier backward has freed; "
                    "compute the loss again"
                )
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((parent, False) for parent in node._parents if parent is not None)
    return order


def _unbroadcast(grad: FloatArray, like: FloatArray, pullback: Pullback) -> FloatArray:
    """Sum `grad` over the axes along which an input shaped like `like` was broadcast."""
    if grad.shape != like.shape:
        extra = grad.ndim - like.ndim
        stretched = [
            extra + axis
            for axis, length in enumerate(like.shape)
            if length == 1 and grad.shape[extra + axis] != 1
        ]
        grad = grad.sum(axis=(*range(extra), *stretched)).reshape(like.shape)
    if grad.dtype != like.dtype:
        raise TypeError(f"{pullback.__name__} returned {grad.dtype} for {like.dtype}")
    return grad


def _freed(_: Any) -> tuple[Any, ...]:
    """Stands in for the pullback of a node whose graph is gone."""
    raise RuntimeError("this graph has been freed")
