"""The benefit of context: the loss by the number of tokens that precede the predicted one."""

from dataclasses import dataclass

from lmladder.system.arrays import FloatArray, IntArray

import numpy as np


@dataclass(frozen=True)
class ContextLosses:
    """Nats per token in each of the ranges of `context_ranges`; arrays of one length.

    Attributes
    ----------
    first, last : the least and the greatest number of tokens of context in each range
    nats : mean over all tokens of the range
    standard_error : of the mean, with sequences as independent draws; NaN for a single sequence
    """

    first: IntArray
    last: IntArray
    nats: FloatArray
    standard_error: FloatArray

    @classmethod
    def of_sequences(cls, nats: FloatArray) -> "ContextLosses":
        """Return those of the nats of each token but the first of sequences, (sequences, length).

        The sequences begin without context.
        """
        first, last = context_ranges(nats.shape[1])
        means = np.add.reduceat(nats, first - 1, axis=1) / (last - first + 1)
        # Tokens of a sequence are not independent evidence: one text is easier than another.
        count = len(means)
        std = means.std(axis=0, ddof=1) if count > 1 else np.full(len(first), np.nan)
        return cls(first, last, means.mean(axis=0), std / count**0.5)


def context_ranges(longest: int) -> tuple[IntArray, IntArray]:
    """Return ranges of the number of tokens of context, from 1 to `longest`: two per octave.

    Returns
    -------
    first, last : int arrays, of which `last` is inclusive
    """
    ends = [2**octave * step // 2 for octave in range(longest.bit_length()) for step in (2, 3)]
    last = np.array(sorted({end for end in ends if end < longest} | {longest}))
    return np.append(1, last[:-1] + 1), last
