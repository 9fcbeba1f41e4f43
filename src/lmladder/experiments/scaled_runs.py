"""The runs of a sweep over sizes and lengths, their exact losses, and the laws fitted to them."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from lmladder.data import Prepared
from lmladder.evaluation.ladder import BATCH_TOKENS, split_nll
from lmladder.experiments.runs import Run, find_runs
from lmladder.experiments.scaling import FLOPS, METHODS, Fit, Law, Points, fit
from lmladder.nn import BigramEmbedding, Embedding, Module
from lmladder.system.arrays import FloatArray
from lmladder.system.errors import InputError
from lmladder.system.files import atomic_write
from lmladder.system.progress import CountingProgress
from lmladder.training.checkpoint import LATEST, TRAINED, Checkpoint

import numpy as np

TABLE = "scaling.csv"  # in the folder of a sweep: its runs, each scored once
SPLIT = "val"  # the text that is scored
FURTHER = 4  # times the compute of the largest run, for which a loss is predicted


@dataclass(frozen=True)
class ScaledRun:
    """A trained model as a point of a scaling law.

    Attributes
    ----------
    overrides : as given to Hydra, separated by spaces
    parameters : all
    size : without tables of embeddings, of which a token uses one row (arXiv 2001.08361)
    tokens : read in training
    loss : nats per token of the whole validation text
    entropy : the same of the true distribution; None if it is not known
    min_context : with which the text was scored
    text, checkpoint : the first digits of their digests
    """

    model: str
    overrides: str
    seed: int
    parameters: int
    size: int
    tokens: int
    loss: float
    entropy: float | None
    min_context: float
    text: str
    checkpoint: str

    @property
    def key(self) -> tuple[str, str, float]:
        """What determines the loss: the model, its weights, and how the text was read."""
        return self.model, self.checkpoint, self.min_context

    @property
    def flops(self) -> float:
        """The operations of its training, without those of attention and embeddings."""
        return float(FLOPS * self.size * self.tokens)


DAMAGE = (ValueError, KeyError, TypeError, csv.Error)  # errors from files of other origin
READ: dict[Any, Callable[[str], Any]] = {  # a value of a table, by its type
    int: int,
    float: float,
    str: str,
    float | None: lambda text: float(text) if text else None,
}


@dataclass(frozen=True)
class Prediction:
    """The loss that a law predicts for a size and length, with its 95% interval.

    `measured` is the mean loss of the runs that were held out; NaN if there are none.
    """

    method: str
    size: float
    tokens: float
    loss: float
    low: float
    high: float
    measured: float


@dataclass(frozen=True)
class Study:
    """The laws of the runs of one model on one text.

    Attributes
    ----------
    fits : by method
    held_out : runs that were not fitted
    predictions : for the held-out runs; without them, for the best model of `FURTHER` times the
        compute of the largest run
    """

    name: str
    runs: Sequence[ScaledRun]
    held_out: Sequence[ScaledRun]
    fits: Mapping[str, Fit]
    predictions: Sequence[Prediction]

    @property
    def entropy(self) -> float | None:
        """The true entropy of the text, if it is known."""
        return self.runs[0].entropy

    @property
    def best_fit(self) -> Fit:
        """The fit that knows most."""
        return list(self.fits.values())[-1]


def read_runs(target: Path, min_context: float, notes: list[str]) -> list[ScaledRun]:
    """Return the trained runs below a folder, or those of a table that was written before.

    Runs that are not in the folder's table are scored, and added to it. `notes` has one line for
    each run that was left out.

    Raises
    ------
    InputError
        If there is none, or its text is not there.
    """
    if target.is_file():
        return read_table(target)
    found = find_runs([target])
    notes += found.notes
    table = target / TABLE
    known = {each.key: each for each in (read_table(table) if table.exists() else ())}
    texts: dict[Path, Prepared] = {}
    runs = []
    with CountingProgress("scaling", "runs", len(found.runs)) as progress:
        for run in found.runs:
            if (run.path / TRAINED).exists():
                key = run.model, _digest(run.path / TRAINED), min_context
                if key not in known:
                    known[key] = _scored(run, key[1], min_context, texts)
                    _write_table(known.values(), table)
                runs.append(known[key])
            progress.advance(1)
    if not runs:
        raise InputError(f"no trained model in {target}")
    _write_table(runs, table)
    return runs


def _digest(path: Path) -> str:
    """Return the first digits of the sha256 of a checkpoint, which trained.json has."""
    try:
        return str(json.loads(path.read_bytes())["files"][LATEST])[:16]
    except (*DAMAGE, OSError) as error:
        raise InputError(f"{path} is damaged: {error}; train the run again") from None


def _scored(run: Run, digest: str, min_context: float, texts: dict[Path, Prepared]) -> ScaledRun:
    """Score a run; `texts` has the prepared texts by folder that are open already."""
    checkpoint = Checkpoint.load(run.path / LATEST)
    above = (each / "prepare" for each in run.path.absolute().parents)
    folder = next((each for each in above if each.is_dir()), Path("outputs/prepare"))
    if folder not in texts:
        texts[folder] = Prepared.open(folder)
    prepared = texts[folder]
    if prepared.digest != checkpoint.data_digest:
        raise InputError(f"{run.path} was trained on another text than that of {folder}")
    model, tables = checkpoint.restore_models()[run.model], 0
    if isinstance(model, Module):
        layers = (each for _, each in model.modules())
        tables = sum(
            each.n_parameters for each in layers if isinstance(each, Embedding | BigramEmbedding)
        )
    training, facts = checkpoint.config["training"], prepared.corpus.splits[SPLIT]
    batch = training["batch_size"] * training["gradient_accumulation_steps"]
    nats = split_nll(model, prepared, SPLIT, min_context=min_context, batch_tokens=BATCH_TOKENS)
    return ScaledRun(
        model=run.model,
        overrides=" ".join(sorted(run.overrides)),
        seed=checkpoint.seed,
        parameters=model.n_parameters,
        size=model.n_parameters - tables,
        tokens=checkpoint.step * batch * training["sequence_length"],
        loss=round(float(nats.mean()), 6),
        entropy=round(facts.oracle.nats / facts.tokens, 6) if facts.oracle else None,
        min_context=min_context,
        text=prepared.digest[:16],
        checkpoint=digest,
    )


def _write_table(runs: Iterable[ScaledRun], path: Path) -> None:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, [each.name for each in fields(ScaledRun)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(asdict, runs))
    atomic_write(path, file.getvalue().encode())


def read_table(path: Path) -> list[ScaledRun]:
    """Return the runs of a table; InputError if the file is not one, or has none."""
    try:
        rows = csv.DictReader(io.StringIO(path.read_text(), newline=""))
        columns = {each.name: READ[each.type] for each in fields(ScaledRun)}
        runs = [ScaledRun(**{name: columns[name](row[name]) for name in columns}) for row in rows]
    except (*DAMAGE, OSError) as error:
        raise InputError(f"{path} is not a table of lmladder scaling: {error}") from None
    if not runs:
        raise InputError(f"{path} has no run")
    return runs


def points_of(runs: Sequence[ScaledRun]) -> Points:
    """Return what is fitted of runs."""
    names = ("size", "tokens", "loss")
    return Points(*(np.array([getattr(each, name) for each in runs], float) for name in names))


def study(name: str, runs: Sequence[ScaledRun], held_out: str | None, resamples: int) -> Study:
    """Fit the laws of one model and predict the losses of runs that were held out.

    Parameters
    ----------
    held_out : an override of the runs that are not fitted, such as "size=d192"

    Raises
    ------
    InputError
        If the runs have different texts, none is held out, or as `fit`.
    """
    if len({(each.text, each.min_context) for each in runs}) > 1:
        raise InputError(f"{name}: the runs were scored on different texts")
    apart = [each for each in runs if held_out in each.overrides.split()]
    if held_out is not None and not apart:
        raise InputError(f"{name}: no run has the override {held_out}")
    runs = [each for each in runs if each not in apart]
    if not runs:
        raise InputError(f"{name}: all runs have the override {held_out}")
    entropy = runs[0].entropy
    points = points_of(runs)
    methods = [each for each in METHODS if each != "known" or entropy is not None]
    try:
        fits = {each: fit(points, each, entropy, resamples=resamples) for each in methods}
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    measured: dict[tuple[int, int], list[float]] = {}
    for each in apart:
        measured.setdefault((each.size, each.tokens), []).append(each.loss)
    predictions: list[Prediction] = []
    for method, fitted in fits.items():
        sizes, tokens = fitted.law.optimum(np.array([FURTHER * max(each.flops for each in runs)]))
        losses = [math.nan]
        if measured:
            sizes, tokens = np.array([*measured], float).T
            losses = [float(np.mean(each)) for each in measured.values()]
        low, high = fitted.interval(partial(_loss, sizes, tokens))
        columns = (sizes, tokens, fitted.law.loss(sizes, tokens), low, high, losses)
        predictions += [Prediction(method, *map(float, row)) for row in zip(*columns, strict=True)]
    return Study(name, runs, apart, fits, predictions)


def _loss(sizes: FloatArray, tokens: FloatArray, law: Law) -> FloatArray:
    return law.loss(sizes, tokens)
