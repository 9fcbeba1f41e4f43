"""Several models on one prepared text: their scores, and what they predict."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lmladder.data import Prepared
from lmladder.data.batches import sequence_starts
from lmladder.evaluation.calibration import Reliability
from lmladder.evaluation.exact import Score, token_nll
from lmladder.evaluation.guests import convert
from lmladder.evaluation.predictions import predict
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.models.contract import LanguageModel, own_tokenizer, parts_of_validation
from lmladder.system.arrays import FloatArray
from lmladder.system.errors import InputError
from lmladder.system.progress import CountingProgress

import numpy as np

PREDICTED_TOKENS = 32768  # by each model; enough for a figure, within seconds
# How a text is read, as evaluate in conf/, where these settings do not reach.
READING: dict[str, Any] = {"min_context": 0.5, "batch_tokens": 8192}

Models = Mapping[str, LanguageModel]


def score_models(
    models: Models,
    prepared: Prepared,
    settings: EvaluateSettings,
    label: str = "evaluate",
    crop: int | None = None,
) -> dict[tuple[str, str], Score]:
    """Return the score of every model on every split that the settings name, by both names.

    Empty splits are omitted. The tokens of a score are those of the model; its blocks are those of
    the text. `crop` is that of `read_tokens`.

    Raises
    ------
    InputError
        If all splits are empty.
    """
    facts = prepared.corpus.splits
    splits = [name for name in settings.splits if facts[name].tokens]
    if not splits:
        raise InputError(f"evaluate.splits: no text in {', '.join(settings.splits)}")
    scores: dict[tuple[str, str], Score] = {}
    tokens = len(models) * sum(facts[split].tokens for split in splits)
    with CountingProgress(label, "tokens", tokens) as progress:
        options = {**settings.reading, "crop": crop, "advance": progress.advance}
        for name, model in models.items():
            for split in splits:
                nats = split_nll(model, prepared, split, **options)
                score = Score.of(nats, facts[split].bytes)
                if tokenizer := own_tokenizer(model):
                    own = convert(tokenizer, model.context_length, prepared, split)
                    score = replace(score, tokens=len(own.tokens))
                scores[name, split] = score
    return scores


def split_nll(
    model: LanguageModel,
    prepared: Prepared,
    split: str,
    n_tokens: int | None = None,
    **options: Any,
) -> FloatArray:
    """Return the nats of each token of a split, or of its first `n_tokens`.

    Each part of the validation text is scored with a model of which nothing was fitted on it. The
    nats of a token of a model with tokens of its own are those of the token of the text in which it
    begins. The options are those of `read_tokens`.
    """
    text = prepared.split(split)
    end_of_text = len(text) if n_tokens is None else n_tokens
    if tokenizer := own_tokenizer(model):
        own = convert(tokenizer, model.context_length, prepared, split)
        inside = own.positions[own.positions < end_of_text]
        nats = token_nll(model, own.tokens[: len(inside)], own.preceding, **options)
        return np.bincount(inside, nats, end_of_text).astype(np.float64)
    parts = parts_of_validation(model, len(text)) if split == "val" else [(0, len(text), model)]
    found = []
    for first, end, each in parts:
        if first < end_of_text:
            before = text[:first] if first else prepared.preceding(split)
            found.append(token_nll(each, text[first : min(end, end_of_text)], before, **options))
    return np.concatenate(found)


def longest_context(models: Models) -> int:
    """Return the longest context of the models in tokens, at least 1."""
    return max(max(model.context_length, 1) for model in models.values())


def predict_models(models: Models, prepared: Prepared, batch_tokens: int) -> dict[str, FloatArray]:
    """Return what models predict of sequences spread over the validation text; see `predict`.

    The sequences are as long as the longest context, or as long as the model can read. They begin
    without context, so that the benefit of context can be measured. Each part of the text is
    predicted by a model of which nothing was fitted on it.
    """
    val, longest = prepared.val, longest_context(models)
    found: dict[str, FloatArray] = {}
    for name, model in models.items():
        length = min(model.max_length or longest, longest, len(val) - 1)
        starts = sequence_starts(len(val), length, PREDICTED_TOKENS)
        places = starts[:, None] + np.arange(length + 1)
        found[name] = np.empty((len(starts), length, 3))
        for first, end, each in parts_of_validation(model, len(val)):
            inside = (first <= places[:, 1:]) & (places[:, 1:] < end)
            touched = inside.any(axis=1)
            if touched.any():
                sequences = val[places[touched]].astype(np.int64)
                values = predict(each, sequences, batch_tokens=batch_tokens)
                found[name][inside] = values[inside[touched]]
    return found


def reliability_of(predictions: FloatArray, min_context: float) -> Reliability:
    """Return that of the predictions with at least as much context as in the table."""
    length = predictions.shape[1]
    first = min(length - 1, int(np.ceil(length * min_context)))
    return Reliability.of(predictions[:, first:, 1], predictions[:, first:, 2])
