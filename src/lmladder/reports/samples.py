"""The file samples.txt, and the replacement of characters that a page cannot show."""

import re
from collections.abc import Mapping
from pathlib import Path

from lmladder.system.errors import InputError

HEADING = re.compile(r"^== (\S+) ==\r?\n", re.MULTILINE)  # of each model
UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def to_text(samples: Mapping[str, str]) -> str:
    """Return the content of samples.txt for the samples of each model."""
    return "\n".join(f"== {name} ==\n{text}\n" for name, text in samples.items())


def read_samples(path: Path) -> dict[str, str]:
    """Read the text of each model in a samples.txt, which may contain any bytes.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    _, *parts = HEADING.split(text)
    return {name: printable(part) for name, part in zip(parts[::2], parts[1::2], strict=True)}


def printable(text: str) -> str:
    """Return `text` with U+FFFD for control characters and surrogates."""
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n")).strip("\n")
