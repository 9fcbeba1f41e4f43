"""Text to token numbers and back.

All text in this project is `str`. Bytes that are not UTF-8 travel inside a `str` as lone
surrogates (PEP 383, "surrogateescape"): the byte tokenizer takes them as the bytes they are, and
the char tokenizer refuses them.
"""

import reprlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from lmladder.arrays import IntArray
from lmladder.errors import InputError

import numpy as np

_SURROGATES = range(0xD800, 0xE000)
_ESCAPED_BYTES = range(0xDC80, 0xDD00)  # surrogateescape writes byte 0x80 as U+DC80, and so on


def text_from_bytes(data: bytes) -> str:
    """UTF-8 to text; a byte that is not UTF-8 becomes a lone surrogate, so none is lost."""
    return data.decode("utf-8", errors="surrogateescape")


def bytes_from_text(text: str) -> bytes:
    """The inverse of `text_from_bytes`; InputError for surrogates that stand for no byte."""
    try:
        return text.encode("utf-8", errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{_named(text[error.start])} at offset {error.start} cannot be written as UTF-8"
        ) from error


def token_dtype(vocabulary_size: int) -> np.dtype[Any]:
    """The smallest unsigned dtype that holds every token of a vocabulary."""
    return np.min_scalar_type(vocabulary_size - 1)


class Tokenizer(Protocol):
    """What every tokenizer does; `TOKENIZERS` lists those there are."""

    name: str
    vocabulary_size: int

    def encode(self, text: str) -> IntArray:
        """Tokens of `text`, shape (tokens,), dtype `token_dtype(vocabulary_size)`."""

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        """Text of any sequence of ids in [0, vocabulary_size); ValueError for other ids."""

    def to_json(self) -> dict[str, Any]:
        """All that `from_json` needs to make this tokenizer again, and its name."""

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Tokenizer":
        """The tokenizer that `to_json` described; InputError if `fields` describe none."""

    @classmethod
    def build(cls, pieces: Iterable[str], *, source: str = "the text") -> "Tokenizer":
        """The tokenizer that fits a text in pieces; `source` names it in error messages."""


class ByteTokenizer:
    """One token a byte of UTF-8: 256 tokens, whatever the text."""

    name = "byte"
    vocabulary_size = 256

    def encode(self, text: str) -> IntArray:
        return np.frombuffer(bytes_from_text(text), dtype=np.uint8)

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        """Text of `ids`; bytes that are not UTF-8, such as half a character, become U+FFFD."""
        data = _ids_in_range(ids, self.vocabulary_size).astype(np.uint8).tobytes()
        return data.decode("utf-8", errors="replace")

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "ByteTokenizer":
        _require_keys(fields, cls.name, {"name"})
        return cls()

    @classmethod
    def build(cls, pieces: Iterable[str], *, source: str = "the text") -> "ByteTokenizer":
        return cls()


class CharTokenizer:
    """One token a Unicode character, for the characters it was built with.

    Parameters
    ----------
    characters : the vocabulary in ascending order, each character once; the n-th is token n
    """

    name = "char"

    def __init__(self, characters: str) -> None:
        points = _code_points(characters)
        if not len(points) or (np.diff(points.astype(np.int64)) <= 0).any():
            raise InputError("a char tokenizer needs its characters sorted, each once, one or more")
        if any(ord(character) in _SURROGATES for character in characters):
            raise InputError("a char tokenizer takes no surrogates: they are not characters")
        self.characters = characters
        self.vocabulary_size = len(characters)
        self._points = points.astype("<u4")
        # The table ends with one entry for all code points above the highest known.
        self._token_of = np.full(
            int(points[-1]) + 2, self.vocabulary_size, np.min_scalar_type(self.vocabulary_size)
        )
        self._token_of[points] = np.arange(self.vocabulary_size)

    def encode(self, text: str) -> IntArray:
        ids = self._token_of.take(_code_points(text), mode="clip")
        unknown = ids == self.vocabulary_size
        if unknown.any():
            offset = int(unknown.argmax())
            raise InputError(
                f"unknown character {_named(text[offset])} at offset {offset}: "
                f"this char tokenizer knows {self.vocabulary_size} others"
            )
        return ids.astype(token_dtype(self.vocabulary_size), copy=False)

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        points = self._points[_ids_in_range(ids, self.vocabulary_size)]
        return points.tobytes().decode("utf-32-le")

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "characters": self.characters}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "CharTokenizer":
        _require_keys(fields, cls.name, {"name", "characters"})
        if not isinstance(fields["characters"], str):
            raise InputError("the characters of a char tokenizer must be one string")
        return cls(fields["characters"])

    @classmethod
    def build(cls, pieces: Iterable[str], *, source: str = "the text") -> "CharTokenizer":
        seen = np.zeros(sys.maxunicode + 1, np.bool_)
        for piece in _only_utf8(pieces, source):
            seen[_code_points(piece)] = True
        return cls("".join(map(chr, np.flatnonzero(seen).tolist())))


TOKENIZERS: dict[str, type[Tokenizer]] = {"byte": ByteTokenizer, "char": CharTokenizer}


def build_tokenizer(name: str, pieces: Iterable[str], *, source: str = "the text") -> Tokenizer:
    """The tokenizer called `name`, fitted to a text in pieces; `source` names it in errors."""
    return _tokenizer_class(name).build(pieces, source=source)


def tokenizer_from_json(fields: object) -> Tokenizer:
    """The tokenizer that `Tokenizer.to_json` described.

    Raises
    ------
    InputError
        If `fields`, which may come from anyone's file, describe no tokenizer.
    """
    if not isinstance(fields, dict):
        raise InputError(f"a tokenizer is described by an object, not by {reprlib.repr(fields)}")
    return _tokenizer_class(fields.get("name")).from_json(fields)


def _tokenizer_class(name: object) -> type[Tokenizer]:
    if not isinstance(name, str) or name not in TOKENIZERS:
        raise InputError(
            f"unknown tokenizer {reprlib.repr(name)}; choose from {sorted(TOKENIZERS)}"
        )
    return TOKENIZERS[name]


def _require_keys(fields: Mapping[str, Any], name: str, keys: set[str]) -> None:
    if fields.keys() != keys:
        raise InputError(
            f"a {name} tokenizer is described by {sorted(keys)}, "
            f"not by {reprlib.repr(sorted(map(str, fields)))}"
        )


def _ids_in_range(ids: Sequence[int] | IntArray, vocabulary_size: int) -> IntArray:
    array = np.asarray(ids) if len(ids) else np.empty(0, np.uint8)
    if array.size and not 0 <= array.min() <= array.max() < vocabulary_size:
        raise ValueError(f"token ids must be in [0, {vocabulary_size})")
    return array


def _code_points(text: str) -> IntArray:
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")


def _named(character: str) -> str:
    point = ord(character)
    if point in _ESCAPED_BYTES:
        return f"byte 0x{point - 0xDC00:02x} (not UTF-8)"
    return f"{character!r} (U+{point:04X})"


def _only_utf8(pieces: Iterable[str], source: str) -> Iterator[str]:
    """The same pieces, or an InputError that tells where in the text the first wrong byte is."""
    offset = 0
    for piece in pieces:
        try:
            length = len(piece.encode("utf-8"))
        except UnicodeEncodeError as error:
            place = offset + len(piece[: error.start].encode("utf-8"))
            raise InputError(
                f"{source}: {_named(piece[error.start])} at byte offset {place}; "
                "the char tokenizer reads UTF-8 only, the byte tokenizer reads anything"
            ) from None
        offset += length
        yield piece
