"""Several models on one prepared text: their scores, predictions and losses by token."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lmladder.data import Prepared
from lmladder.data.batches import validation_sequences
from lmladder.evaluation.blocks import BLOCK_LOSSES, BlockLosses
from lmladder.evaluation.calibration import Reliability
from lmladder.evaluation.exact import Score, score, token_nll
from lmladder.evaluation.predictions import Predictions, predict
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.models.contract import LanguageModel
from lmladder.system.arrays import FloatArray
from lmladder.system.errors import InputError
from lmladder.system.files import atomic_write, write_json
from lmladder.system.progress import CountingProgress
from lmladder.training.checkpoint import METRICS

import numpy as np

PREDICTED_TOKENS = 32768  # by each model; enough for a figure, within seconds
PASSAGE_CONTEXT = 0.5  # as evaluate.min_context in conf/; a passage has few windows

Models = Mapping[str, LanguageModel]


def score_models(
    models: Models, prepared: Prepared, settings: EvaluateSettings, label: str = "evaluate"
) -> dict[tuple[str, str], Score]:
    """Return the score of every model on every split that the settings name, by both names.

    Empty splits are omitted.

    Raises
    ------
    InputError
        If all splits are empty.
    """
    facts = {name: prepared.corpus.splits[name] for name in settings.splits}
    splits = [name for name in facts if facts[name].tokens]
    if not splits:
        raise InputError(f"evaluate.splits: no text in {', '.join(facts)}")
    tokens = len(models) * sum(facts[split].tokens for split in splits)
    with CountingProgress(label, "tokens", tokens) as progress:
        return {
            (name, split): score(
                model,
                prepared.split(split),
                prepared.preceding(split),
                n_bytes=facts[split].bytes,
                min_context=settings.min_context,
                batch_tokens=settings.batch_tokens,
                advance=progress.advance,
            )
            for name, model in models.items()
            for split in splits
        }


def write_scores(
    out: Path, kind: str, rung: str, models: Models, prepared: Prepared, settings: EvaluateSettings
) -> dict[str, Score]:
    """Score count models on the validation text; write metrics.json and the losses of blocks."""
    on_val = replace(settings, splits=["val"])
    scored = score_models(models, prepared, on_val, label=kind)
    scores = {name: each for (name, _), each in scored.items()}
    write_json(
        out / METRICS,
        {
            "kind": kind,
            "rung": rung,
            "parameters": {name: model.n_parameters for name, model in models.items()},
            "val_loss": {name: round(each.nats_per_token, 6) for name, each in scores.items()},
        },
    )
    nats = {name: each.block_losses for name, each in scores.items()}
    blocks = BlockLosses.of_whole_text(prepared.digest, len(prepared.val), nats)
    atomic_write(out / BLOCK_LOSSES, blocks.to_csv().encode())
    return scores


def predict_models(models: Models, prepared: Prepared, batch_tokens: int) -> dict[str, Predictions]:
    """Return what models predict of sequences spread over the validation text.

    The sequences are as long as the longest context, or as long as the model can read. They begin
    without context, so that the benefit of context can be measured.
    """
    longest = max(max(model.context_length, 1) for model in models.values())
    predictions = {}
    for name, model in models.items():
        length = min(model.max_length or longest, longest, len(prepared.val) - 1)
        sequences = validation_sequences(prepared.val, length, PREDICTED_TOKENS)
        predictions[name] = predict(model, sequences, batch_tokens=batch_tokens)
    return predictions


def reliability_of(predictions: Predictions, min_context: float) -> Reliability:
    """Return that of the predictions with at least as much context as in the table."""
    length = predictions.nats.shape[1]
    first = min(length - 1, int(np.ceil(length * min_context)))
    return Reliability.of(predictions.confidence[:, first:], predictions.hit[:, first:])


def passage_nll(models: Models, prepared: Prepared, tokens: int) -> dict[str, FloatArray]:
    """Return the nats of each of the first tokens of the validation text, by model."""
    text, preceding = prepared.val[:tokens], prepared.preceding("val")
    return {
        name: token_nll(each, text, preceding, min_context=PASSAGE_CONTEXT, batch_tokens=tokens)
        for name, each in models.items()
    }
