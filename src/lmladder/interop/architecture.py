"""The part of a checkpoint that a format can represent: a Transformer with some settings fixed."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lmladder.data import Tokenizer
from lmladder.interop.files import require_names
from lmladder.models.settings import TransformerSettings
from lmladder.system.arrays import Array
from lmladder.system.errors import InputError
from lmladder.system.settings import check
from lmladder.training.checkpoint import Checkpoint

import numpy as np

HEAD = "lm_head.weight"  # (out, in) in the formats, (in, out) here; absent where it is tied
OUR_HEAD = "unembedding.weight"


def export_weights(
    format_name: str, checkpoint: Checkpoint, fixed: Mapping[str, Any], modules: Mapping[str, str]
) -> tuple[TransformerSettings, Tokenizer, dict[str, Array]]:
    """Return the architecture, the tokenizer and the weights of a checkpoint's Transformer.

    Parameters
    ----------
    fixed : the settings that the format does not have, with the only value that it allows
    modules : see `_weight_names`

    Raises
    ------
    InputError
        If it is another kind of model, or damaged, or has another value of a setting in `fixed`.
    """
    if checkpoint.kind != "transformer":
        raise InputError(
            f"the format {format_name} supports a Transformer, not a checkpoint of "
            f"kind {checkpoint.kind!r}"
        )
    checkpoint.restore_models()  # raises InputError if the arrays do not fit the architecture
    architecture: TransformerSettings = checkpoint.settings()
    for key, value in fixed.items():
        if (chosen := getattr(architecture, key)) != value:
            raise InputError(
                f"the format {format_name} does not have transformer.{key}={shown(chosen)}, "
                f"only {shown(value)}"
            )
    tokenizer, weights = checkpoint.restore_tokenizer(), checkpoint.model
    if not architecture.tied:
        weights = {**weights, OUR_HEAD: weights[OUR_HEAD].T}
    names = _weight_names(modules, architecture.n_layer, architecture.tied)
    theirs = {
        name: np.ascontiguousarray(np.concatenate([weights[each] for each in ours], axis=-1))
        for name, ours in names.items()
    }
    return architecture, tokenizer, theirs


def our_weights(
    weights: Mapping[str, Array], modules: Mapping[str, str], n_layer: int, tied: bool, path: Path
) -> dict[str, Array]:
    """Return the weights of a file by our names.

    Raises
    ------
    InputError
        If a weight is missing or unknown.
    """
    if n_layer > len(weights):  # before a loop over what may be a huge number
        raise InputError(f"{path} has {len(weights)} weights, too few for {n_layer} layers")
    names = _weight_names(modules, n_layer, tied)
    require_names(weights, names, path)
    found: dict[str, Array] = {}
    for theirs, ours in names.items():
        split = np.array_split(np.atleast_1d(weights[theirs]), len(ours), axis=-1)
        found |= zip(ours, split, strict=True)
    return found if tied else {**found, OUR_HEAD: found[OUR_HEAD].T}


def build_checkpoint(
    architecture: TransformerSettings,
    tokenizer: Tokenizer,
    weights: Mapping[str, Array],
    source: object = "the model",
) -> Checkpoint:
    """Return the checkpoint of a model that was trained elsewhere, without seed and data.

    Raises
    ------
    InputError
        If the weights, which are from `source`, do not fit the architecture.
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


def _weight_names(modules: Mapping[str, str], n_layer: int, tied: bool) -> dict[str, list[str]]:
    """Return, for each of their weights, our weights that it consists of, side by side.

    Parameters
    ----------
    modules : ours by theirs, with spaces between several of ours; {} is the number of a block, and
        * is "weight" and "bias"
    """
    return {
        theirs.format(index).replace("*", part): [
            each.format(index).replace("*", part) for each in ours.split()
        ]
        for theirs, ours in [*modules.items(), *([] if tied else [(HEAD, OUR_HEAD)])]
        for index in range(n_layer if "{}" in theirs else 1)
        for part in ("weight", "bias")[: 1 + ("*" in theirs)]
    }


def shown(value: object) -> str:
    """Return a value as it is written on a command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)
