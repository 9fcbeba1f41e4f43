"""What every tokenizer does, and what several of them share.

All text in this project is `str`. Bytes that are not UTF-8 travel inside a `str` as lone
surrogates (PEP 383, "surrogateescape"): the char tokenizer refuses them, the others take them as
the bytes they are.
"""

import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from lmladder.arrays import IntArray
from lmladder.config import TokenizerConfig
from lmladder.errors import InputError

import numpy as np

SURROGATES = range(0xD800, 0xE000)
_ESCAPED_BYTES = range(0xDC80, 0xDD00)  # surrogateescape writes byte 0x80 as U+DC80, and so on
_UP_TO_THE_LAST_WORD_END = re.compile(r"(?s:.*)\S(?=[ \n])")


def text_from_bytes(data: bytes) -> str:
    """UTF-8 to text; a byte that is not UTF-8 becomes a lone surrogate, so none is lost."""
    return data.decode("utf-8", errors="surrogateescape")


def bytes_from_text(text: str) -> bytes:
    """The inverse of `text_from_bytes`; InputError for surrogates that stand for no byte."""
    try:
        return text.encode("utf-8", errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{named(text[error.start])} at offset {error.start} cannot be written as UTF-8"
        ) from error


def token_dtype(vocabulary_size: int) -> np.dtype[Any]:
    """The smallest unsigned dtype that holds every token of a vocabulary."""
    return np.min_scalar_type(vocabulary_size - 1)


class Tokenizer(Protocol):
    """What every tokenizer does; `TOKENIZERS` lists those there are.

    Attributes
    ----------
    boundary : the token that closes a document, and so opens the next: a prompt of it alone asks
        for a new document, and generation may stop at it; None where the text was no documents
    """

    name: str
    vocabulary_size: int
    boundary: int | None

    def encode(self, text: str) -> IntArray:
        """Tokens of `text`, shape (tokens,), dtype `token_dtype(vocabulary_size)`."""

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        """Text of any sequence of ids in [0, vocabulary_size); ValueError for other ids."""

    def n_bytes(self, ids: IntArray) -> int:
        """How many bytes of UTF-8 the tokens of a text stand for, the divisor of bits per byte.

        Exact: those of the text itself, less those of words that an <unk> only says were there.
        """

    @staticmethod
    def last_cut(text: str) -> int:
        """The last offset at which the beginning of a text may be cut from what follows it.

        Encoding the parts then gives the tokens of the whole; 0 where there is no such place.
        """

    def to_json(self) -> dict[str, Any]:
        """All that `from_json` needs to make this tokenizer again, and its name."""

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Tokenizer":
        """The tokenizer that `to_json` described; InputError if `fields` describe none."""

    @classmethod
    def build(
        cls, pieces: Iterable[str], config: TokenizerConfig, *, boundary: str | None, source: str
    ) -> "Tokenizer":
        """The tokenizer that fits a text in pieces, which end where `last_cut` allows it.

        Parameters
        ----------
        boundary : the character that closes each document of the text, if it has documents
        source : names the text in error messages
        """


def encode_pieces(tokenizer: Tokenizer, pieces: Iterable[str]) -> Iterator[IntArray]:
    """The tokens of a text in pieces, the same as if it were encoded whole."""
    return map(tokenizer.encode, recut(pieces, tokenizer.last_cut))


def recut(pieces: Iterable[str], last_cut: Callable[[str], int]) -> Iterator[str]:
    """The same text, in pieces that end where `last_cut` allows it."""
    held = ""
    for piece in pieces:
        held += piece
        if cut := last_cut(held):
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held


def last_word_end(text: str) -> int:
    """Where the last word ends behind which a space or newline is seen; 0 if there is none.

    A tokenizer may join white space to what follows it, and to more of its kind, so this is the
    only border at which no token can straddle, and which no later text can move.
    """
    match = _UP_TO_THE_LAST_WORD_END.match(text)
    return match.end() if match else 0


def require_keys(fields: Mapping[str, Any], name: str, keys: AbstractSet[str]) -> None:
    """InputError unless `fields` are these, and perhaps a boundary."""
    if fields.keys() - {"boundary"} != keys | {"name"}:
        raise InputError(
            f"a {name} tokenizer is described by {sorted(keys | {'name'})}, "
            f"not by {reprlib.repr(sorted(map(str, fields)))}"
        )


def require_boundary(boundary: object, vocabulary_size: int) -> None:
    """InputError unless this is a token, or None."""
    known = type(boundary) is int and 0 <= boundary < vocabulary_size
    if boundary is not None and not known:
        raise InputError(
            f"the boundary of a tokenizer is one of its {vocabulary_size} tokens, "
            f"not {reprlib.repr(boundary)}"
        )


def with_boundary(fields: dict[str, Any], boundary: int | None) -> dict[str, Any]:
    """`fields` for to_json, and the boundary where there is one."""
    return fields if boundary is None else {**fields, "boundary": boundary}


def ids_in_range(ids: Sequence[int] | IntArray, vocabulary_size: int) -> IntArray:
    """These ids as an array; ValueError if one is no token."""
    array = np.asarray(ids) if len(ids) else np.empty(0, np.uint8)
    if array.size and not 0 <= array.min() <= array.max() < vocabulary_size:
        raise ValueError(f"token ids must be in [0, {vocabulary_size})")
    return array


def named(character: str) -> str:
    """A character for a message."""
    point = ord(character)
    if point in _ESCAPED_BYTES:
        return f"byte 0x{point - 0xDC00:02x} (not UTF-8)"
    return f"{character!r} (U+{point:04X})"
