"""Calibration: of the tokens that a model predicts with probability 70%, 70% should be correct.

C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger (2017). On calibration of modern neural networks.
ICML. Here the class is the next token.
"""

from dataclasses import dataclass

from lmladder.system.arrays import BoolArray, FloatArray, IntArray

import numpy as np

BINS = 15  # as in the paper


@dataclass(frozen=True)
class Reliability:
    """Predictions by confidence, in arrays of `BINS`.

    Bin m holds those whose confidence is above m / BINS, and at most (m + 1) / BINS.

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
    def of(cls, confidence: FloatArray, hit: BoolArray) -> "Reliability":
        """Return that of predictions; the arrays have the same shape."""
        index = np.clip(np.ceil(confidence.ravel() * BINS).astype(np.int64) - 1, 0, BINS - 1)
        tokens = np.bincount(index, minlength=BINS)
        count = np.where(tokens > 0, tokens, np.nan)
        return cls(
            tokens,
            np.bincount(index, confidence.ravel(), BINS) / count,
            np.bincount(index, hit.ravel(), BINS) / count,
        )

    @property
    def expected_calibration_error(self) -> float:
        """Mean over tokens of the difference between accuracy and confidence; 0 is best."""
        nonempty = self.tokens > 0
        gaps = np.abs(self.accuracy - self.confidence)[nonempty]
        return float(np.average(gaps, weights=self.tokens[nonempty]))
