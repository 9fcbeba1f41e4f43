"""Text to token numbers and back: what all do in `contract.py`, and a file for each."""

import reprlib
from collections.abc import Iterable

from lmladder.config import TokenizerConfig
from lmladder.errors import InputError
from lmladder.text.tokenizers.bpe import BpeTokenizer
from lmladder.text.tokenizers.byte import ByteTokenizer
from lmladder.text.tokenizers.char import CharTokenizer
from lmladder.text.tokenizers.contract import (
    Tokenizer,
    bytes_from_text,
    encode_pieces,
    recut,
    text_from_bytes,
    token_dtype,
)
from lmladder.text.tokenizers.word import WordTokenizer

TOKENIZERS: dict[str, type[Tokenizer]] = {
    "byte": ByteTokenizer,
    "char": CharTokenizer,
    "word": WordTokenizer,
    "bpe": BpeTokenizer,
}


def build_tokenizer(
    config: TokenizerConfig,
    texts: Iterable[Iterable[str]],
    *,
    boundary: str | None = None,
    source: str = "the text",
) -> Tokenizer:
    """The tokenizer of this configuration, fitted to texts that come in pieces each.

    For the other arguments see `Tokenizer.build`.
    """
    kind = _tokenizer_class(config.name)
    pieces = (piece for text in texts for piece in recut(text, kind.last_cut))
    return kind.build(pieces, config, boundary=boundary, source=source)


def reads_any_text(config: TokenizerConfig) -> bool:
    """Whether it can do without having seen the text that it will encode, all of it."""
    return config.name in ("byte", "bpe") or config.unknown == "unk"


def tokenizer_from_json(fields: object) -> Tokenizer:
    """The tokenizer that `Tokenizer.to_json` described.

    Raises
    ------
    InputError
        If `fields`, which may come from anyone's file, describe no tokenizer.
    """
    if not isinstance(fields, dict):
        raise InputError(f"a tokenizer is described by an object, not by {reprlib.repr(fields)}")
    return _tokenizer_class(fields.get("name")).from_json(fields)


def _tokenizer_class(name: object) -> type[Tokenizer]:
    if not isinstance(name, str) or name not in TOKENIZERS:
        raise InputError(
            f"unknown tokenizer {reprlib.repr(name)}; choose from {sorted(TOKENIZERS)}"
        )
    return TOKENIZERS[name]
