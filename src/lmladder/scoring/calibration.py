"""Whether a model knows what it knows: of what it is 70 % sure, 70 % should come true.

C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger (2017). On calibration of modern neural networks.
ICML. Here the class is the next token.
"""

from dataclasses import dataclass

from lmladder.arrays import BoolArray, FloatArray, IntArray

import numpy as np

BINS = 15  # as in the paper


@dataclass(frozen=True)
class Reliability:
    """Predictions by how sure they were; arrays of `BINS`.

    Bin m holds those whose confidence is above m / BINS, and at most (m + 1) / BINS.

    Attributes
    ----------
    tokens : how many
    confidence : mean probability of the likeliest token; NaN where there are none
    accuracy : how often that token came; NaN where there are none
    """

    tokens: IntArray
    confidence: FloatArray
    accuracy: FloatArray

    @classmethod
    def of(cls, confidence: FloatArray, hit: BoolArray) -> "Reliability":
        """Of predictions in arrays of one and the same shape."""
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
        """Distance of accuracy from confidence, as a mean over tokens; 0 is best."""
        there = self.tokens > 0
        gaps = np.abs(self.accuracy - self.confidence)[there]
        return float(np.average(gaps, weights=self.tokens[there]))
