"""What a stage records of its scores: scores.json, with the settings of the run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lmladder.config import Config
from lmladder.data import Prepared
from lmladder.evaluation import Record, Score, ScoredModel, Scores, block_starts
from lmladder.models.registry import KINDS
from lmladder.system.arrays import FloatArray, IntArray

import numpy as np
from hydra.core.hydra_config import HydraConfig

DVC_CONFIG = "pipeline"  # the configuration in conf/ with which DVC runs a stage


def plain_settings(config: Config) -> dict[str, Any]:
    """Return a configuration as plain values, without those that affect no result."""
    values = asdict(config)
    del values["runtime"]["threads"], values["logger"]
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def scored_model(
    name: str,
    kind: str,
    rung: str,
    scores: Mapping[str, float],
    losses: Sequence[float] | FloatArray,
    **facts: Any,
) -> ScoredModel:
    """Return the scores of a model and its losses by block, those that are finite.

    Parameters
    ----------
    kind, rung : kind of its rung, and the folder of the rung within a ladder
    scores : by name
    facts : other attributes
    """
    finite = {name: float(value) for name, value in scores.items() if np.isfinite(value)}
    return ScoredModel(
        name=name,
        kind=kind,
        rung=rung,
        deterministic=KINDS[kind].fit.deterministic,
        scores=Scores(**finite),
        losses=tuple(map(float, losses)) if np.isfinite(losses).all() else (),
        **facts,
    )


def of_whole_text(
    name: str, kind: str, rung: str, score: Score, prepared: Prepared, audit: str = ""
) -> ScoredModel:
    """Return the exact score of a model on the validation text, per token of the text."""
    of_text = replace(score, tokens=len(prepared.val))
    names = ("bits_per_byte", "nats_per_token", "perplexity")
    scores = {each: getattr(of_text, each) for each in names}
    facts = {"tokens": score.tokens, "bytes": score.bytes, "audit": audit}
    return scored_model(name, kind, rung, scores, score.block_losses, **facts)


def save_record(
    out: Path,
    config: Config,
    prepared: Prepared,
    models: Sequence[ScoredModel],
    blocks: tuple[IntArray, IntArray] | None = None,
) -> None:
    """Write scores.json to `out`, which must be the last file of the results there.

    Parameters
    ----------
    blocks : positions of the first tokens, and lengths; None: the blocks of the whole text
    """
    if blocks is None:
        starts = block_starts(len(prepared.val))
        blocks = starts, np.diff(starts, append=len(prepared.val))
    by_hand = HydraConfig.initialized() and HydraConfig.get().job.config_name != DVC_CONFIG
    Record(
        settings=plain_settings(config),
        seed=config.seed,
        overrides=tuple(HydraConfig.get().overrides.task) if by_hand else (),
        digest=prepared.digest,
        first=tuple(blocks[0].tolist()),
        lengths=tuple(blocks[1].tolist()),
        models=tuple(models),
    ).save(out)
