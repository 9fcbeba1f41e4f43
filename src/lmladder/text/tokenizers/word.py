"""Words as tokens, with spacing that can be undone.

A word carries the space before it: "a cat" is two tokens. Where a word has none, the token GLUE
says so. All else between words, such as punctuation, newlines and further spaces, is spelled in
bytes. So any text whose words are known comes back as it was.
"""

import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from lmladder.arrays import IntArray
from lmladder.config import TokenizerConfig
from lmladder.errors import InputError
from lmladder.text.tokenizers.contract import (
    bytes_from_text,
    ids_in_range,
    last_word_end,
    require_boundary,
    require_keys,
    token_dtype,
    with_boundary,
)

import numpy as np

GLUE = 256  # after the bytes; the word that follows has no space before it
UNK = 257  # where unknown words have a token; then the words
WORD = re.compile(r"\w+(?:['\u2019]\w+)*")  # don't is one
PIECE = re.compile(rf" ?{WORD.pattern}|\W")
UNKNOWN = ("error", "unk")
CACHED_PIECES = 1 << 16


class WordTokenizer:
    """One token a word, for the words it was built with.

    Parameters
    ----------
    words : the vocabulary, each word once
    unknown : what other words are: "error", or "unk" for the token <unk>, which cannot be undone
    """

    name = "word"

    def __init__(self, words: Sequence[str], unknown: str, boundary: int | None = None) -> None:
        if not words or len(set(words)) < len(words):
            raise InputError("a word tokenizer needs its words each once, one or more")
        if wrong := [word for word in words if not WORD.fullmatch(word)]:
            raise InputError(f"a word tokenizer takes no {reprlib.repr(wrong[0])}: it is no word")
        if unknown not in UNKNOWN:
            raise InputError(
                f"what a word tokenizer does with unknown words is one of {', '.join(UNKNOWN)}, "
                f"not {reprlib.repr(unknown)}"
            )
        first = _first_word(unknown)
        self.words = tuple(words)
        self.unknown = unknown
        self.vocabulary_size = first + len(words)
        require_boundary(boundary, self.vocabulary_size)
        self.boundary = boundary
        self._shown = ("<unk>",) * (first - UNK) + self.words  # from UNK on, each with a space
        # Of GLUE, the space that it takes away; of <unk>, its space.
        lengths = [1 + len(word.encode()) for word in words]
        self._bytes_of = np.array([1] * GLUE + [-1] + [1] * (first - UNK) + lengths)
        self._number_of = {word: number for number, word in enumerate(words, start=first)}
        self._tokens = lru_cache(CACHED_PIECES)(self._tokens_of)

    def encode(self, text: str) -> IntArray:
        tokens = chain.from_iterable(map(self._tokens, PIECE.findall(text)))
        try:
            return np.fromiter(tokens, token_dtype(self.vocabulary_size))
        except _UnknownWordError as error:
            piece = error.args[0]
            offset = next(each.start() for each in PIECE.finditer(text) if each.group() == piece)
            word = piece.removeprefix(" ")
            raise InputError(
                f"unknown word {reprlib.repr(word)} at offset {offset + len(piece) - len(word)}: "
                f"this word tokenizer knows {len(self.words)} others"
            ) from None

    def _tokens_of(self, piece: str) -> tuple[int, ...]:
        word = piece.removeprefix(" ")
        token = self._number_of.get(word)
        if token is None:
            if not WORD.match(word):
                return tuple(bytes_from_text(piece))
            if self.unknown == "error":
                raise _UnknownWordError(piece)
            token = UNK
        return (GLUE, token) if piece == word else (token,)

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        """Text of `ids`; a GLUE before no word has no effect, and bytes need not be UTF-8."""
        parts = []
        glued = False
        for token in ids_in_range(ids, self.vocabulary_size).tolist():
            if token < GLUE:
                parts.append(bytes([token]))
            elif token > GLUE:
                parts.append(f"{'' if glued else ' '}{self._shown[token - UNK]}".encode())
            glued = token == GLUE
        return b"".join(parts).decode("utf-8", errors="replace")

    def n_bytes(self, ids: IntArray) -> int:
        return int(self._bytes_of[ids].sum())

    @staticmethod
    def last_cut(text: str) -> int:
        return last_word_end(text)

    def to_json(self) -> dict[str, Any]:
        fields = {"name": self.name, "words": list(self.words), "unknown": self.unknown}
        return with_boundary(fields, self.boundary)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "WordTokenizer":
        require_keys(fields, cls.name, {"words", "unknown"})
        words = fields["words"]
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise InputError("the words of a word tokenizer must be a list of strings")
        return cls(words, fields["unknown"], fields.get("boundary"))

    @classmethod
    def build(
        cls, pieces: Iterable[str], config: TokenizerConfig, *, boundary: str | None, source: str
    ) -> "WordTokenizer":
        """The words of the text, the most frequent first, as many as there is room for."""
        unknown = config.unknown or "error"
        counts: Counter[str] = Counter()
        for piece in pieces:
            counts.update(WORD.findall(piece))
        if not counts:
            raise InputError(f"{source} has no words; the byte tokenizer reads anything")
        words = sorted(counts, key=lambda word: (-counts[word], word))
        size, first = config.vocabulary_size, _first_word(unknown)
        if size is not None and size <= first:
            raise InputError(
                f"tokenizer.vocabulary_size must be more than {first}, which are no words, "
                f"not {size}"
            )
        if size is not None and size < first + len(words):
            if unknown == "error":
                raise InputError(
                    f"tokenizer.vocabulary_size={size} leaves out words of {source}, such as "
                    f"{reprlib.repr(words[size - first])}; it needs {first + len(words)}, "
                    "or tokenizer.unknown=unk"
                )
            words = words[: size - first]
        return cls(words, unknown, None if boundary is None else ord(boundary))


class _UnknownWordError(Exception):
    """A word that is not in the vocabulary, with its space."""


def _first_word(unknown: str) -> int:
    return UNK + (unknown == "unk")
