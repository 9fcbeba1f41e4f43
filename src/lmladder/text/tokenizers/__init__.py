"""Text to token numbers and back: what all do in `contract.py`, and a file for each."""

import json
import reprlib
from collections.abc import Iterable
from pathlib import Path

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
from lmladder.text.tokenizers.whitespace import WhitespaceTokenizer
from lmladder.text.tokenizers.word import WordTokenizer

from safetensors import SafetensorError, safe_open

TOKENIZERS: dict[str, type[Tokenizer]] = {
    "byte": ByteTokenizer,
    "char": CharTokenizer,
    "word": WordTokenizer,
    "bpe": BpeTokenizer,
}
# Those that come with the models of other programs as well.
_READABLE: dict[str, type[Tokenizer]] = {**TOKENIZERS, "whitespace": WhitespaceTokenizer}


def build_tokenizer(
    config: TokenizerConfig,
    texts: Iterable[Iterable[str]],
    *,
    boundary: str | None = None,
    source: str = "the text",
) -> Tokenizer:
    """The tokenizer of this configuration, fitted to texts that come in pieces each.

    For the other arguments see `Tokenizer.build`. One that is taken from a checkpoint stays as it
    is, its boundary too.
    """
    if config.name == "checkpoint":
        return tokenizer_from_checkpoint(Path(str(config.path)))
    kind = _tokenizer_class(config.name, TOKENIZERS)
    pieces = (piece for text in texts for piece in recut(text, kind.last_cut))
    return kind.build(pieces, config, boundary=boundary, source=source)


def reads_any_text(config: TokenizerConfig) -> bool:
    """Whether it can do without having seen the text that it will encode, all of it."""
    return config.name in ("byte", "bpe", "checkpoint") or config.unknown == "unk"


def tokenizer_from_json(fields: object) -> Tokenizer:
    """The tokenizer that `Tokenizer.to_json` described.

    Raises
    ------
    InputError
        If `fields`, which may come from anyone's file, describe no tokenizer.
    """
    if not isinstance(fields, dict):
        raise InputError(f"a tokenizer is described by an object, not by {reprlib.repr(fields)}")
    return _tokenizer_class(fields.get("name"), _READABLE).from_json(fields)


def tokenizer_from_checkpoint(path: Path) -> Tokenizer:
    """The tokenizer that a checkpoint keeps in its header; nothing else of the file is read."""
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}")
    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {})["lmladder"])
        fields = header["tokenizer"]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (SafetensorError, ValueError, TypeError, KeyError, RecursionError):
        raise InputError(f"{path} is no checkpoint of lmladder") from None
    return tokenizer_from_json(fields)


def _tokenizer_class(name: object, kinds: dict[str, type[Tokenizer]]) -> type[Tokenizer]:
    if not isinstance(name, str) or name not in kinds:
        raise InputError(f"unknown tokenizer {reprlib.repr(name)}; choose from {sorted(kinds)}")
    return kinds[name]
