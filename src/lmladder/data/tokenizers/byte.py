"""Bytes as tokens."""

from collections.abc import Iterable
from typing import Literal, Self

from lmladder.data.reading import bytes_from_text
from lmladder.data.tokenizers.contract import NAME, Tokenizer, TokenizerSettings
from lmladder.system.arrays import IntArray

import numpy as np

N_BYTES = 256


class ByteSettings(TokenizerSettings):
    """The settings of the byte tokenizer."""

    name: Literal["byte"] = NAME


class ByteTokenizer(Tokenizer):
    """One token for each byte of UTF-8: 256 tokens for every text."""

    name = "byte"

    def __init__(self, eos: int | None = None) -> None:
        super().__init__([1] * N_BYTES, eos)

    def encode(self, text: str) -> IntArray:
        return np.frombuffer(bytes_from_text(text), dtype=np.uint8)

    def _text_of(self, ids: IntArray) -> str:
        return ids.astype(np.uint8).tobytes().decode("utf-8", errors="replace")

    @classmethod
    def build(cls, texts: Iterable[str], config: ByteSettings, separator: str | None) -> Self:
        return cls()
