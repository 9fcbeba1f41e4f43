"""docs/failures.md: every message with which a command may fail, what it means, and what to do.

    python -m lmladder.reports.failures docs/failures.md

makes the list anew from the source and docs/failures.yaml, which explains each message; with
--check it only tells whether it is stale. A message without explanation is an error.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmladder.errors import InputError, LadderError, RunError
from lmladder.reports import generated

import yaml

SOURCE = Path(__file__).resolve().parents[1]
COMMAND = "python -m lmladder.reports.failures docs/failures.md"
HEAD = ("| exit | message | meaning | remedy |", "| --- | --- | --- | --- |")
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
        case ast.Constant(value=str(text)):
            return text
        case ast.Call(func=ast.Name(id="map"), args=[_, inner]):
            return _name(inner)  # map(str, paths)
        case ast.Call(func=ast.Attribute(attr="get"), args=[key, *_]):
            return _name(key)
        case ast.Call(args=[inner, *_]) | ast.Subscript(value=inner):
            return _name(inner)  # ", ".join(choices) too
        case ast.Call(func=ast.Attribute(value=inner)):
            return _name(inner)  # text.strip()
        case ast.BoolOp(values=[first, *_]) | ast.BinOp(left=first, op=ast.Add()):
            return _name(first)
        case ast.BinOp(right=last):
            return _name(last)  # folder / name
        case ast.IfExp(body=one, orelse=other):
            return f"{_name(one)} or {_name(other)}"
    return "..."


@dataclass(frozen=True)
class Explanation:
    """What one or several messages of a module have in common.

    Attributes
    ----------
    messages : with {name} for each value
    meaning : what has happened
    remedy : what to do; None where each message ends with it, behind its last semicolon
    """

    messages: Sequence[str]
    meaning: str
    remedy: str | None = None

    def remedies(self) -> list[str]:
        """Each once. InputError if a message neither has nor is given one."""
        if self.remedy:
            return [self.remedy]
        told = {message: message.rpartition("; ")[2] for message in self.messages}
        for message, remedy in told.items():
            if remedy == message or (remedy.startswith("{") and remedy.endswith("}")):
                raise InputError(f"the message `{message}` ends with no remedy; give it one")
        return list(dict.fromkeys(told.values()))


def explanations(path: Path) -> dict[str, list[Explanation]]:
    """Those in a file, by module; InputError if it cannot be read."""
    try:
        modules = yaml.safe_load(path.read_text(encoding="utf-8")).items()
        return {module: [Explanation(**entry) for entry in entries] for module, entries in modules}
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read {path}: {' '.join(str(error).split())}") from None


def listing(explained: Mapping[str, Sequence[Explanation]], source: Path = SOURCE) -> str:
    """A table for each module that may fail, in the order of their paths.

    Raises
    ------
    InputError
        If a message has no meaning or no remedy, or one that is explained is nowhere in the source.
    """
    parts = []
    written = {path.relative_to(source).as_posix(): path for path in sorted(source.rglob("*.py"))}
    for module in [*written, *(explained.keys() - written.keys())]:
        text = written[module].read_text(encoding="utf-8") if module in written else ""
        status = {message: code for code, message in messages(text)}
        rows = explained.get(module, [])
        _require_the_same(module, status, [each for row in rows for each in row.messages])
        if rows:
            summary = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0]
            lines = [f"## {module}", "", summary, "", *HEAD, *(_row(row, status) for row in rows)]
            parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _require_the_same(module: str, found: Mapping[str, int], explained: Sequence[str]) -> None:
    """InputError unless each message of a module is explained once, and no others are."""
    for message in found:
        if message not in explained:
            raise InputError(f"{module} has the message `{message}`, which is not explained")
    for message in explained:
        if message not in found:
            raise InputError(f"{module} has no message `{message}`, which is explained")
        if explained.count(message) > 1:
            raise InputError(f"{module} has its message `{message}` explained twice")


def _row(row: Explanation, status: Mapping[str, int]) -> str:
    codes = sorted({status[message] for message in row.messages}, reverse=True)
    told = "<br>".join(map(_cell, row.messages))
    remedies = "<br>".join(_sentence(each) for each in row.remedies())
    return f"| {', '.join(map(str, codes))} | {told} | {row.meaning} | {remedies} |"


def _sentence(remedy: str) -> str:
    """The end of a message as a sentence, where it is not one; what it names stands as code."""
    text = remedy if "`" in remedy else re.sub(r"\S*\{\w+\}\S*", r"`\g<0>`", remedy)
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def _cell(message: str) -> str:
    """As code; GitHub takes a bar for the end of a cell even there."""
    text = message.replace("|", "\\|")
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--check", action="store_true", help="fail if it is stale")
    options = parser.parse_args(arguments)
    try:
        explained = explanations(options.path.with_suffix(".yaml"))
        makers = {"failures": lambda _: listing(explained)}
        generated.update(options.path, makers, command=COMMAND, check=options.check)
    except LadderError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
