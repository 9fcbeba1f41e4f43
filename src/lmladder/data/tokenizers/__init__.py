"""Text to tokens and back: `contract.py` defines what all do, each has a module of its own."""

import json
import reprlib
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from lmladder.data.reading import chunks
from lmladder.data.tokenizers.bpe import BpeSettings, BpeTokenizer
from lmladder.data.tokenizers.byte import ByteSettings, ByteTokenizer
from lmladder.data.tokenizers.char import CharSettings, CharTokenizer
from lmladder.data.tokenizers.contract import NAME, Tokenizer, TokenizerSettings
from lmladder.data.tokenizers.whitespace import WhitespaceTokenizer
from lmladder.data.tokenizers.word import WordSettings, WordTokenizer
from lmladder.system.errors import InputError

from pydantic import Field
from safetensors import SafetensorError, safe_open

# The last one belongs to models of other programs.
TOKENIZERS: dict[str, type[Tokenizer]] = {
    each.name: each
    for each in (ByteTokenizer, CharTokenizer, WordTokenizer, BpeTokenizer, WhitespaceTokenizer)
}


class CheckpointSettings(TokenizerSettings):
    """The tokenizer of a checkpoint."""

    name: Literal["checkpoint"] = NAME
    path: str = Field(description="path of the checkpoint")


AnyTokenizer = Annotated[
    ByteSettings | CharSettings | WordSettings | BpeSettings | CheckpointSettings,
    Field(discriminator="name"),
]


def build_tokenizer(
    config: TokenizerSettings,
    texts: Iterable[Iterable[str]],
    *,
    separator: str | None = None,
    source: str = "the text",
) -> Tokenizer:
    """Return the tokenizer of a configuration, fitted to texts, each of which is given in pieces.

    Parameters
    ----------
    separator : the character that ends each document of the texts, whose token becomes eos; None
        for texts without documents. The tokenizer of a checkpoint stays as it is, with its own eos.
    source : the name of the texts in error messages

    Raises
    ------
    InputError
        If the settings do not suit the text.
    """
    if isinstance(config, CheckpointSettings):
        return tokenizer_from_checkpoint(Path(config.path))
    kind = TOKENIZERS[config.name]
    try:
        tokenizer = kind.build(chain.from_iterable(map(chunks, texts)), config, separator)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    if separator is None:
        return tokenizer
    (eos,) = tokenizer.encode(separator).tolist()
    return tokenizer_from_json({**tokenizer.to_json(), "eos": eos})


def must_know_whole_text(config: TokenizerSettings) -> bool:
    """Return whether the tokenizer can encode no other text than it was fitted to."""
    return config.name == "char" or getattr(config, "unknown", "unk") == "error"


def tokenizer_from_json(fields: Mapping[str, Any]) -> Tokenizer:
    """Return the tokenizer that `Tokenizer.to_json` described.

    Raises
    ------
    InputError
        If `fields`, which may be from any file, do not describe a tokenizer.
    """
    try:
        arguments = {key: value for key, value in fields.items() if key != "name"}
        return TOKENIZERS[fields["name"]](**arguments)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise InputError(f"{reprlib.repr(fields)} describes no tokenizer") from error


def tokenizer_from_checkpoint(path: Path) -> Tokenizer:
    """Return the tokenizer of a checkpoint, of which only the header is read."""
    try:
        with safe_open(path, framework="np") as file:
            return tokenizer_from_json(json.loads(file.metadata()["lmladder"])["tokenizer"])
    except (SafetensorError, OSError, ValueError, TypeError, LookupError) as error:
        raise InputError(f"cannot read the tokenizer of a checkpoint in {path}: {error}") from None
