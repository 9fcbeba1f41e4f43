"""Sequences of tokens: those of a training batch, in random order, and those of validation."""

from functools import lru_cache

from lmladder.system.arrays import IntArray
from lmladder.system.streams import stream

import numpy as np


def get_batch(tokens: IntArray, *, batch_size: int, length: int, step: int, seed: int) -> IntArray:
    """Return the sequences of consecutive tokens that a training step reads.

    In each epoch, the text is cut into sequences at a random place, and these are read in random
    order. So an epoch predicts each token once, but for fewer than two sequences at both ends.

    Parameters
    ----------
    tokens : shape (tokens,), possibly a memory map, of which only the sequences are read
    length : of a sequence; its first token is the last of the one before it in the text
    step : number of the step, from 0; all steps have batches of one shape

    Returns
    -------
    int64 array, shape (batch_size, length)

    Raises
    ------
    ValueError
        If the text is shorter than one sequence.
    """
    places, stride = len(tokens) - length + 1, max(1, length - 1)
    numbers = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, indices = np.divmod(numbers, max(1, places // stride))
    order = {epoch: _starts(places, stride, epoch, seed) for epoch in set(epochs.tolist())}
    starts = [order[epoch][index] for epoch, index in zip(epochs, indices, strict=True)]
    sequences = np.lib.stride_tricks.sliding_window_view(np.asarray(tokens), length)
    return sequences[np.array(starts, np.int64)].astype(np.int64)


@lru_cache(maxsize=2)  # a batch may be at the end of an epoch
def _starts(places: int, stride: int, epoch: int, seed: int) -> IntArray:
    """Return where the sequences of an epoch begin, in order, among the first `places`."""
    rng = stream(seed, "epochs", epoch)
    count = max(1, places // stride)
    first = rng.integers(places - stride * (count - 1))
    starts: IntArray = first + stride * rng.permutation(count)
    return starts


def validation_sequences(val: IntArray, length: int, tokens: int) -> IntArray:
    """Return sequences spread evenly over the validation text, about `tokens` in all.

    Each is scored as a sequence of a training batch is, so their mean compares with the training
    loss.

    Returns
    -------
    int64 array, shape (sequences, length + 1)

    Raises
    ------
    IndexError
        If the text is shorter than one sequence.
    """
    starts = sequence_starts(len(val), length, tokens)
    return val[starts[:, None] + np.arange(length + 1)].astype(np.int64)


def sequence_starts(n_tokens: int, length: int, tokens: int) -> IntArray:
    """Return where the `validation_sequences` of a text of `n_tokens` begin."""
    count = max(1, min(tokens, n_tokens - 1) // length)
    return np.linspace(0, n_tokens - length - 1, count).astype(np.int64)
