"""Reading files, and cutting text into chunks of bounded size, which tokenizers encode.

All text in this project is `str`. Bytes that are not UTF-8 are represented as lone surrogates
(PEP 383, "surrogateescape"): the char tokenizer rejects them, the others encode them as the bytes
they are.
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lmladder.system.errors import InputError

CHUNK_CHARACTERS = 1 << 18  # the longest text that a tokenizer encodes as one
# No tokenizer has a token across these cuts, for any text after them: after a word, before a space
# or newline; else after a letter or digit, before neither of these nor an apostrophe.
CUTS = (re.compile(r"(?s:.*)\S(?=[ \n])"), re.compile(r"(?s:.*)[^\W_](?=[^\w'\u2019])"))
ESCAPED = re.compile("[\udc80-\udcff]")  # bytes 0x80 to 0xff that are not UTF-8


def text_from_bytes(data: bytes) -> str:
    """Decode UTF-8; a byte that is not UTF-8 becomes a lone surrogate, so none is lost."""
    return data.decode("utf-8", errors="surrogateescape")


def bytes_from_text(text: str) -> bytes:
    """Invert `text_from_bytes`."""
    return text.encode("utf-8", errors="surrogateescape")


def named(character: str) -> str:
    """Return a character as messages show it."""
    if ESCAPED.match(character):
        return f"byte 0x{ord(character) - 0xDC00:02x} (not UTF-8)"
    return f"{character!r} (U+{ord(character):04X})"


@contextmanager
def opened(path: Path, mode: str = "r") -> Iterator[Any]:
    """Open a file for reading, as text or ("rb") as bytes; any failure is an InputError.

    Lines of a text end in LF, whether they end in LF, CRLF or CR in the file.
    """
    text = {"encoding": "utf-8", "errors": "surrogateescape"}
    options: Any = text if mode == "r" else {}
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"cannot read {path}: it is not a regular file")
        with path.open(mode, **options) as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; InputError if it is missing or not valid."""
    try:
        with opened(path, "rb") as file:
            value = json.load(file)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} must contain a JSON object")
    return value


def chunks(pieces: Iterable[str]) -> Iterator[str]:
    """Cut a text given in pieces into chunks of at most CHUNK_CHARACTERS.

    A chunk ends at the last of its `CUTS`; only a text without any is cut where the chunk is full.
    The chunks depend on the text alone, not on its pieces. Each character is read a constant number
    of times.
    """
    text = ""
    for piece in pieces:
        text += piece
        start = 0
        while len(text) - start > CHUNK_CHARACTERS:
            stop = start + CHUNK_CHARACTERS
            matches = (pattern.match(text, start, stop + 1) for pattern in CUTS)
            end = next((match.end() for match in matches if match), stop)
            yield text[start:end]
            start = end
        text = text[start:]
    if text:
        yield text
