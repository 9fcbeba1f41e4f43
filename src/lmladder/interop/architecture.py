"""What of a checkpoint a format can hold: a Transformer, with some settings fixed."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lmladder.arrays import Array
from lmladder.checkpoint import Checkpoint
from lmladder.config import TransformerArchitecture, validate_architecture
from lmladder.errors import InputError
from lmladder.text import Tokenizer


def require_transformer(format_name: str, checkpoint: Checkpoint) -> TransformerArchitecture:
    """The architecture of a checkpoint that holds a whole Transformer; else an InputError."""
    if checkpoint.kind != "transformer":
        raise InputError(
            f"the format {format_name} holds a Transformer, not a checkpoint of "
            f"kind {checkpoint.kind!r}"
        )
    checkpoint.restore_models()  # or an InputError: the arrays are those of the architecture
    architecture: TransformerArchitecture = checkpoint.architecture()
    return architecture


def require_settings(
    format_name: str, architecture: TransformerArchitecture, fixed: Mapping[str, Any]
) -> None:
    """InputError, with the setting's name, unless the architecture has these values."""
    for key, value in fixed.items():
        chosen = getattr(architecture, key)
        if chosen != value:
            raise InputError(
                f"the format {format_name} has no transformer.{key}={_shown(chosen)}, "
                f"only {_shown(value)}"
            )


def imported(
    architecture: TransformerArchitecture, tokenizer: Tokenizer, weights: Mapping[str, Array]
) -> Checkpoint:
    """The checkpoint of a model that was trained elsewhere: no seed, data or code is known."""
    validate_architecture(architecture)
    return Checkpoint(
        kind="transformer",
        config=asdict(architecture),
        seed=0,
        vocabulary_size=tokenizer.vocabulary_size,
        tokenizer=tokenizer.to_json(),
        data_digest="",
        code_digest="",
        model=weights,
    )


def _shown(value: object) -> str:
    """A value as one types it on a command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)
