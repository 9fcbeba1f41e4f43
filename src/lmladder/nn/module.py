"""The base class of layers and models, which finds their parameters."""

from collections.abc import Iterator, Mapping
from typing import Any

from lmladder.autograd import Tensor
from lmladder.system.arrays import Array

import numpy as np


class Module:
    """A layer or a model: its constructor creates the parameters, its call uses them.

    Parameters are the Tensors with `requires_grad` among the attributes, including those of Modules
    and of Modules in lists among the attributes. A Tensor that two layers share counts once, under
    the name by which it is found first.
    """

    def modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """Yield (dotted name, module) of this module and all below it, in order of definition."""
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
        """Return all parameters by dotted name, such as "blocks.0.attention.query.weight"."""
        names: dict[Tensor, str] = {}
        for prefix, module in self.modules():
            for name, value in vars(module).items():
                if isinstance(value, Tensor) and value.requires_grad:
                    names.setdefault(value, f"{prefix}.{name}" if prefix else name)
        return {name: tensor for tensor, name in names.items()}

    @property
    def n_parameters(self) -> int:
        """The number of learned values."""
        return sum(tensor.size for tensor in self.parameters().values())

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Set the value of every parameter to a copy of the array of its name.

        Raises
        ------
        ValueError
            If names, shapes or types differ from those of the parameters; then nothing changes.
        """
        parameters = self.parameters()
        if unmatched := sorted(parameters.keys() ^ arrays.keys()):
            raise ValueError(f"parameters do not match: {', '.join(unmatched[:3])}")
        for name, tensor in parameters.items():
            array = arrays[name]
            if array.shape != tensor.shape or array.dtype.kind != "f":
                raise ValueError(
                    f"{name} must have shape {tensor.shape} and a float type, "
                    f"got {array.shape} and {array.dtype}"
                )
        for name, tensor in parameters.items():
            tensor.value = np.array(arrays[name], tensor.dtype, order="C")

    def astype(self, dtype: Any) -> None:
        """Convert every parameter, for example to float64 for a gradient check."""
        for tensor in self.parameters().values():
            tensor.value = tensor.value.astype(dtype)
            tensor.grad = None


def parameter(values: Array) -> Tensor:
    """Return a float32 Tensor to be learned, initially `values`."""
    return Tensor(values.astype(np.float32), requires_grad=True)
