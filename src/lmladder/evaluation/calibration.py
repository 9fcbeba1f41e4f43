"""Calibration: of the tokens that a model predicts with probability 70%, 70% should be correct.

C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger (2017). On calibration of modern neural networks.
ICML. Here the class is the next token.
"""

from dataclasses import dataclass

from lmladder.system.arrays import Array, FloatArray, IntArray

import numpy as np

BINS = 15  # as in the paper


def bin_of(confidence: FloatArray) -> IntArray:
    """Return the bins of confidences: m holds those above m / BINS, and at most (m + 1) / BINS."""
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


@dataclass(frozen=True)
class Reliability:
    """Predictions by the bin of their confidence, in arrays of `BINS`.

    Attributes
    ----------
    tokens : number of predictions
    confidence : mean probability of the most likely token; NaN in an empty bin
    accuracy : fraction of predictions where that was the next token; NaN in an empty bin
    """

    tokens: IntArray
    confidence: FloatArray
    accuracy: FloatArray

    @classmethod
    def of(cls, confidence: FloatArray, hit: Array) -> "Reliability":
        """Return that of predictions, and whether each was the next token; of the same shape."""
        index = bin_of(confidence.ravel())
        tokens = np.bincount(index, minlength=BINS)
        count = np.where(tokens > 0, tokens, np.nan)
        sums = (np.bincount(index, each.ravel(), BINS) for each in (confidence, hit))
        return cls(tokens, *(each / count for each in sums))

    @property
    def expected_calibration_error(self) -> float:
        """Mean over tokens of the difference between accuracy and confidence; 0 is best."""
        nonempty = self.tokens > 0
        gaps = np.abs(self.accuracy - self.confidence)[nonempty]
        return float(np.average(gaps, weights=self.tokens[nonempty]))
