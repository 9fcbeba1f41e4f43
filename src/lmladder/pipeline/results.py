"""The results of a rung: its checkpoint, metrics.json for DVC, and the record of its scores."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmladder.config import STAGES, Config
from lmladder.data import Prepared
from lmladder.data.batches import sequence_starts, validation_sequences
from lmladder.evaluation import Record, Score, ScoredModel, Scores, block_starts, score_models
from lmladder.evaluation.ladder import READING
from lmladder.experiments.jobs import module_digest
from lmladder.models import GROUPS, kind_named, restore_models
from lmladder.pipeline.rungs import Rung
from lmladder.system.arrays import IntArray
from lmladder.system.files import write_json
from lmladder.training.checkpoint import LATEST, METRICS, Checkpoint
from lmladder.training.loop import discard_unfinished, sequence_nll

import numpy as np
from hydra.core.hydra_config import HydraConfig

MODULE = "module.json"  # the digest of the file that defines the kind of a rung
DVC_CONFIG = "pipeline"  # the configuration in conf/ with which DVC runs a stage


def save_results(
    rung: Rung, fitted: Checkpoint, config: Config, text: Prepared, folder: Path
) -> float:
    """Write the results of a fitted rung; return the loss that a search minimizes."""
    models = restore_models(fitted)  # before it is saved: a model may reject its files
    if rung.stage == "rung":
        # So that `evaluate` runs again where the code of a kind changes, but no checkpoint does.
        digest = module_digest(rung.settings.kind, rung.settings.watch)
        write_json(folder / MODULE, {"kind": rung.settings.kind, "sha256": digest})
    if rung.kind.by_steps:
        return _of_training(rung, fitted, config, text, folder, models[fitted.name])
    replace(fitted, trained_by={}).save(folder / LATEST)
    return _of_whole_text(rung, config, text, folder, models)


def _of_training(
    rung: Rung, fitted: Checkpoint, config: Config, text: Prepared, folder: Path, model: Any
) -> float:
    """Write the losses of the validation sequences, each of which is a block.

    Returns the loss of the checkpoint that `evaluate.checkpoint` selects, so that a search
    minimizes the loss of the checkpoint in the table.
    """
    validated = fitted.history[1:]
    losses = {
        "latest": validated[-1]["val_loss"],
        "best": min(row["val_loss"] for row in validated),
    }
    metrics = {
        "model": fitted.name,
        "kind": fitted.kind,
        "rung": rung.folder,
        "parameters": model.n_parameters,
        "steps": fitted.step,
        "train_loss": round(validated[-1]["train_loss"], 6),
        "val_loss": round(losses["latest"], 6),
        "best_val_loss": round(losses["best"], 6),
    }
    write_json(folder / METRICS, metrics)
    training = rung.settings.training
    shape = training.sequence_length, training.evaluate_tokens
    nats = sequence_nll(model, training, validation_sequences(text.val, *shape))
    scored = ScoredModel(
        name=rung.model,
        kind=fitted.kind,
        rung=rung.folder,
        deterministic=False,
        scores=Scores(val_loss=float(nats.mean())),
        losses=tuple(nats.sum(axis=1, dtype=np.float64).tolist()),
    )
    # The first token of a sequence is not scored.
    starts = sequence_starts(len(text.val), *shape) + 1
    save_record(folder, config, text, [scored], rung, (starts, np.full_like(starts, shape[0])))
    discard_unfinished(folder)
    print(f"{rung.name}: {losses['latest']:.4f} nats/token on validation sequences -> {folder}")
    return float(losses[config.evaluate.checkpoint])


def _of_whole_text(
    rung: Rung, config: Config, text: Prepared, folder: Path, models: dict[str, Any]
) -> float:
    """Write the exact scores of models of the whole validation text; return the lowest loss."""
    reading = {key: getattr(rung.settings, key, value) for key, value in READING.items()}
    settings = config.evaluate.model_copy(update={"splits": ["val"], **reading})
    scored = score_models(models, text, settings, label=rung.settings.kind)
    scores = {name: each for (name, _), each in scored.items()}
    metrics = {
        "kind": rung.settings.kind,
        "rung": rung.folder,
        "parameters": {name: model.n_parameters for name, model in models.items()},
        # Per token of the text, whatever tokens a model has.
        "val_loss": {k: round(each.nats / len(text.val), 6) for k, each in scores.items()},
    }
    write_json(folder / METRICS, metrics)
    facts = rung.settings.kind, rung.folder
    recorded = [of_whole_text(name, *facts, each, text) for name, each in scores.items()]
    save_record(folder, config, text, recorded, rung)
    best = min(scores, key=lambda name: scores[name].nats)
    loss = scores[best].nats_per_token
    print(f"{rung.name}: best is {best} with {loss:.4f} nats/token -> {folder}")
    return loss


def of_whole_text(
    name: str, kind: str, rung: str, score: Score, text: Prepared, audit: str = ""
) -> ScoredModel:
    """Return the exact score of a model on the validation text, per token of the text.

    A score that is not finite is left out.
    """
    of_text = replace(score, tokens=len(text.val))
    values = {each: getattr(of_text, each, None) for each in Scores.model_fields}
    finite = bool(np.isfinite([score.nats, *score.block_losses]).all())
    return ScoredModel(
        name=name,
        kind=kind,
        rung=rung,
        deterministic=kind_named(kind).deterministic,
        scores=Scores(**values) if finite else Scores(),
        losses=score.block_losses if finite else (),
        tokens=score.tokens,
        bytes=score.bytes,
        audit=audit,
    )


def save_record(
    folder: Path,
    config: Config,
    text: Prepared,
    models: Iterable[ScoredModel],
    rung: Rung | None = None,
    blocks: tuple[IntArray, IntArray] | None = None,
) -> None:
    """Write scores.json, which must be the last file of the results in a folder.

    Parameters
    ----------
    rung : whose models these are; the settings of rungs on which it does not depend are left out.
        None: all settings count
    blocks : positions of the first tokens, and lengths; None: the blocks of the whole text
    """
    if blocks is None:
        starts = block_starts(len(text.val))
        blocks = starts, np.diff(starts, append=len(text.val))
    settings = config.relevant
    if rung is not None and not rung.sources:
        settings = {k: v for k, v in settings.items() if k not in (*STAGES, *GROUPS, "sample")}
        (group, _, name), own = rung.key.partition("."), rung.settings.model_dump(mode="json")
        settings[group] = {name: own} if name else own
    by_hand = HydraConfig.initialized() and HydraConfig.get().job.config_name != DVC_CONFIG
    Record(
        settings=settings,
        seed=config.seed,
        overrides=tuple(HydraConfig.get().overrides.task) if by_hand else (),
        digest=text.digest,
        first=tuple(blocks[0].tolist()),
        lengths=tuple(blocks[1].tolist()),
        models=tuple(models),
    ).save(folder)
