"""Documents whose numbers a command writes, and a test can tell to be stale.

A generated part stands between `<!-- generated: NAME -->`, with further words behind the name if
its maker takes some, and `<!-- end generated -->`, both on lines of their own.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from lmladder.system.errors import InputError, RunError
from lmladder.system.files import atomic_write

Maker: TypeAlias = Callable[[Sequence[str]], str]  # from the words behind a part's name to its text

PART = re.compile(
    r"^(<!-- generated: (\w+)((?: \w+)*) -->\n)(.*?)^(<!-- end generated -->)$",
    re.MULTILINE | re.DOTALL,
)
MARKER = re.compile(r"^<!-- generated\b.*$", re.MULTILINE)


def regenerated(text: str, makers: Mapping[str, Maker], *, others: Sequence[str] = ()) -> str:
    """A document's `text` with its generated parts made anew.

    Parameters
    ----------
    makers : what makes each part, by its name
    others : names of parts that stay as they are, because another command makes them

    Raises
    ------
    InputError
        If there is no part, an unknown or an unfinished one, or a maker cannot make it.
    """
    parts = list(PART.finditer(text))
    if not parts or len(parts) != len(MARKER.findall(text)):
        raise InputError(
            "each generated part needs a line <!-- generated: NAME --> before it "
            "and a line <!-- end generated --> after it"
        )

    def made(part: re.Match[str]) -> str:
        name = part[2]
        if name in others:
            return part[0]
        if name not in makers:
            raise InputError(f"unknown generated part {name!r}; choose from {sorted(makers)}")
        return f"{part[1]}\n{makers[name](part[3].split()).rstrip()}\n\n{part[5]}"

    return PART.sub(made, text)


def update(
    path: Path,
    makers: Mapping[str, Maker],
    *,
    others: Sequence[str] = (),
    command: str,
    check: bool = False,
) -> None:
    """Bring the file at `path` up to date; with `check`, only tell whether it is.

    Raises
    ------
    InputError
        If the file cannot be read, or as `regenerated` does.
    RunError
        If it is stale and only to be checked; the message names `command`, which updates it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from error
    try:
        fresh = regenerated(text, makers, others=others)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if fresh == text:
        return
    if check:
        raise RunError(f"{path} is stale; run: {command}")
    atomic_write(path, fresh.encode("utf-8"))
