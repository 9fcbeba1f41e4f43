"""Words between white space as tokens, as in TinyLM."""

import reprlib
from collections.abc import Sequence

from lmladder.data.reading import bytes_from_text
from lmladder.data.tokenizers.contract import Tokenizer
from lmladder.system.arrays import IntArray
from lmladder.system.errors import InputError

import numpy as np


class WhitespaceTokenizer(Tokenizer):
    """One token for each known word; the kind of white space between words is lost.

    It belongs to models of other programs. For a new model `word` is better, since it restores the
    text.

    Parameters
    ----------
    words : the vocabulary, each word once; token n is words[n]
    """

    name = "whitespace"
    fields = ("words",)

    def __init__(self, words: Sequence[str], eos: int | None = None) -> None:
        # Each with one character of white space, which separates it from the next.
        super().__init__([len(bytes_from_text(word)) + 1 for word in words], eos)
        self.words = [*words]
        self._token_of = {word: token for token, word in enumerate(words)}

    def encode(self, text: str) -> IntArray:
        try:
            return np.array([self._token_of[word] for word in text.split()], self.dtype)
        except KeyError as error:
            raise InputError(
                f"unknown word {reprlib.repr(error.args[0])}: "
                f"this whitespace tokenizer has {len(self.words)} other words"
            ) from None

    def _text_of(self, ids: IntArray) -> str:
        return " ".join(self.words[token] for token in ids.tolist())
