"""Words between white space as tokens, as TinyLM has them."""

import reprlib
from collections.abc import Iterable, Mapping, Sequence
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


class WhitespaceTokenizer:
    """One token a word, for words known beforehand; which white space is between them is lost.

    It comes with models of other programs. A text of one's own is better served by `word`, which
    can undo what it does.

    Parameters
    ----------
    words : the vocabulary, each word once; the n-th is token n
    """

    name = "whitespace"

    def __init__(self, words: Sequence[str], boundary: int | None = None) -> None:
        if not words or len(set(words)) < len(words):
            raise InputError("a whitespace tokenizer needs its words each once, one or more")
        if wrong := [word for word in words if word.split() != [word]]:
            raise InputError(f"a whitespace tokenizer takes no {reprlib.repr(wrong[0])}")
        require_boundary(boundary, len(words))
        self.words = tuple(words)
        self.vocabulary_size = len(words)
        self.boundary = boundary
        self._number_of = {word: number for number, word in enumerate(words)}
        # Each with one white space, which is what separates it from the next at least.
        self._bytes_of = np.array([len(bytes_from_text(word)) + 1 for word in words])

    def encode(self, text: str) -> IntArray:
        words = text.split()
        try:
            tokens = [self._number_of[word] for word in words]
        except KeyError as error:
            raise InputError(
                f"unknown word {reprlib.repr(error.args[0])}: "
                f"this whitespace tokenizer knows {len(self.words)} others"
            ) from None
        return np.array(tokens, token_dtype(self.vocabulary_size))

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        """The words with a space between."""
        tokens = ids_in_range(ids, self.vocabulary_size).tolist()
        return " ".join(self.words[token] for token in tokens)

    def n_bytes(self, ids: IntArray) -> int:
        """The bytes of the words, and one a word for the white space after it."""
        return int(self._bytes_of[ids].sum())

    @staticmethod
    def last_cut(text: str) -> int:
        return last_word_end(text)

    def to_json(self) -> dict[str, Any]:
        return with_boundary({"name": self.name, "words": list(self.words)}, self.boundary)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "WhitespaceTokenizer":
        require_keys(fields, cls.name, {"words"})
        words = fields["words"]
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise InputError("the words of a whitespace tokenizer must be a list of strings")
        return cls(words, fields.get("boundary"))

    @classmethod
    def build(
        cls, pieces: Iterable[str], config: TokenizerConfig, *, boundary: str | None, source: str
    ) -> "WhitespaceTokenizer":
        raise InputError("a whitespace tokenizer is not made for a text; choose tokenizer=word")
