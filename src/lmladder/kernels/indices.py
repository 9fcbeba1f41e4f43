"""What is done with integers: checking that they name rows, and fetching these."""

from lmladder.kernels.blocks import as_rows, contiguous, empty
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.tracing import run

import numpy as np


def numbers_below(indices: IntArray, count: int, what: str) -> IntArray:
    """Indices in a row, as the kernels want them.

    Raises
    ------
    IndexError
        If one is not in [0, count), which compiled code would not see.
    """
    flat = contiguous(indices.astype(np.int64, copy=False)).reshape(-1)
    run(_check_range, flat, count, what)
    return flat


def _check_range(numbers: IntArray, count: int, what: str) -> None:
    # As numbers without a sign, negative ones are the largest.
    if numbers.size and np.maximum.reduce(numbers.view(np.uint64)) >= count:
        raise IndexError(
            f"{what} range from {numbers.min()} to {numbers.max()}, not in [0, {count})"
        )


def pad_front(rows: IntArray, count: int, filler: int) -> IntArray:
    """`count` times `filler` before each row: (n, length) -> (n, count + length), int64."""
    out = np.full_like(rows, filler, np.int64, shape=(len(rows), count + rows.shape[1]))
    out[:, count:] = rows
    return out


def gather_rows(table: FloatArray, indices: IntArray) -> FloatArray:
    """Rows of a table by number: (n, size), (...) -> (..., size).

    Raises
    ------
    IndexError
        If a number is out of range.
    """
    numbers = numbers_below(indices, len(table), "ids")
    out = empty(table, (*indices.shape, table.shape[1]))
    run(np.take, table, numbers, 0, as_rows(out), "clip")  # with "raise" it would buffer
    return out
