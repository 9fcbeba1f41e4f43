"""The stages that fit a rung, by gradients or at once."""

from dataclasses import asdict
from pathlib import Path

from lmladder import kernels
from lmladder.config import Config
from lmladder.data import Prepared
from lmladder.data.batches import sequence_starts, validation_sequences
from lmladder.evaluation import ScoredModel, Scores, score_models
from lmladder.evaluation.ladder import BATCH_TOKENS
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.experiments.jobs import module_digest, run_digest
from lmladder.models import NeuralLanguageModel
from lmladder.models.mixture import WEIGHTS_FILE, Mixture
from lmladder.models.registry import GROUPS
from lmladder.pipeline.loggers import logged
from lmladder.pipeline.records import of_whole_text, save_record
from lmladder.pipeline.rungs import Rung, rung_named
from lmladder.pipeline.stages import Result, Stage
from lmladder.pipeline.text import open_prepared
from lmladder.system.errors import InputError
from lmladder.system.files import atomic_write, write_json
from lmladder.system.settings import dotted, import_object
from lmladder.training.checkpoint import BEST, LATEST, METRICS
from lmladder.training.fit import begin, write_metrics
from lmladder.training.history import COLUMNS, as_csv
from lmladder.training.loop import HISTORY, discard_unfinished, sequence_nll, train

import numpy as np

MODULE = "module.json"  # the digest of the file that defines the kind of a rung


def fit(stage: Stage, config: Config, out: Path, ladder: Path) -> Result:
    """Fit the rung of a stage with the function of its kind; write its results to `out`."""
    name = config.rung if stage.name in GROUPS.values() else stage.name
    if name is None:
        group = next(each for each in GROUPS if GROUPS[each] == stage.name)
        raise InputError(f"rung is missing; give rung=NAME with one of the names in {group}")
    rung = rung_named(name, config)
    result: Result = import_object(rung.kind.fit.function)(rung, config, out, ladder)
    return result


def _complete(rung: Rung, out: Path) -> None:
    """Write the files that dvc.yaml expects of all rungs in `rungs`, whatever their kinds.

    The digest of a kind of one's own is one of them, so that `evaluate` runs again where its code
    changes and its checkpoint does not.
    """
    if rung.stage != GROUPS["rungs"]:
        return
    kind = rung.settings.kind
    write_json(out / MODULE, {"kind": kind, "sha256": module_digest(kind, rung.settings.watch)})
    if rung.kind.fit.again is not None:
        atomic_write(out / BEST, (out / LATEST).read_bytes())
        atomic_write(out / HISTORY, as_csv([], COLUMNS).encode())


def fit_by_gradients(rung: Rung, config: Config, out: Path, ladder: Path) -> Result:
    """Train a rung; write its checkpoints, history and metrics to `out`.

    The objective is the validation loss of the checkpoint that `evaluate.checkpoint` selects, so
    that a search minimizes the loss of the checkpoint in the table.
    """
    kernels.select(config.runtime.kernels)
    prepared = open_prepared(config, ladder)
    origin = rung.first_checkpoint(config.seed, prepared)
    code = run_digest(rung.stage, origin.kind)
    run = begin(origin, rung.settings, prepared, out, stage=rung.stage, code=code)
    facts = dotted({rung.name: asdict(rung.settings), "seed": config.seed})
    with logged(config.logger, out, facts) as log:
        finished, speed = train(run, log)
    losses = write_metrics(out, finished, run.model, rung.folder)
    _complete(rung, out)
    _record_sequences(rung, config, run.model, prepared, out)
    discard_unfinished(out)
    print(f"{rung.name}: {losses['latest']:.4f} nats/token on validation sequences -> {out}")
    return Result(tokens_per_second=speed, objective=losses[config.evaluate.checkpoint])


def _record_sequences(
    rung: Rung, config: Config, model: NeuralLanguageModel, prepared: Prepared, out: Path
) -> None:
    """Write scores.json with the loss of each validation sequence as a block."""
    training = rung.settings.training
    shape = training.sequence_length, training.evaluate_tokens
    nats = sequence_nll(model, training, validation_sequences(prepared.val, *shape))
    # The first token of a sequence is not scored.
    starts = sequence_starts(len(prepared.val), *shape) + 1
    scored = ScoredModel(
        name=rung.model,
        kind=rung.settings.kind,
        rung=rung.folder,
        deterministic=rung.kind.fit.deterministic,
        scores=Scores(val_loss=float(nats.mean())),
        losses=tuple(nats.sum(axis=1, dtype=np.float64).tolist()),
    )
    blocks = starts, np.full(len(starts), training.sequence_length)
    save_record(out, config, prepared, [scored], blocks)


def fit_at_once(rung: Rung, config: Config, out: Path, ladder: Path) -> Result:
    """Fit a rung like `fit_by_counting`, with the configured kernels."""
    kernels.select(config.runtime.kernels)
    return fit_by_counting(rung, config, out, ladder)


def fit_by_counting(rung: Rung, config: Config, out: Path, ladder: Path) -> Result:
    """Fit a rung at once, without steps; write the checkpoint and metrics to `out`."""
    prepared = open_prepared(config, ladder)
    origin = rung.first_checkpoint(config.seed, prepared)
    checkpoint = import_object(rung.kind.fit.again or "")(origin, rung.settings, prepared)
    models = checkpoint.restore_models()  # before it is saved: a model may reject its files
    checkpoint.save(out / LATEST)
    models = checkpoint.restore_models()
    # The scores of count models do not depend on how a text is read.
    min_context = getattr(rung.settings, "min_context", 0.0)
    batch_tokens = getattr(rung.settings, "batch_tokens", BATCH_TOKENS)
    on_val = EvaluateSettings(["val"], "latest", min_context, batch_tokens)
    scored = score_models(models, prepared, on_val, label=checkpoint.kind)
    scores = {name: each for (name, _), each in scored.items()}
    values = {name: round(each.nats / len(prepared.val), 6) for name, each in scores.items()}
    metrics = {
        "kind": checkpoint.kind,
        "rung": rung.folder,
        "parameters": {name: model.n_parameters for name, model in models.items()},
        "val_loss": values,  # per token of the text, whatever tokens a model has
    }
    write_json(out / METRICS, metrics)
    _complete(rung, out)
    facts = checkpoint.kind, rung.folder
    recorded = (of_whole_text(name, *facts, each, prepared) for name, each in scores.items())
    save_record(out, config, prepared, recorded)
    best = min(scores, key=lambda name: scores[name].nats)
    loss = scores[best].nats_per_token
    print(f"{rung.name}: best is {best} with {loss:.4f} nats/token -> {out}")
    return Result(objective=loss)
