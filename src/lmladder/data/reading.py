"""Reading files, and cutting text into pieces of bounded size, which tokenizers encode.

All text in this project is `str`. Bytes that are not UTF-8 are represented as lone surrogates
(PEP 383, "surrogateescape"): the char tokenizer rejects them, the others encode them as the bytes
they are.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from lmladder.system.errors import InputError

MAX_JSON_BYTES = 1 << 28  # of a JSON file; in memory it needs about ten times as many
PIECE_CHARACTERS = 1 << 18  # encoded at a time
CHUNK_CHARACTERS = 1 << 12  # the longest text that a tokenizer encodes as one
# No tokenizer has a token across these cuts, for any text after them: after a word, before a space
# or newline; else after a letter or digit, before neither of these nor an apostrophe.
CUTS = (re.compile(r"(?s:.*)\S(?=[ \n])"), re.compile(r"(?s:.*)[^\W_](?=[^\w'\u2019])"))
_ESCAPED_BYTES = range(0xDC80, 0xDD00)  # surrogateescape represents byte 0x80 as U+DC80, and so on


def text_from_bytes(data: bytes) -> str:
    """Decode UTF-8; a byte that is not UTF-8 becomes a lone surrogate, so none is lost."""
    return data.decode("utf-8", errors="surrogateescape")


def bytes_from_text(text: str) -> bytes:
    """Invert `text_from_bytes`; InputError for surrogates that represent no byte."""
    try:
        return text.encode("utf-8", errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{named(text[error.start])} at offset {error.start} cannot be written as UTF-8"
        ) from error


def require_utf8(text: str, name: str) -> None:
    """Raise InputError, with the name of the text, if it represents bytes that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: {named(text[error.start])} at offset {error.start}") from None


def named(character: str) -> str:
    """Return a character as messages show it."""
    point = ord(character)
    if point in _ESCAPED_BYTES:
        return f"byte 0x{point - 0xDC00:02x} (not UTF-8)"
    return f"{character!r} (U+{point:04X})"


@contextmanager
def opened(path: Path, mode: str = "r") -> Iterator[Any]:
    """Open a file for reading, as text or ("rb") as bytes; any failure is an InputError.

    Lines of a text end in LF, whether they end in LF, CRLF or CR in the file.
    """
    text = {"encoding": "utf-8", "errors": "surrogateescape"}
    options: Any = text if mode == "r" else {}
    try:
        if path.exists() and not path.is_file():
            kind = "a directory" if path.is_dir() else "not a regular file"
            raise InputError(f"cannot read {path}: it is {kind}")
        with path.open(mode, **options) as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def read_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes; InputError if it cannot be read."""
    with opened(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; InputError if it is missing, too large or not valid."""
    with opened(path, "rb") as file:
        return parse_json(file, path)


def parse_json(file: BinaryIO, path: Path) -> dict[str, Any]:
    """Return the JSON object in an open file; InputError, with its path, as for `read_json`."""
    if (size := file.seek(0, os.SEEK_END)) > MAX_JSON_BYTES:
        raise InputError(f"{path} has {size:,} bytes, more than {MAX_JSON_BYTES:,}")
    file.seek(0)
    try:
        value = json.load(file, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} must contain a JSON object")
    return value


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def chunks(pieces: Iterable[str]) -> Iterator[str]:
    """Cut a text given in pieces into chunks of at most CHUNK_CHARACTERS.

    A chunk ends at the last of its `CUTS`; only a text without any is cut where the chunk is full.
    The chunks depend on the text alone, not on its pieces. If several of them, joined, are cut
    again, some that end with a word may be one, which changes no token. Each character is read a
    constant number of times.
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


def whole_chunks(pieces: Iterable[str]) -> Iterator[str]:
    """Regroup a text into pieces of several chunks each, about PIECE_CHARACTERS in total."""
    cut = chunks(pieces)
    while piece := "".join(islice(cut, PIECE_CHARACTERS // CHUNK_CHARACTERS)):
        yield piece
