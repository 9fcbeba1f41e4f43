"""What every tokenizer does."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

from lmladder.system.arrays import IntArray
from lmladder.system.errors import InputError
from lmladder.system.settings import Settings

import numpy as np
from pydantic import Field

MAX_VOCABULARY = 1_000_000
NAME: Any = Field(description="the tokenizer")


class TokenizerSettings(Settings):
    """What all tokenizers have in common."""

    name: str


class Tokenizer(ABC):
    """Text to tokens and back; `TOKENIZERS` lists the kinds.

    Parameters
    ----------
    bytes_of : for each token, the number of bytes of UTF-8 that it represents in a text
    eos : the token that ends a document, at which generation stops; a prompt that consists of it
        begins a document; None for text without documents

    Attributes
    ----------
    name : of the kind, in configurations and files
    dtype : of tokens, the smallest unsigned one that represents all of them
    fields : the names of what defines a tokenizer of this kind, in the types of JSON: arguments of
        its constructor and attributes
    """

    name: ClassVar[str]
    fields: ClassVar[tuple[str, ...]] = ()

    def __init__(self, bytes_of: Sequence[int] | IntArray, eos: int | None) -> None:
        self.vocabulary_size = len(bytes_of)
        self.eos = eos
        self.dtype: np.dtype[Any] = np.min_scalar_type(self.vocabulary_size - 1)
        self._bytes_of = np.asarray(bytes_of)

    @abstractmethod
    def encode(self, text: str) -> IntArray:
        """Return the tokens of `text`, shape (tokens,), of `dtype`.

        The tokens of several `chunks` of a text are those of each of them, in order.
        """

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        """Return the text of any ids in [0, vocabulary_size); ValueError for other ids.

        Bytes that are not UTF-8 become U+FFFD.
        """
        array = np.asarray(ids) if len(ids) else np.empty(0, np.uint8)
        if array.size and not 0 <= array.min() <= array.max() < self.vocabulary_size:
            raise ValueError(f"token ids must be in [0, {self.vocabulary_size})")
        return self._text_of(array)

    @abstractmethod
    def _text_of(self, ids: IntArray) -> str:
        """Return the text of ids that are in range, shape (tokens,)."""

    @property
    def first(self) -> int:
        """The token before a text: the end of a document or of a line, else the first of all."""
        if self.eos is not None:
            return self.eos
        try:
            return int(next(iter(self.encode("\n")), 0))
        except InputError:  # no token for a newline
            return 0

    def n_bytes(self, ids: IntArray) -> int:
        """Return the number of bytes of UTF-8 that tokens represent, for bits per byte.

        Exact: the bytes of the text, without those of words that became <unk>.
        """
        return int(self._bytes_of[ids].sum())

    def to_json(self) -> dict[str, Any]:
        """Return what `tokenizer_from_json` needs to make an equal tokenizer."""
        fields = {key: getattr(self, key) for key in ("name", *self.fields)}
        return fields if self.eos is None else {**fields, "eos": self.eos}

    @classmethod
    def build(cls, texts: Iterable[str], config: Any, separator: str | None) -> Self:
        """Return a tokenizer without eos, fitted to a text that is given in `chunks`.

        Parameters
        ----------
        config : the settings of this kind of tokenizer
        separator : the character that ends each document of the text, for which the tokenizer must
            have a token; None for text without documents
        """
        raise NotImplementedError
