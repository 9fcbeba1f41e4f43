"""Fixed position vectors."""

from lmladder.system.arrays import FloatArray, IntArray

import numpy as np


def sinusoidal(positions: IntArray, size: int) -> FloatArray:
    """Return sines and cosines of each position at decreasing frequencies: (n,) -> (n, size).

    Sine and cosine of one frequency are neighbors (Vaswani et al. 2017, section 3.5); size is even.
    """
    angles = positions[:, np.newaxis] / 10_000.0 ** (np.arange(0, size, 2) / size)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(positions), size)
