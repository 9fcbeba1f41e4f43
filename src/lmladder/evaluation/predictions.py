"""What a model predicts of every token of some sequences: more than its score."""

from dataclasses import dataclass

from lmladder.models.contract import LanguageModel
from lmladder.system.arrays import BoolArray, FloatArray, IntArray

import numpy as np


@dataclass(frozen=True)
class Predictions:
    """Of each token but the first of sequences without context; all (sequences, length).

    Attributes
    ----------
    nats : negative log-likelihood of the next token
    confidence : probability of the most likely token
    hit : whether that was the next token
    """

    nats: FloatArray
    confidence: FloatArray
    hit: BoolArray


def predict(model: LanguageModel, sequences: IntArray, *, batch_tokens: int) -> Predictions:
    """Return predictions for sequences, (sequences, length + 1), about `batch_tokens` at a time."""
    parts = []
    size = max(1, batch_tokens // sequences.shape[1])
    for first in range(0, len(sequences), size):
        batch = sequences[first : first + size]
        logs, targets = model.log_probabilities(batch[:, :-1]), batch[:, 1:, None]
        best = logs.argmax(axis=-1, keepdims=True)
        nats, confidence = -np.take_along_axis(logs, targets, -1), np.exp(logs.max(axis=-1))
        parts.append((nats[..., 0], confidence, (best == targets)[..., 0]))
    return Predictions(*map(np.concatenate, zip(*parts, strict=True)))
