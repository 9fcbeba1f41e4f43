"""How much a longer past helps: the loss by the number of tokens that a prediction had to go by."""

from dataclasses import dataclass

from lmladder.arrays import FloatArray, IntArray

import numpy as np


@dataclass(frozen=True)
class ContextLosses:
    """Nats per token in each of the ranges of `context_ranges`; arrays of one length.

    Attributes
    ----------
    first, last : the least and the most tokens of context in each range
    nats : mean over all tokens of the range
    standard_error : of the mean, from rows as independent draws; NaN of a single row
    """

    first: IntArray
    last: IntArray
    nats: FloatArray
    standard_error: FloatArray

    @classmethod
    def of_rows(cls, nats: FloatArray) -> "ContextLosses":
        """Of the nats of each token but the first of rows without a past, (rows, length)."""
        first, last = context_ranges(nats.shape[1])
        by_row = np.add.reduceat(nats, first - 1, axis=1) / (last - first + 1)
        # Tokens of a row are no independent evidence: one text is easier than another.
        count = len(by_row)
        deviation = by_row.std(axis=0, ddof=1) if count > 1 else np.full(len(first), np.nan)
        return cls(first, last, by_row.mean(axis=0), deviation / count**0.5)


def context_ranges(longest: int) -> tuple[IntArray, IntArray]:
    """First and last number of tokens of context, from 1 to `longest`; two ranges an octave."""
    ends = [2**octave * step // 2 for octave in range(longest.bit_length()) for step in (2, 3)]
    last = np.array(sorted({end for end in ends if end < longest} | {longest}))
    return np.append(1, last[:-1] + 1), last
