"""Documents with generated parts, which a command updates and a test checks.

A generated part is between the lines `<!-- generated: NAME -->` and `<!-- end generated -->`. Words
after the name are arguments of its maker.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from lmladder.system.errors import InputError, RunError
from lmladder.system.files import atomic_write

Maker: TypeAlias = Callable[[Sequence[str]], str]  # returns the text of a part for its arguments

PART = re.compile(
    r"^(<!-- generated: (\w+)((?: \w+)*) -->\n)(.*?)^(<!-- end generated -->)$",
    re.MULTILINE | re.DOTALL,
)
MARKER = re.compile(r"^<!-- generated\b.*$", re.MULTILINE)


def regenerated(text: str, makers: Mapping[str, Maker]) -> str:
    """Return a document's `text` with its generated parts updated.

    Parameters
    ----------
    makers : the function that makes each part, by name

    Raises
    ------
    InputError
        If there is no part, a part is unknown or has no end, or its maker fails.
    """
    parts = list(PART.finditer(text))
    if not parts or len(parts) != len(MARKER.findall(text)):
        raise InputError(
            "each generated part needs a line <!-- generated: NAME --> before it "
            "and a line <!-- end generated --> after it"
        )

    def made(part: re.Match[str]) -> str:
        if part[2] not in makers:
            raise InputError(f"unknown generated part {part[2]!r}; choose from {sorted(makers)}")
        return f"{part[1]}\n{makers[part[2]](part[3].split()).rstrip()}\n\n{part[5]}"

    return PART.sub(made, text)


def update(path: Path, makers: Mapping[str, Maker], *, command: str, check: bool = False) -> None:
    """Update the file at `path`; with `check`, only check whether it is up to date.

    Raises
    ------
    InputError
        If the file cannot be read, or as `regenerated`.
    RunError
        If `check` finds the file stale; the message names `command`, which updates it.
    """
    try:
        text = path.read_text(encoding="utf-8")
        fresh = regenerated(text, makers)
    except (OSError, UnicodeError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if fresh == text:
        return
    if check:
        raise RunError(f"{path} is stale; run: {command}")
    atomic_write(path, fresh.encode("utf-8"))
