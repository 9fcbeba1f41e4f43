"""The built-in kinds of rungs; how checkpoints and labels find theirs."""

from lmladder.models.contract import LanguageModel
from lmladder.models.guests import Function
from lmladder.models.kind import KINDS, Kind, restore
from lmladder.models.mixture import Mixture
from lmladder.models.mlp import Mlp
from lmladder.models.ngram import Counts
from lmladder.models.oracle import Oracle
from lmladder.models.own import load_installed
from lmladder.models.transformer import Transformer
from lmladder.system.errors import InputError
from lmladder.system.settings import did_you_mean
from lmladder.training.checkpoint import Checkpoint

KINDS.update(
    counts=Counts,
    mlp=Mlp,
    transformer=Transformer,
    mixture=Mixture,
    oracle=Oracle,
    callable=Function,
)


def kind_named(name: str) -> type[Kind]:
    """Return a kind, which an installed package may declare.

    Raises InputError, with the known names, if it is unknown.
    """
    if name not in KINDS:
        load_installed(name)
    if name not in KINDS:
        raise InputError(
            f"unknown kind of rung {name!r}; {did_you_mean(name, KINDS)}; a kind of your own is "
            "loaded by --module FILE, or in a configuration by watch: FILE"
        )
    return KINDS[name]


def restore_models(checkpoint: Checkpoint) -> dict[str, LanguageModel]:
    """Return the models of a checkpoint by name, weakest first.

    Raises
    ------
    InputError
        If a kind is unknown, or the arrays do not fit the configuration.
    """
    for name in checkpoint.kinds:
        kind_named(name)
    try:
        return restore(checkpoint)
    except (ValueError, MemoryError) as error:
        raise InputError(f"the checkpoint does not fit its own configuration: {error}") from None


def label(model: str, kind: str) -> str:
    """Return the label of a model of this kind, such as "MLP" or "Kneser-Ney 5"."""
    for start, text in {kind: kind_named(kind).label, **kind_named(kind).labels}.items():
        if text and (model == start or model.startswith(f"{start}_")):
            model = text + model.removeprefix(start)
    return model[:1].upper() + model[1:].replace("_", " ")
