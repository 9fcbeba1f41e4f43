"""Break each pullback in many ways, and see whether the cases of its op notice.

Each mutant is one small change of one pullback, or of a function that only pullbacks call: a
returned gradient gets another sign, a factor of 1.001 or its axes reversed; inside, an operator, a
constant, a comparison or a subscript becomes another, or a call, a statement or a `.T` is left out.
A mutant is caught if a case or a kink of the broken op fails.
"""

import ast
import copy
import inspect
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from lmladder.autograd import OPS, functional
from lmladder.kernels import blocks, reference, tiles
from tests.autograd.cases import cases_of, failures

import numpy as np

MODULES = functional, tiles, blocks, reference
RESULT_KINDS = ["sign", "factor", "axes"]  # of mutants with a wrong gradient


@dataclass(frozen=True)
class Mutant:
    """`function` of `op` with other code, which has one change."""

    op: str
    function: FunctionType
    change: str
    code: CodeType

    def __str__(self) -> str:
        return f"{self.op}: {self.function.__name__}: {self.change}"


# ------------------------------------------------------------------------------- making mutants


def mutants(op: str) -> Iterator[Mutant]:
    """Yield every mutant of an op: of its pullback's results, then of what is inside."""
    function = inspect.unwrap(OPS[op])
    tree, (_, pullback) = _tree(function), _parts(op)
    inputs = max(len(case.draws) for case in cases_of(op))
    for change, changed in with_wrong_results(tree, pullback.name, inputs):
        yield Mutant(op, function, change, _code(changed, function))
    parts = [(function, tree, _within(tree, None))]
    for helper in backward_functions(op):
        tree = _tree(helper)
        parts.append((helper, tree, list(ast.walk(tree))))
    for each, tree, nodes in parts:
        for change, changed in with_changes(tree, nodes):
            yield Mutant(op, each, change, _code(changed, each))


def with_wrong_results(tree: Any, name: str, count: int) -> Iterator[tuple[str, Any]]:
    """Yield `tree` with each wrong gradient returned by the pullback `name`, after its change."""
    for kind in RESULT_KINDS:
        for position in range(count):
            changed = copy.deepcopy(tree)
            for node in _within(changed, name):
                if isinstance(node, ast.Return):
                    call = ast.parse(f"_broken(None, {kind!r}, {position})", mode="eval").body
                    call.args[0], node.value = node.value, call  # type: ignore[attr-defined]
            yield f"{kind} of result {position}", changed


def _within(tree: ast.AST, name: str | None) -> list[ast.AST]:
    """Return the nodes of a function in the first function of `tree`, or of all such functions."""
    inner = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)][1:]
    return [node for each in inner if name in (None, each.name) for node in ast.walk(each)]


def backward_functions(op: str) -> list[FunctionType]:
    """Return the functions outside of an op that its pullback calls, and no op calls forward."""
    forward = set[FunctionType]()
    for each in OPS:
        forward |= _called(_parts(each)[0])
    return sorted(_called(_parts(op)[1]) - forward, key=lambda each: each.__name__)


def _parts(op: str) -> tuple[ast.FunctionDef, ast.FunctionDef]:
    """Return the syntax trees of an op without its pullback, and of the pullback."""
    tree = _tree(inspect.unwrap(OPS[op]))
    (pullback,) = (each for each in tree.body if getattr(each, "name", "") == f"{op}_pullback")
    tree.body.remove(pullback)
    return tree, pullback


def _called(tree: ast.AST) -> set[FunctionType]:
    """Return the functions of ops and kernels that are named in a tree, or in such a function.

    A kernel in `reference` has the name of the function of `kernels` that selects it.
    """
    found = set[FunctionType]()
    trees = [tree]
    while trees:
        for node in ast.walk(trees.pop()):
            match node:
                case ast.Attribute(ast.Name("np")):
                    continue
                case ast.Attribute(attr=name) | ast.Name(id=name) | ast.Constant(str(name)):
                    named = {vars(module).get(name) for module in MODULES}
                    new = {each for each in named if _is_plain_function(each)} - found
                    trees += map(_tree, new)
                    found |= new
    return found


def _is_plain_function(given: Any) -> bool:
    own = isinstance(given, FunctionType) and not hasattr(given, "__wrapped__")
    return own and given.__module__ in [each.__name__ for each in MODULES]


def _tree(function: Callable[..., Any]) -> ast.FunctionDef:
    """Return a function without its decorators and docstring."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(tree, ast.FunctionDef)
    tree.decorator_list = []
    if ast.get_docstring(tree) is not None:
        del tree.body[0]
    return tree


def _broken(gradients: tuple[Any, ...], kind: str, position: int) -> tuple[Any, ...]:
    """Return the gradients with one broken: that at `position` among those that are not None."""
    differentiable = [i for i, each in enumerate(gradients) if each is not None]
    if position >= len(differentiable):  # a row with fewer arrays
        return gradients
    where = differentiable[position]
    old = np.asarray(gradients[where])
    new = {"sign": -old, "factor": old * old.dtype.type(1.001)}.get(kind)
    if new is None:  # the numbers in the order of the reversed axes; of a vector, from the end
        new = (old[::-1] if old.ndim == 1 else old.T).reshape(old.shape)
    return (*gradients[:where], new, *gradients[where + 1 :])


def with_changes(tree: Any, nodes: list[ast.AST]) -> Iterator[tuple[str, Any]]:
    """Yield `tree` with each change of one of `nodes`, which are parts of it, after the change."""
    for index, node in enumerate(ast.walk(tree)):
        for new in _changed(node) if node in nodes else ():
            changed = copy.deepcopy(tree)
            target = list(ast.walk(changed))[index]
            replaced = _Replace(target, new).visit(changed)
            yield f"{ast.unparse(node)}  ->  {ast.unparse(new)}", replaced


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST):
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else super().generic_visit(node)


PAIRS: list[tuple[type, type]] = [
    (ast.Add, ast.Sub), (ast.Mult, ast.Div),
    (ast.Eq, ast.NotEq), (ast.Gt, ast.Lt), (ast.GtE, ast.LtE),
]  # fmt: skip
SWAPS = dict(PAIRS) | {other: one for one, other in PAIRS}


def _changed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield other nodes that could replace a node by mistake."""
    match node:
        case ast.BinOp(left, operator, right) if type(operator) in SWAPS:
            yield ast.BinOp(left, SWAPS[type(operator)](), right)
        case ast.AugAssign(target, operator, value) if type(operator) in SWAPS:
            yield ast.AugAssign(target, SWAPS[type(operator)](), value)
        case ast.Compare(left, [operator], [right]) if type(operator) in SWAPS:
            yield ast.Compare(left, [SWAPS[type(operator)]()], [right])
        case ast.UnaryOp(ast.USub(), operand):
            yield operand
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(float(value)):
            yield ast.Constant(value * 1.01)
        case ast.Constant(str(value)) if "->" in value and "," in value:  # of einsum
            left, right = value.split("->")
            spare = [x for x in left if x.isalpha() and x not in right]
            if spare and right:
                yield ast.Constant(f"{left}->{spare[0]}{right[1:]}")
        case ast.Attribute(value, "T"):
            yield value
        case ast.Call(ast.Attribute(ast.Name("np"), "where"), [condition, a, b]):
            yield ast.Call(node.func, [condition, b, a], [])
        case ast.Call(ast.Attribute(ast.Name("np" | "kernels")), [first, *_]):
            yield first
        case ast.Call(ast.Attribute(value)):
            yield value
        case ast.If(test, body, orelse):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
    match node:
        case ast.AugAssign() | ast.Assign([ast.Subscript()]) | ast.Expr():
            yield ast.Pass()


def _code(tree: ast.FunctionDef, function: Callable[..., Any]) -> CodeType:
    """Return the code of `tree`, compiled among the names of the module of `function`."""
    module = ast.fix_missing_locations(ast.Module([tree], type_ignores=[]))
    made: dict[str, Any] = {}
    with warnings.catch_warnings(action="ignore"):  # of odd code in a mutant
        code = compile(module, f"<mutant of {function.__name__}>", "exec")
    exec(code, function.__globals__, made)
    return made[tree.name].__code__


# ------------------------------------------------------------------------------- catching them


@contextmanager
def broken(mutant: Mutant) -> Iterator[None]:
    """Within this context the function runs the mutant's code, wherever it is called."""
    original = mutant.function.__code__
    mutant.function.__globals__["_broken"] = _broken
    mutant.function.__code__ = mutant.code
    try:
        yield
    finally:
        mutant.function.__code__ = original
        del mutant.function.__globals__["_broken"]


def is_caught(mutant: Mutant) -> bool:
    """Return whether a case or a kink of the op fails or raises; fast checks come first."""
    with broken(mutant), warnings.catch_warnings(action="ignore"):
        try:
            return any(failures(mutant.op))
        except Exception:  # whatever a wrong pullback causes in NumPy or in the engine
            return True
