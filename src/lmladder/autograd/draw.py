"""Drawings of the graph from which a Tensor was computed."""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from lmladder.autograd.tensor import Tensor, inputs_first, reverse
from lmladder.system.arrays import FloatArray

import numpy as np

Format: TypeAlias = Literal["mermaid", "dot", "svg"]
Kind: TypeAlias = Literal["leaf", "op", "constant"]

SHOWN = 6  # elements up to which an array is printed; of a larger one, its range is printed


def draw(
    tensor: Tensor,
    *,
    names: Mapping[str, Tensor | FloatArray] | None = None,
    values: bool = False,
    gradients: bool = False,
    format: Format = "mermaid",
) -> str:
    """Return a drawing of the graph of a Tensor: ops with the shapes of their results, and inputs.

    Call it before `backward`, which frees the graph. It changes neither the graph nor `grad`.

    Parameters
    ----------
    tensor : the result whose graph is drawn
    names : names of leaves, results or constant arrays, such as `module.parameters()`
    values : whether to print the value of each node; that of a 0-d constant is always printed
    gradients : whether to print the gradient of `tensor`, which must then have one element, with
        respect to each result and leaf
    format : "mermaid", text that GitHub and many editors display; "dot", text for graphviz; or
        "svg", an image that graphviz creates, whose program `dot` must be installed

    Raises
    ------
    ValueError
        If the format is unknown, or gradients are requested for more than one element.
    TypeError
        If `tensor` is not a Tensor, or a name is not that of a Tensor or an array.
    RuntimeError
        If an earlier backward has freed the graph, or graphviz is missing or fails.
    """
    if format not in RENDERERS:
        raise ValueError(f"unknown format {format!r}; choose from {', '.join(RENDERERS)}")
    if not isinstance(tensor, Tensor):
        raise TypeError(f"draw expects a Tensor, got {type(tensor).__name__}")
    known = {id(_array(named)): name for name, named in (names or {}).items()}
    pairs = reverse(tensor, free=False) if gradients else ()
    found = {id(each): gradient for each, gradient in pairs}
    nodes: list[_Node] = []
    edges: list[tuple[int, int]] = []
    numbers: dict[int, int] = {}

    def add(kind: Kind, array: FloatArray, op: str = "", gradient: Any = None) -> None:
        single = kind == "constant" and array.ndim == 0
        lines = [known.get(id(array)), op, _numbers(array) if single else str(array.shape)]
        if values and not single:
            lines.append(f"value {_numbers(array)}")
        if gradient is not None:
            lines.append(f"gradient {_numbers(gradient)}")
        nodes.append(_Node(kind, [line for line in lines if line]))

    for each in inputs_first(tensor):
        held = iter(each._guard.arrays if each._guard else ())  # arrays of leaves and constants
        sources = []
        for parent in each._parents:
            array = next(held) if parent is None or parent.is_leaf else parent.value
            if parent is None:
                add("constant", array)
            sources.append(len(nodes) - 1 if parent is None else numbers[id(parent)])
        edges += [(source, len(nodes)) for source in sources]
        numbers[id(each)] = len(nodes)
        if each.is_leaf:
            kind: Kind = "leaf" if each.requires_grad else "constant"
            add(kind, each.value, gradient=found.get(id(each)))
        else:
            name = getattr(each._pullback, "__name__", "op").removesuffix("_pullback")
            add("op", each.value, name, found.get(id(each)))
    return RENDERERS[format](nodes, edges)


@dataclass(frozen=True)
class _Node:
    kind: Kind
    lines: list[str]


def _array(named: Tensor | FloatArray) -> FloatArray:
    if not isinstance(named, Tensor | np.ndarray):
        raise TypeError(f"names must be of Tensors or arrays, got {type(named).__name__}")
    return named.value if isinstance(named, Tensor) else named


_short = "{:.4g}".format


def _numbers(array: FloatArray) -> str:
    if array.size <= SHOWN:
        text = np.array2string(array, separator=", ", formatter={"float_kind": _short})
        return " ".join(text.split())
    return f"from {_short(array.min())} to {_short(array.max())}"


def _mermaid(nodes: list[_Node], edges: list[tuple[int, int]]) -> str:
    shapes = {"leaf": '(["{}"])', "op": '["{}"]', "constant": '(("{}"))'}
    escapes = {'"': "#quot;", "#": "#35;", "<": "#lt;", ">": "#gt;"}
    lines = ["flowchart TB"]
    for number, node in enumerate(nodes):
        label = shapes[node.kind].format(_label(node, "<br/>", escapes))
        lines.append(f"    n{number}{label}")
    lines += [f"    n{start} --> n{end}" for start, end in edges]
    return "\n".join(lines) + "\n"


def _dot(nodes: list[_Node], edges: list[tuple[int, int]]) -> str:
    shapes = {"leaf": "box, style=rounded", "op": "box", "constant": "ellipse"}
    escapes = {'"': r"\"", "\\": r"\\"}
    lines = ["digraph {", '    node [fontname="sans-serif", fontsize=11]']
    for number, node in enumerate(nodes):
        label = _label(node, r"\n", escapes)
        lines.append(f'    n{number} [label="{label}", shape={shapes[node.kind]}]')
    lines += [f"    n{start} -> n{end}" for start, end in edges]
    return "\n".join([*lines, "}"]) + "\n"


def _svg(nodes: list[_Node], edges: list[tuple[int, int]]) -> str:
    program = shutil.which("dot")
    if program is None:
        raise RuntimeError("the program `dot` of graphviz is not installed; use format='mermaid'")
    done = subprocess.run(
        [program, "-Tsvg"], input=_dot(nodes, edges), capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        raise RuntimeError(f"graphviz failed: {done.stderr.strip()}")
    return done.stdout


def _label(node: _Node, separator: str, escapes: Any) -> str:
    lines = [" ".join(line.split()).translate(str.maketrans(escapes)) for line in node.lines]
    return separator.join(lines)


RENDERERS = {"mermaid": _mermaid, "dot": _dot, "svg": _svg}
