"""What of a checkpoint a format can hold: a Transformer, with some settings fixed."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from lmladder.data import Tokenizer
from lmladder.models.settings import TransformerSettings
from lmladder.system.arrays import Array
from lmladder.system.errors import InputError
from lmladder.system.settings import check
from lmladder.training.checkpoint import Checkpoint

import numpy as np

HEAD = "unembedding.weight"  # (in, out); in the formats (out, in)


def exported(
    format_name: str, checkpoint: Checkpoint, fixed: Mapping[str, Any]
) -> TransformerSettings:
    """Return the architecture of a checkpoint's Transformer.

    Raises
    ------
    InputError
        If it is another model, or damaged, or has another value of a setting in `fixed`.
    """
    if checkpoint.kind != "transformer":
        raise InputError(
            f"the format {format_name} holds a Transformer, not a checkpoint of "
            f"kind {checkpoint.kind!r}"
        )
    checkpoint.restore_models()  # or an InputError: the arrays are those of the architecture
    architecture: TransformerSettings = checkpoint.settings()
    for key, value in fixed.items():
        if (chosen := getattr(architecture, key)) != value:
            raise InputError(
                f"the format {format_name} does not have transformer.{key}={_shown(chosen)}, "
                f"only {_shown(value)}"
            )
    return architecture


def imported(
    architecture: TransformerSettings,
    tokenizer: Tokenizer,
    weights: Mapping[str, Array],
    source: object = "the model",
) -> Checkpoint:
    """Return the checkpoint of a model that was trained elsewhere, without seed and data.

    Raises
    ------
    InputError
        If the weights, which came from `source`, are not those of the architecture.
    """
    check(architecture, "transformer.")
    checkpoint = Checkpoint(
        name="transformer",
        kind="transformer",
        config=asdict(architecture),
        seed=0,
        vocabulary_size=tokenizer.vocabulary_size,
        tokenizer=tokenizer.to_json(),
        data_digest="",
        model={name: np.ascontiguousarray(array) for name, array in weights.items()},
    )
    try:
        checkpoint.restore_models()
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return checkpoint


def weight_names(modules: Mapping[str, str], n_layer: int) -> dict[str, list[str]]:
    """Return which of our weights stand side by side in each of theirs, by its name.

    Parameters
    ----------
    modules : ours by theirs, with spaces between several of ours; {} is the number of a block, and
        * takes "weight" and "bias"
    """
    return {
        theirs.format(index).replace("*", part): [
            each.format(index).replace("*", part) for each in ours.split()
        ]
        for theirs, ours in modules.items()
        for index in range(n_layer if "{}" in theirs else 1)
        for part in ("weight", "bias")[: 1 + ("*" in theirs)]
    }


def to_ours(names: Mapping[str, list[str]], read: Callable[[str], Array]) -> dict[str, Array]:
    """Return our weights, made of theirs, which `read` returns by name."""
    weights: dict[str, Array] = {}
    for theirs, ours in names.items():
        split = np.array_split(np.atleast_1d(read(theirs)), len(ours), axis=-1)
        weights |= zip(ours, split, strict=True)
    return weights | ({HEAD: weights[HEAD].T} if HEAD in weights else {})


def to_theirs(names: Mapping[str, list[str]], weights: Mapping[str, Array]) -> dict[str, Array]:
    """Invert `to_ours`."""
    held = {**weights, HEAD: weights[HEAD].T} if HEAD in weights else weights
    return {
        theirs: np.ascontiguousarray(np.concatenate([held[each] for each in ours], axis=-1))
        for theirs, ours in names.items()
    }


def _shown(value: object) -> str:
    """Return a value as one types it on a command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)
