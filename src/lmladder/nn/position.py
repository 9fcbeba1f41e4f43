"""What tells a Transformer where a token stands, besides tables of learnt vectors."""

from lmladder.arrays import FloatArray, IntArray

import numpy as np

# What each choice adds to the token embeddings; rotary positions turn queries and keys instead.
POSITIONS = ("learned", "sinusoidal", "rotary", "none")


def sinusoidal(positions: IntArray, size: int) -> FloatArray:
    """Sines and cosines, side by side, of each position at falling frequencies: (n,) -> (n, size).

    Vaswani et al. 2017, section 3.5; size is even.
    """
    angles = positions[:, np.newaxis] / 10_000.0 ** (np.arange(0, size, 2) / size)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(positions), size)
