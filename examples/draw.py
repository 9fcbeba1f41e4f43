"""Drawings of the graph from which a Tensor was computed."""

from collections.abc import Mapping
from typing import Any

from lmladder.autograd.tensor import Tensor, inputs_first, reverse
from lmladder.system.arrays import FloatArray

import numpy as np

SHOWN = 6  # elements up to which an array is printed; of a larger one, its range is printed


SHAPES = {"leaf": '(["{}"])', "op": '["{}"]', "constant": '(("{}"))'}  # of the nodes
ESCAPES = str.maketrans({'"': "#quot;", "#": "#35;", "<": "#lt;", ">": "#gt;"})

_short = "{:.4g}".format


def draw(
    tensor: Tensor,
    *,
    names: Mapping[str, Tensor | FloatArray] | None = None,
    values: bool = False,
    gradients: bool = False,
) -> str:
    """Return a drawing of the graph of a Tensor: ops with the shapes of their results, and inputs.

    It is text for Mermaid, which GitHub and many editors display. Call this before `backward`,
    which frees the graph. It changes neither the graph nor `grad`.

    Parameters
    ----------
    tensor : the result whose graph is drawn
    names : names of leaves, results or constant arrays, such as `module.parameters()`
    values : whether to print the value of each node; that of a 0-d constant is always printed
    gradients : whether to print the gradient of `tensor`, which must then have one element, with
        respect to each result and leaf

    Raises
    ------
    ValueError
        If gradients are requested for more than one element.
    TypeError
        If `tensor` is not a Tensor.
    RuntimeError
        If an earlier backward has freed the graph.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"draw expects a Tensor, got {type(tensor).__name__}")
    known = {id(getattr(named, "value", named)): name for name, named in (names or {}).items()}
    pairs = reverse(tensor, free=False) if gradients else ()
    found = {id(each): gradient for each, gradient in pairs}
    nodes: list[str] = []
    edges: list[str] = []
    numbers: dict[int, int] = {}

    def add(kind: str, array: FloatArray, op: str = "", gradient: Any = None) -> None:
        single = kind == "constant" and array.ndim == 0
        lines = [known.get(id(array)), op, _numbers(array) if single else str(array.shape)]
        if values and not single:
            lines.append(f"value {_numbers(array)}")
        if gradient is not None:
            lines.append(f"gradient {_numbers(gradient)}")
        label = "<br/>".join(" ".join(line.split()).translate(ESCAPES) for line in lines if line)
        nodes.append(f"    n{len(nodes)}{SHAPES[kind].format(label)}")

    for each in inputs_first(tensor):
        sources = []
        for parent in each._parents:
            if not isinstance(parent, Tensor):
                add("constant", parent)
            sources.append(numbers.get(id(parent), len(nodes) - 1))
        edges += [f"    n{source} --> n{len(nodes)}" for source in sources]
        numbers[id(each)] = len(nodes)
        if each.is_leaf:
            kind = "leaf" if each.requires_grad else "constant"
            add(kind, each.value, gradient=found.get(id(each)))
        else:
            name = getattr(each._pullback, "__name__", "op").removesuffix("_pullback")
            add("op", each.value, name, found.get(id(each)))
    return "\n".join(["flowchart TB", *nodes, *edges]) + "\n"


def _numbers(array: FloatArray) -> str:
    if array.size <= SHOWN:
        text = np.array2string(array, separator=", ", formatter={"float_kind": _short})
        return " ".join(text.split())
    return f"from {_short(array.min())} to {_short(array.max())}"
