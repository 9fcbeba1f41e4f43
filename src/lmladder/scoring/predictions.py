"""What a model made of every token of some rows: more than its score, and so of fewer tokens."""

from dataclasses import dataclass

from lmladder.arrays import BoolArray, FloatArray, IntArray
from lmladder.models.contract import LanguageModel

import numpy as np


@dataclass(frozen=True)
class Predictions:
    """Of each token but the first of rows that begin without a past; all (rows, length).

    Attributes
    ----------
    nats : negative log-likelihood of the token that came
    confidence : probability of the token that was the likeliest
    hit : whether that was the one that came
    """

    nats: FloatArray
    confidence: FloatArray
    hit: BoolArray


def predict(model: LanguageModel, rows: IntArray, *, batch_tokens: int) -> Predictions:
    """What a model makes of rows, (rows, length + 1), about `batch_tokens` at a time."""
    size = max(1, batch_tokens // rows.shape[1])
    parts = [_predict(model, rows[first : first + size]) for first in range(0, len(rows), size)]
    return Predictions(*map(np.concatenate, zip(*parts, strict=True)))


def _predict(model: LanguageModel, rows: IntArray) -> tuple[FloatArray, FloatArray, BoolArray]:
    targets = rows[:, 1:, None]
    log_probabilities = model.log_probabilities(rows[:, :-1])
    likeliest = log_probabilities.argmax(axis=-1, keepdims=True)
    nats = -np.take_along_axis(log_probabilities, targets, axis=-1)
    confidence = np.exp(np.take_along_axis(log_probabilities, likeliest, axis=-1))
    return nats[..., 0], confidence[..., 0], (likeliest == targets)[..., 0]
