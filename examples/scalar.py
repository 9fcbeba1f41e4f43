"""Reverse-mode differentiation of single numbers: the whole idea on one page.

Every operation records the Values from which it was computed, and its derivative with respect to
each as a plain number. `backward` applies the chain rule: from the result back to the leaves, it
adds the gradient of each node, times these derivatives, to the gradients of its inputs.

This engine is slow. It is meant to be read, and to check the Tensor engine, with which it shares no
code.
"""

import math
from collections.abc import Callable, Sequence
from operator import mul
from typing import TypeAlias, TypeVar, Union

Scalar: TypeAlias = Union["Value", float]
Result = TypeVar("Result")


def _lifting(method: Callable[["Value", "Value"], Result]) -> Callable[["Value", Scalar], Result]:
    """Let a binary operator accept numbers; for other types, Python asks the other operand."""

    def lifted(self: "Value", other: Scalar) -> Result:
        if isinstance(other, int | float):
            other = Value(other)
        # otherwise, an array of Values, for example, applies the operator to each element
        return method(self, other) if isinstance(other, Value) else NotImplemented

    return lifted


class Value:
    """A number that can be differentiated, and a node of the graph that computed it.

    Comparisons compare the numbers, but equality is identity. `np.exp` and similar functions, on an
    array of Values, call the methods of the same name.

    Parameters
    ----------
    data : the number
    inputs, slopes : the Values from which it was computed, and its derivative with respect to each;
        empty for a leaf. With these, other operations can be defined outside of this class.

    Attributes
    ----------
    grad : of a leaf, the sum over all backward passes since it was last set to 0; of another node,
        the gradient of the last pass that reached it
    """

    __slots__ = ("__weakref__", "_inputs", "_slopes", "data", "grad")

    def __init__(
        self, data: float, inputs: tuple["Value", ...] = (), slopes: tuple[float, ...] = ()
    ):
        self.data = float(data)
        self.grad = 0.0
        self._inputs = inputs
        self._slopes = slopes

    def __float__(self) -> float:
        return self.data

    def __repr__(self) -> str:
        return f"Value({self.data}, grad={self.grad})"

    def backward(self) -> None:
        """Compute the gradients of this node and all it depends on; those of leaves accumulate."""
        order = _inputs_first(self)
        for node in order:
            if node._inputs:
                node.grad = 0.0
        self.grad += 1.0
        for node in reversed(order):
            grad = node.grad
            for each, slope in zip(node._inputs, node._slopes, strict=True):
                each.grad += grad * slope

    # --------------------------------------------------------------------------- arithmetic

    @_lifting
    def __add__(self, other: "Value") -> "Value":
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    @_lifting
    def __sub__(self, other: "Value") -> "Value":
        return Value(self.data - other.data, (self, other), (1.0, -1.0))

    @_lifting
    def __mul__(self, other: "Value") -> "Value":
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    @_lifting
    def __truediv__(self, other: "Value") -> "Value":
        value = self.data / other.data
        return Value(value, (self, other), (1 / other.data, -value / other.data))

    def __pow__(self, exponent: Scalar) -> "Value":
        if isinstance(exponent, Value):
            return (self.log() * exponent).exp()
        if not isinstance(exponent, int | float):
            return NotImplemented
        slope = exponent * self.data ** (exponent - 1) if exponent else 0.0
        return Value(self.data**exponent, (self,), (slope,))

    def __neg__(self) -> "Value":
        return Value(-self.data, (self,), (-1.0,))

    __radd__, __rmul__ = __add__, __mul__
    __rsub__ = _lifting(lambda self, other: other - self)
    __rtruediv__ = _lifting(lambda self, other: other / self)
    __rpow__ = _lifting(lambda self, other: other**self)

    # --------------------------------------------------------------------------- functions

    def exp(self) -> "Value":
        value = math.exp(self.data)
        return Value(value, (self,), (value,))

    def log(self) -> "Value":
        return Value(math.log(self.data), (self,), (1 / self.data,))

    def sqrt(self) -> "Value":
        value = math.sqrt(self.data)
        return Value(value, (self,), (0.5 / value,))

    def tanh(self) -> "Value":
        value = math.tanh(self.data)
        return Value(value, (self,), (1 - value * value,))

    def relu(self) -> "Value":
        """Return max(x, 0); its derivative at 0 is 0."""
        return Value(max(self.data, 0.0), (self,), (float(self.data > 0),))

    # --------------------------------------------------------------------------- comparisons

    __lt__ = _lifting(lambda self, other: self.data < other.data)
    __le__ = _lifting(lambda self, other: self.data <= other.data)
    __gt__ = _lifting(lambda self, other: self.data > other.data)
    __ge__ = _lifting(lambda self, other: self.data >= other.data)


def dot(xs: Sequence[Scalar], ys: Sequence[Scalar]) -> Value:
    """Return the dot product of two sequences of one length, as a single node, for speed."""
    if len(xs) != len(ys):
        raise ValueError(f"dot of {len(xs)} and {len(ys)} numbers")
    inputs = tuple([each if isinstance(each, Value) else Value(each) for each in (*xs, *ys)])
    data = [each.data for each in inputs]
    a, b = data[: len(xs)], data[len(xs) :]
    return Value(sum(map(mul, a, b)), inputs, (*b, *a))


def _inputs_first(root: Value) -> list[Value]:
    """Return every node that root depends on, inputs before results, root last.

    The search is depth-first with an explicit stack, as recursion would overflow on long chains.
    """
    order: list[Value] = []
    entered: list[Value] = []
    seen: set[Value] = set()
    stack: list[Value | None] = [root]
    while stack:
        node = stack.pop()
        if node is None:  # all inputs of the last entered node are in `order`
            order.append(entered.pop())
        elif node not in seen:
            seen.add(node)
            entered.append(node)
            stack.append(None)
            stack.extend(node._inputs)
    return order
