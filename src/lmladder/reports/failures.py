"""docs/failures.md: every message with which a command may fail, read from the source.

    python -m lmladder.reports.failures docs/failures.md

makes the list anew; with --check it only tells whether it is stale.
"""

import argparse
import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lmladder.errors import InputError, LadderError, RunError
from lmladder.reports import generated

SOURCE = Path(__file__).resolve().parents[1]
COMMAND = "python -m lmladder.reports.failures docs/failures.md"
STATUS = {each.__name__: each.exit_status for each in (InputError, RunError)}


def messages(source: str) -> Iterator[tuple[int, str]]:
    """(exit status, message) of each failure in a module's source; {name} stands for a value.

    Errors that only hand on another's text have no message of their own.
    """
    tree = ast.parse(source)
    constants = {
        name: text
        for node in tree.body
        if isinstance(node, ast.Assign)
        for name, text in _constant(node)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Name(id=name), args=[ast.Constant() | ast.JoinedStr() as message]
            ) if name in STATUS:
                yield STATUS[name], _template(message, constants)


def _constant(node: ast.Assign) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))):
            yield name, text


def _template(message: ast.expr, constants: Mapping[str, str]) -> str:
    """The text of a string or f-string, with the names of its values."""
    match message:
        case ast.Constant(value=text):
            return str(text)
        case ast.JoinedStr(values=parts):
            return "".join(_template(part, constants) for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name)) if name in constants:
            return constants[name]
        case ast.FormattedValue(value=value):
            return f"{{{_name(value)}}}"
    raise ValueError(f"no part of an f-string: {ast.unparse(message)}")


def _name(value: ast.expr) -> str:
    """What a reader may call a value: its own name, or that of what it is made from."""
    match value:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_").lower()
        case ast.Call(func=ast.Attribute(value=ast.Constant()), args=[inner, *_]):
            return _name(inner)  # ", ".join(choices)
        case ast.Call(args=[inner, *_]) | ast.Subscript(value=inner):
            return _name(inner)
        case ast.BoolOp(values=[first, *_]):
            return _name(first)
        case ast.Call(func=inner):
            return _name(inner)
    return "..."


def listing(source: Path = SOURCE) -> str:
    """A table for each module that may fail, in the order of their paths."""
    parts = []
    for path in sorted(source.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if found := sorted({*messages(text)}, key=lambda each: (-each[0], each[1].lower())):
            summary = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0]
            lines = [f"## {path.relative_to(source).as_posix()}", "", summary, ""]
            lines += ["| exit | message |", "| --- | --- |"]
            lines += [f"| {status} | {_cell(message)} |" for status, message in found]
            parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _cell(message: str) -> str:
    """As code; GitHub takes a bar for the end of a cell even there."""
    text = message.replace("|", "\\|")
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--check", action="store_true", help="fail if it is stale")
    options = parser.parse_args(arguments)
    makers = {"failures": lambda _: listing()}
    try:
        generated.update(options.path, makers, command=COMMAND, check=options.check)
    except LadderError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
