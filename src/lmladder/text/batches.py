"""Rows of tokens to train on, drawn at random places of a text."""

from lmladder.arrays import IntArray
from lmladder.errors import InputError

import numpy as np


def sample_rows(tokens: IntArray, *, rows: int, length: int, rng: np.random.Generator) -> IntArray:
    """Runs of consecutive tokens, each begun at a place drawn uniformly from all that fit.

    Parameters
    ----------
    tokens : shape (tokens,), possibly a memory map, of which only the rows are read

    Returns
    -------
    int64 array, shape (rows, length)

    Raises
    ------
    InputError
        If the text is shorter than one row.
    """
    if rows < 0 or length < 1:
        raise ValueError(f"cannot draw {rows} rows of {length} tokens")
    if len(tokens) < length:
        raise InputError(
            f"a text of {len(tokens)} tokens is shorter than one row of {length}; "
            "give a longer text or a shorter context_length"
        )
    starts = rng.integers(len(tokens) - length + 1, size=rows)
    every_row = np.lib.stride_tricks.sliding_window_view(np.asarray(tokens), length)
    return every_row[starts].astype(np.int64)
