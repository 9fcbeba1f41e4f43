"""Fitting a rung, by gradients or by counting: what a stage and `lmladder verify` share."""

from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from lmladder import kernels
from lmladder.data import Prepared
from lmladder.models import NeuralLanguageModel
from lmladder.models.counts import CountTables
from lmladder.models.own import require_attributes
from lmladder.models.registry import KINDS
from lmladder.system.errors import InputError
from lmladder.system.files import sha256, write_json
from lmladder.system.streams import stream
from lmladder.training.checkpoint import METRICS, Checkpoint
from lmladder.training.loop import VERSIONS, TrainingRun

import numpy as np

# Settings of an architecture that may differ when training begins from given weights.
MAY_DIFFER = ("dropout", "init_std", "residual_scaling")


def begin(
    origin: Checkpoint, settings: Any, prepared: Prepared, out: Path, *, stage: str, code: str
) -> TrainingRun:
    """Return the run of `origin` before its first step, with its initial weights.

    Its identity includes the selected kernels and the installed versions.

    Parameters
    ----------
    settings : of the rung
    stage : the stage of dvc.yaml that trains it
    code : the digest of the code of that stage

    Raises
    ------
    InputError
        If the model is incomplete or reads shorter sequences only, or given weights do not fit it.
    """
    rng = stream(origin.seed, f"{origin.kind} weights")
    model = KINDS.component(origin.kind)(settings, origin.vocabulary_size, rng=rng)
    require_attributes(model, origin.kind)
    length, longest = settings.training.sequence_length, model.max_length
    if longest is not None and length > longest:
        raise InputError(
            f"{origin.name}: training.sequence_length={length} is more than max_length={longest}"
        )
    if settings.init_from is not None:
        given = load_initial(model, Path(settings.init_from), origin.name, settings, prepared)
        origin = replace(origin, init_digest=given)
    selected = kernels.selected()
    packages = VERSIONS if selected == "numba" else ("numpy",)
    trained_by = {"stage": stage, "code": code, "kernels": selected}
    trained_by |= {name: import_module(name).__version__ for name in packages}
    origin = replace(origin, trained_by=trained_by)
    return TrainingRun(model, origin, settings, prepared.train, prepared.val, out)


def load_initial(
    model: NeuralLanguageModel, path: Path, name: str, settings: Any, prepared: Prepared
) -> str:
    """Load the weights of a checkpoint into the model; return the sha256 of that file.

    Parameters
    ----------
    name : of the rung, for messages

    Raises
    ------
    InputError
        If the file is not a checkpoint of such a model with the same tokenizer; names the setting
        that differs.
    """
    source, where = Checkpoint.load(path), f"{name}.init_from"
    if source.kind != settings.kind:
        raise InputError(f"{where}: {path} is of kind {source.kind!r}, not {settings.kind!r}")
    held = source.settings()
    for each in fields(held):
        ours, theirs = getattr(settings, each.name), getattr(held, each.name)
        if each.name not in MAY_DIFFER and ours != theirs:
            raise InputError(
                f"{where}: the model in {path} has {name}.{each.name}={theirs}, not {ours}"
            )
    if source.tokenizer != prepared.tokenizer.to_json():
        raise InputError(
            f"{where}: {prepared.directory} has other tokens than the model in {path}; run "
            f"`python stages/compose.py tokenizer=checkpoint tokenizer.path={path} ...`, then "
            "`dvc repro prepare`"
        )
    try:
        model.load(source.model)
    except ValueError as error:
        raise InputError(f"{path} does not fit its own configuration: {error}") from None
    return sha256(path)


def write_metrics(
    out: Path, finished: Checkpoint, model: NeuralLanguageModel, rung: str
) -> dict[str, float]:
    """Write metrics.json of a finished run; return the losses of its latest and best checkpoint.

    Parameters
    ----------
    rung : the name of its folder within the outputs
    """
    validated = finished.history[1:]
    losses = {
        "latest": validated[-1]["val_loss"],
        "best": min(row["val_loss"] for row in validated),
    }
    write_json(
        out / METRICS,
        {
            "model": finished.name,
            "kind": finished.kind,
            "rung": rung,
            "parameters": model.n_parameters,
            "steps": finished.step,
            "train_loss": round(validated[-1]["train_loss"], 6),
            "val_loss": round(losses["latest"], 6),
            "best_val_loss": round(losses["best"], 6),
        },
    )
    return losses


def count(origin: Checkpoint, settings: Any, prepared: Prepared) -> Checkpoint:
    """Return `origin` with the number of occurrences of each n-gram in the training text."""
    order = max([3, *settings.kneser_ney_orders])  # there is always a trigram model
    tables = CountTables.count(prepared.train, origin.vocabulary_size, order)
    return replace(origin, model=tables.arrays())


def fit_own(origin: Checkpoint, settings: Any, prepared: Prepared) -> Checkpoint:
    """Return `origin` with the arrays that the function `fit` of a kind of one's own returns.

    `fit(settings, tokens, vocabulary_size)` reads the training text, int64 of shape (tokens,), and
    returns arrays by name.

    Raises
    ------
    InputError
        If it returns anything else.
    """
    fit = KINDS.component(origin.kind).fit
    given = fit(settings, np.asarray(prepared.train, np.int64), origin.vocabulary_size)
    arrays = {name: np.asarray(each) for name, each in dict(given).items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise InputError(f"{origin.kind}: fit must return numeric arrays, got {name}: {array}")
    return replace(origin, model=arrays)
