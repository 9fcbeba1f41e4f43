"""Blocks of a text, by whose losses models are compared.

Neighboring tokens are not independent evidence: they are easy or hard together. Long blocks of
consecutive tokens are almost independent.
"""

from lmladder.system.arrays import IntArray

import numpy as np

MIN_TOKENS = 512  # of a block of a whole text, if the text has that many
MAX_BLOCKS = 256


def block_starts(n_tokens: int) -> IntArray:
    """Return where the blocks of a whole text begin; their lengths differ by one token at most."""
    count = min(n_tokens, MAX_BLOCKS, max(1, n_tokens // MIN_TOKENS))
    return np.arange(count) * n_tokens // count
