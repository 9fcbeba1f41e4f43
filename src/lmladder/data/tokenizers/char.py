"""Unicode characters as tokens."""

from collections.abc import Iterable
from typing import Literal, Self

from lmladder.data.reading import ESCAPED, named
from lmladder.data.tokenizers.contract import NAME, Tokenizer, TokenizerSettings
from lmladder.system.arrays import IntArray
from lmladder.system.errors import InputError

import numpy as np


class CharSettings(TokenizerSettings):
    """The settings of the char tokenizer."""

    name: Literal["char"] = NAME


class CharTokenizer(Tokenizer):
    """One token for each Unicode character that it was built with.

    Parameters
    ----------
    characters : the vocabulary in ascending order, each character once; token n is characters[n]
    """

    name = "char"
    fields = ("characters",)

    def __init__(self, characters: str, eos: int | None = None) -> None:
        super().__init__([len(each.encode()) for each in characters], eos)
        self.characters = characters
        self._points = _code_points(characters)
        # The table ends with one entry for all code points above the highest known.
        size = self.vocabulary_size
        self._token_of = np.full(int(self._points[-1]) + 2, size, np.min_scalar_type(size))
        self._token_of[self._points] = np.arange(size)

    def encode(self, text: str) -> IntArray:
        ids = self._token_of.take(_code_points(text), mode="clip")
        unknown = ids == self.vocabulary_size
        if unknown.any():
            offset = int(unknown.argmax())
            raise InputError(
                f"unknown character {named(text[offset])} at offset {offset}: "
                f"this char tokenizer has {self.vocabulary_size} other characters"
            )
        return ids.astype(self.dtype, copy=False)

    def _text_of(self, ids: IntArray) -> str:
        return self._points[ids].tobytes().decode("utf-32-le")

    @classmethod
    def build(cls, texts: Iterable[str], config: CharSettings, separator: str | None) -> Self:
        characters = sorted(set().union(*texts))
        if unknown := ESCAPED.search("".join(characters)):
            raise InputError(
                f"{named(unknown[0])}; the char tokenizer reads UTF-8 only, "
                "the byte tokenizer reads anything"
            )
        return cls("".join(characters))


def _code_points(text: str) -> IntArray:
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
