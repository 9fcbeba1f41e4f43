"""What all layers share: finding their parameters by walking their attributes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from lmladder.arrays import Array, FloatArray
from lmladder.autograd import Tensor, no_grad

import numpy as np

Calls: TypeAlias = list[Callable[[], object]]


class Module:
    """A layer or a model: its constructor makes the parameters, its call uses them.

    Parameters are the Tensors with `requires_grad` among the attributes, those of Modules and of
    lists of Modules among them included. A Tensor that two layers share counts once, under the name
    by which it is found first.
    """

    def modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """(dotted name, module) of this module and all below it, in order of definition."""
        yield prefix, self
        dot = f"{prefix}." if prefix else ""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield from value.modules(dot + name)
            elif isinstance(value, list):
                for index, each in enumerate(value):
                    if isinstance(each, Module):
                        yield from each.modules(f"{dot}{name}.{index}")

    def parameters(self) -> dict[str, Tensor]:
        """Every parameter by its dotted name, such as "blocks.0.attention.query.weight"."""
        found: dict[str, Tensor] = {}
        seen: set[int] = set()
        for prefix, module in self.modules():
            for name, value in vars(module).items():
                if isinstance(value, Tensor) and value.requires_grad and id(value) not in seen:
                    seen.add(id(value))
                    found[f"{prefix}.{name}" if prefix else name] = value
        return found

    @property
    def n_parameters(self) -> int:
        """How many numbers are learnt."""
        return sum(tensor.size for tensor in self.parameters().values())

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Take over the value of every parameter.

        Raises
        ------
        ValueError
            If names, shapes or types are not exactly those of the parameters.
        """
        parameters = self.parameters()
        if odd := sorted(parameters.keys() ^ arrays.keys()):
            raise ValueError(f"parameters do not match: {', '.join(odd[:3])}")
        for name, tensor in parameters.items():
            array = arrays[name]
            if array.shape != tensor.shape or array.dtype.kind != "f":
                raise ValueError(
                    f"{name} has shape {array.shape} and type {array.dtype}, "
                    f"not shape {tensor.shape} and a float type"
                )
        for name, tensor in parameters.items():
            tensor.value = np.array(arrays[name], tensor.dtype)

    def plan(self, x: FloatArray, calls: Calls) -> FloatArray:
        """Add to `calls` what brings self(x) of the numbers then in x into the array returned.

        Decoding makes such a plan once and follows it for every token, (rows, size) at a time:
        arrays are made and kernels looked up only once. This one serves any layer of one argument.
        """
        return planned(self, x, calls)  # type: ignore[arg-type]

    def astype(self, dtype: Any) -> None:
        """Convert every parameter, for instance to float64 for a gradient check."""
        for tensor in self.parameters().values():
            tensor.value = tensor.value.astype(dtype)
            tensor.grad = None


def parameter(values: Array) -> Tensor:
    """A float32 Tensor to be learnt, starting from `values`."""
    return Tensor(values.astype(np.float32), requires_grad=True)


def planned(function: Callable[[Tensor], Tensor], x: FloatArray, calls: Calls) -> FloatArray:
    """`Module.plan` of any function of Tensors."""
    with no_grad():
        out = function(Tensor(x)).value.copy()

    def call() -> None:
        with no_grad():
            out[...] = function(Tensor(x)).value

    calls.append(call)
    return out
