"""What the rungs wrote: reading samples.txt, and making any model's text fit to be shown."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from lmladder.errors import InputError

T = TypeVar("T")

HEADING = re.compile(r"^== (\S+) ==\n", re.MULTILINE)  # of each model, where one file holds several


def read_samples(path: Path) -> dict[str, str]:
    """The text of each model in a stage's samples.txt, which may be any bytes.

    A file without headings is by the model that its folder is named after.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    before, *parts = HEADING.split(text)
    if before or not parts:
        return {path.parent.name: printable(text)}
    return {name: printable(part) for name, part in zip(parts[::2], parts[1::2], strict=True)}


def printable(text: str) -> str:
    """`text` with U+FFFD for what no page can show: control characters and half characters."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t"
        else character
        for character in text.replace("\r\n", "\n")
    ).strip("\n")


def by_ladder(samples: Mapping[str, T], models: Sequence[str]) -> dict[str, T]:
    """What there is of each model, in the order of `models`; others come last, by name."""
    place = {model: index for index, model in enumerate(models)}
    return {
        name: samples[name] for name in sorted(samples, key=lambda n: (place.get(n, len(place)), n))
    }
