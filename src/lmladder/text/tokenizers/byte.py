"""Bytes as tokens."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmladder.arrays import IntArray
from lmladder.config import TokenizerConfig
from lmladder.text.tokenizers.contract import (
    bytes_from_text,
    ids_in_range,
    require_boundary,
    require_keys,
    with_boundary,
)

import numpy as np


class ByteTokenizer:
    """One token a byte of UTF-8: 256 tokens, whatever the text."""

    name = "byte"
    vocabulary_size = 256

    def __init__(self, boundary: int | None = None) -> None:
        require_boundary(boundary, self.vocabulary_size)
        self.boundary = boundary

    def encode(self, text: str) -> IntArray:
        return np.frombuffer(bytes_from_text(text), dtype=np.uint8)

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        """Text of `ids`; bytes that are not UTF-8, such as half a character, become U+FFFD."""
        data = ids_in_range(ids, self.vocabulary_size).astype(np.uint8).tobytes()
        return data.decode("utf-8", errors="replace")

    def n_bytes(self, ids: IntArray) -> int:
        return len(ids)

    @staticmethod
    def last_cut(text: str) -> int:
        return len(text)

    def to_json(self) -> dict[str, Any]:
        return with_boundary({"name": self.name}, self.boundary)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "ByteTokenizer":
        require_keys(fields, cls.name, set())
        return cls(fields.get("boundary"))

    @classmethod
    def build(
        cls, pieces: Iterable[str], config: TokenizerConfig, *, boundary: str | None, source: str
    ) -> "ByteTokenizer":
        return cls(None if boundary is None else ord(boundary))
