"""Unicode characters as tokens."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lmladder.arrays import IntArray
from lmladder.config import TokenizerConfig
from lmladder.errors import InputError
from lmladder.text.tokenizers.contract import (
    SURROGATES,
    ids_in_range,
    named,
    require_boundary,
    require_keys,
    token_dtype,
    with_boundary,
)

import numpy as np


class CharTokenizer:
    """One token a Unicode character, for the characters it was built with.

    Parameters
    ----------
    characters : the vocabulary in ascending order, each character once; the n-th is token n
    """

    name = "char"

    def __init__(self, characters: str, boundary: int | None = None) -> None:
        points = _code_points(characters)
        if not len(points) or (np.diff(points.astype(np.int64)) <= 0).any():
            raise InputError("a char tokenizer needs its characters sorted, each once, one or more")
        if any(ord(character) in SURROGATES for character in characters):
            raise InputError("a char tokenizer takes no surrogates: they are not characters")
        require_boundary(boundary, len(characters))
        self.characters = characters
        self.vocabulary_size = len(characters)
        self.boundary = boundary
        self._points = points.astype("<u4")
        self._bytes_of = 1 + np.searchsorted([0x80, 0x800, 0x10000], points, side="right")
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
                f"unknown character {named(text[offset])} at offset {offset}: "
                f"this char tokenizer knows {self.vocabulary_size} others"
            )
        return ids.astype(token_dtype(self.vocabulary_size), copy=False)

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        points = self._points[ids_in_range(ids, self.vocabulary_size)]
        return points.tobytes().decode("utf-32-le")

    def n_bytes(self, ids: IntArray) -> int:
        return int(self._bytes_of[ids].sum())

    @staticmethod
    def last_cut(text: str) -> int:
        return len(text)

    def to_json(self) -> dict[str, Any]:
        return with_boundary({"name": self.name, "characters": self.characters}, self.boundary)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "CharTokenizer":
        require_keys(fields, cls.name, {"characters"})
        if not isinstance(fields["characters"], str):
            raise InputError("the characters of a char tokenizer must be one string")
        return cls(fields["characters"], fields.get("boundary"))

    @classmethod
    def build(
        cls, pieces: Iterable[str], config: TokenizerConfig, *, boundary: str | None, source: str
    ) -> "CharTokenizer":
        seen = np.zeros(sys.maxunicode + 1, np.bool_)
        for piece in _only_utf8(pieces, source):
            seen[_code_points(piece)] = True
        characters = "".join(map(chr, np.flatnonzero(seen).tolist()))
        return cls(characters, None if boundary is None else characters.index(boundary))


def _code_points(text: str) -> IntArray:
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")


def _only_utf8(pieces: Iterable[str], source: str) -> Iterator[str]:
    """The same pieces, or an InputError that tells where in the text the first wrong byte is."""
    offset = 0
    for piece in pieces:
        try:
            length = len(piece.encode("utf-8"))
        except UnicodeEncodeError as error:
            place = offset + len(piece[: error.start].encode("utf-8"))
            raise InputError(
                f"{source}: {named(piece[error.start])} at byte offset {place}; "
                "the char tokenizer reads UTF-8 only, the byte tokenizer reads anything"
            ) from None
        offset += length
        yield piece
