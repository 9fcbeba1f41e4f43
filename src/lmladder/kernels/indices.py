"""Integer arrays: checking that they are valid row indices, looking up rows, padding sequences."""

from lmladder.kernels.blocks import as_rows, contiguous, empty
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.tracing import run

import numpy as np


def checked_indices(indices: IntArray, count: int, name: str) -> IntArray:
    """Return the indices as a C-contiguous int64 vector.

    Raises
    ------
    IndexError
        If an index is not in [0, count), which compiled code does not check.
    """
    flat = contiguous(indices.astype(np.int64, copy=False)).reshape(-1)
    run(_check_range, flat, count, name)
    return flat


def _check_range(indices: IntArray, count: int, name: str) -> None:
    # as unsigned integers, negative ones are the largest
    if indices.size and np.maximum.reduce(indices.view(np.uint64)) >= count:
        raise IndexError(
            f"{name} range from {indices.min()} to {indices.max()}, not in [0, {count})"
        )


def pad_front(sequences: IntArray, count: int, value: int) -> IntArray:
    """Insert `count` times `value` before each sequence: (n, length) -> (n, count + length)."""
    shape = len(sequences), count + sequences.shape[1]
    out = np.full_like(sequences, value, np.int64, shape=shape)
    out[:, count:] = sequences
    return out


def gather_rows(table: FloatArray, indices: IntArray) -> FloatArray:
    """Return the rows of a table at the indices: (n, size), (...) -> (..., size).

    Raises
    ------
    IndexError
        If an index is out of range.
    """
    flat = checked_indices(indices, len(table), "ids")
    out = empty(table, (*indices.shape, table.shape[1]))
    run(np.take, table, flat, 0, as_rows(out), "clip")  # mode="raise" would buffer `out`
    return out
