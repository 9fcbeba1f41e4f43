"""Sequences of tokens: those of a training batch, drawn at random, and those of validation."""

from lmladder.system.arrays import IntArray
from lmladder.system.errors import InputError

import numpy as np


def get_batch(
    tokens: IntArray, *, batch_size: int, length: int, rng: np.random.Generator
) -> IntArray:
    """Return sequences of consecutive tokens, each from a position drawn uniformly.

    Parameters
    ----------
    tokens : shape (tokens,), possibly a memory map, of which only the sequences are read

    Returns
    -------
    int64 array, shape (batch_size, length)

    Raises
    ------
    InputError
        If the text is shorter than one sequence.
    """
    if batch_size < 0 or length < 1:
        raise ValueError(f"cannot draw {batch_size} sequences of {length} tokens")
    if len(tokens) < length:
        raise InputError(
            f"a text of {len(tokens)} tokens is shorter than one sequence of {length}; "
            "give a longer text or a shorter context_length"
        )
    starts = rng.integers(len(tokens) - length + 1, size=batch_size)
    sequences = np.lib.stride_tricks.sliding_window_view(np.asarray(tokens), length)
    return sequences[starts].astype(np.int64)


def validation_sequences(val: IntArray, length: int, tokens: int) -> IntArray:
    """Return sequences spread evenly over the validation text, about `tokens` in all.

    Each is scored as a sequence of a training batch is, so their mean compares with the training
    loss.

    Returns
    -------
    int64 array, shape (sequences, length + 1)

    Raises
    ------
    InputError
        If the text is shorter than one sequence.
    """
    if len(val) < length + 1:
        raise InputError(
            f"the validation text of {len(val)} tokens is shorter than a sequence of {length + 1}"
        )
    starts = sequence_starts(len(val), length, tokens)
    return val[starts[:, None] + np.arange(length + 1)].astype(np.int64)


def sequence_starts(n_tokens: int, length: int, tokens: int) -> IntArray:
    """Return where the `validation_sequences` of a text of `n_tokens` begin."""
    count = max(1, min(tokens, n_tokens - 1) // length)
    return np.linspace(0, n_tokens - length - 1, count).astype(np.int64)
