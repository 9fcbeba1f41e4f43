"""Bytes as tokens."""

from collections.abc import Iterable, Sequence
from typing import Self

from lmladder.data.reading import bytes_from_text
from lmladder.data.settings import N_BYTES, TokenizerSettings
from lmladder.data.tokenizers.contract import Tokenizer, ids_in_range
from lmladder.system.arrays import IntArray

import numpy as np


class ByteTokenizer(Tokenizer):
    """One token for each byte of UTF-8: 256 tokens for every text."""

    name = "byte"

    def __init__(self, eos: int | None = None) -> None:
        super().__init__([1] * N_BYTES, eos)

    def encode(self, text: str) -> IntArray:
        return np.frombuffer(bytes_from_text(text), dtype=np.uint8)

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        """Return the text of `ids`; bytes that are not UTF-8 become U+FFFD."""
        data = ids_in_range(ids, self.vocabulary_size).astype(np.uint8).tobytes()
        return data.decode("utf-8", errors="replace")

    @classmethod
    def build(cls, texts: Iterable[str], config: TokenizerSettings, separator: str | None) -> Self:
        return cls()
