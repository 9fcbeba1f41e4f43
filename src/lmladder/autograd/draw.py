"""A picture of a graph: what a Tensor was computed from, as text that becomes a drawing."""

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

SHOWN = 6  # numbers of an array that are written out; of a longer one, its range


def draw(
    tensor: Tensor,
    *,
    names: Mapping[str, Tensor | FloatArray] | None = None,
    values: bool = False,
    gradients: bool = False,
    format: Format = "mermaid",
) -> str:
    """The graph of a Tensor: ops with the shapes of their results, down to leaves and constants.

    Draw before `backward`, which frees the graph. Nothing is freed or added up here.

    Parameters
    ----------
    tensor : the result whose graph is drawn; a single number if gradients are wanted
    names : of leaves, results or constant arrays, such as `module.parameters()`
    values : whether to write each value, or its range if it is long; of a single constant number
        it is always written
    gradients : whether to write the gradient of `tensor` with respect to each result and leaf
    format : "mermaid", text that GitHub and many editors draw; "dot", text for graphviz; or "svg",
        a picture made by graphviz, whose program `dot` must be installed

    Raises
    ------
    ValueError
        If the format is unknown, or gradients are wanted of more than one number.
    RuntimeError
        If an earlier backward has freed the graph, or graphviz is wanted and not installed.
    """
    if format not in RENDERERS:
        raise ValueError(f"unknown format {format!r}; choose from {', '.join(RENDERERS)}")
    if not isinstance(tensor, Tensor):
        raise TypeError(f"draw takes a Tensor, not {type(tensor).__name__}")
    known = {id(_array(named)): name for name, named in (names or {}).items()}
    found: dict[int, FloatArray] = {}
    if gradients:
        found = {id(each): grad for each, grad in reverse(tensor, free=False)}
    nodes: list[_Node] = []
    edges: list[tuple[int, int]] = []
    numbers: dict[int, int] = {}

    def add(kind: Kind, array: FloatArray, op: str | None, gradient: FloatArray | None) -> None:
        single = kind == "constant" and array.ndim == 0
        lines = [known.get(id(array)), op, None if single else str(array.shape)]
        if values or single:
            lines.append(f"value {_numbers(array)}" if not single else _numbers(array))
        if gradient is not None:
            lines.append(f"gradient {_numbers(gradient)}")
        nodes.append(_Node(kind, [line for line in lines if line]))

    for each in inputs_first(tensor):
        held = iter(each._guard.arrays if each._guard else ())  # of inputs that no op has made
        sources = []
        for parent in each._parents:
            array = next(held) if parent is None or parent.is_leaf else parent.value
            if parent is None:
                add("constant", array, None, None)
            sources.append(len(nodes) - 1 if parent is None else numbers[id(parent)])
        edges += [(source, len(nodes)) for source in sources]
        numbers[id(each)] = len(nodes)
        if each.is_leaf:
            add("leaf" if each.requires_grad else "constant", each.value, None, found.get(id(each)))
        else:
            add("op", each.value, _op_name(each), found.get(id(each)))
    return RENDERERS[format](nodes, edges)


@dataclass(frozen=True)
class _Node:
    kind: Kind
    lines: list[str]


def _array(named: Tensor | FloatArray) -> FloatArray:
    if not isinstance(named, Tensor | np.ndarray):
        raise TypeError(f"names are those of Tensors and arrays, not of {type(named).__name__}")
    return named.value if isinstance(named, Tensor) else named


def _op_name(tensor: Tensor) -> str:
    return getattr(tensor._pullback, "__name__", "op").removesuffix("_pullback")


def _numbers(array: FloatArray) -> str:
    if array.size <= SHOWN:
        text = np.array2string(array, separator=", ", formatter={"float_kind": _short})
        return " ".join(text.split())
    return f"from {_short(array.min())} to {_short(array.max())}"


def _short(number: Any) -> str:
    return f"{number:.4g}"


def _mermaid(nodes: list[_Node], edges: list[tuple[int, int]]) -> str:
    shapes = {"leaf": '(["{}"])', "op": '["{}"]', "constant": '(("{}"))'}
    escapes = {'"': "#quot;", "#": "#35;", "<": "#lt;", ">": "#gt;"}
    lines = ["flowchart TB"]
    for number, node in enumerate(nodes):
        label = "<br/>".join(_escaped(line, escapes) for line in node.lines)
        lines.append(f"    n{number}{shapes[node.kind].format(label)}")
    lines += [f"    n{start} --> n{end}" for start, end in edges]
    return "\n".join(lines) + "\n"


def _dot(nodes: list[_Node], edges: list[tuple[int, int]]) -> str:
    shapes = {"leaf": "box, style=rounded", "op": "box", "constant": "ellipse"}
    lines = ["digraph {", '    node [fontname="sans-serif", fontsize=11]']
    for number, node in enumerate(nodes):
        label = r"\n".join(_escaped(line, {'"': r"\"", "\\": r"\\"}) for line in node.lines)
        lines.append(f'    n{number} [label="{label}", shape={shapes[node.kind]}]')
    lines += [f"    n{start} -> n{end}" for start, end in edges]
    return "\n".join([*lines, "}"]) + "\n"


def _svg(nodes: list[_Node], edges: list[tuple[int, int]]) -> str:
    program = shutil.which("dot")
    if program is None:
        raise RuntimeError(
            "graphviz's program `dot` is not installed; format='mermaid' needs nothing"
        )
    done = subprocess.run(
        [program, "-Tsvg"], input=_dot(nodes, edges), capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        raise RuntimeError(f"graphviz failed: {done.stderr.strip()}")
    return done.stdout


def _escaped(text: str, replacements: Mapping[str, str]) -> str:
    """Each character on its own, so that no replacement is replaced; in one line."""
    text = " ".join(text.split())
    return "".join(replacements.get(character, character) for character in text)


RENDERERS = {"mermaid": _mermaid, "dot": _dot, "svg": _svg}
