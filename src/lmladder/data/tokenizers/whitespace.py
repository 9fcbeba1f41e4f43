"""Words between white space as tokens, as in TinyLM."""

import reprlib
from collections.abc import Sequence
from typing import ClassVar

from lmladder.data.reading import bytes_from_text
from lmladder.data.tokenizers.contract import (
    Tokenizer,
    ids_in_range,
    require_words,
    token_dtype,
)
from lmladder.system.arrays import IntArray
from lmladder.system.errors import InputError

import numpy as np


class WhitespaceTokenizer(Tokenizer):
    """One token for each known word; the kind of white space between words is lost.

    It belongs to models of other programs. For a text of one's own, `word` is better, which
    restores the text.

    Parameters
    ----------
    words : the vocabulary, each word once; token n is words[n]
    """

    name = "whitespace"
    fields: ClassVar = {"words": list}

    def __init__(self, words: Sequence[str], eos: int | None = None) -> None:
        require_words(words, self.name)
        if wrong := [word for word in words if word.split() != [word]]:
            raise InputError(
                f"a whitespace tokenizer cannot have the word {reprlib.repr(wrong[0])}"
            )
        # Each with one white space, which is the least that separates it from the next.
        super().__init__([len(bytes_from_text(word)) + 1 for word in words], eos)
        self.words = tuple(words)
        self._token_of = {word: token for token, word in enumerate(words)}

    def encode(self, text: str) -> IntArray:
        words = text.split()
        if unknown := [word for word in words if word not in self._token_of]:
            raise InputError(
                f"unknown word {reprlib.repr(unknown[0])}: "
                f"this whitespace tokenizer knows {len(self.words)} others"
            )
        tokens = [self._token_of[word] for word in words]
        return np.array(tokens, token_dtype(self.vocabulary_size))

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        """Return the words with a space between."""
        tokens = ids_in_range(ids, self.vocabulary_size).tolist()
        return " ".join(self.words[token] for token in tokens)
