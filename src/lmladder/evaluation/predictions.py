"""What a model predicts of every token of some sequences: more than its score."""

from lmladder.models.contract import LanguageModel
from lmladder.system.arrays import FloatArray, IntArray

import numpy as np


def predicted(logs: FloatArray, targets: IntArray) -> FloatArray:
    """Return three values of each prediction: (..., 3).

    They are the nats of the target, the probability of the most likely token (the confidence), and
    whether that is the target, 0 or 1.

    Parameters
    ----------
    logs : log probabilities of all tokens, (..., vocabulary)
    targets : (...)
    """
    nats = -np.take_along_axis(logs, targets[..., None], -1)[..., 0]
    hit = logs.argmax(axis=-1) == targets
    return np.stack([nats, np.exp(logs.max(axis=-1)), hit], axis=-1)


def predict(model: LanguageModel, sequences: IntArray, *, batch_tokens: int) -> FloatArray:
    """Return what a model predicts of each token but the first of sequences without context.

    Shapes: (sequences, length + 1) -> (sequences, length, 3); see `predicted`. About `batch_tokens`
    are read at a time.
    """
    size = max(1, batch_tokens // sequences.shape[1])
    batches = np.split(sequences, range(size, len(sequences), size))
    return np.concatenate(
        [predicted(model.log_probabilities(each[:, :-1]), each[:, 1:]) for each in batches]
    )
