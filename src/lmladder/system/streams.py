"""All randomness of this project: independent streams, each a pure function of what it is for.

There is no global seed and no generator whose state would have to be saved. Whoever needs random
numbers at step 1,000 asks for the stream of step 1,000, so a resumed run draws what an
uninterrupted one draws, and evaluating more often changes nothing that is learnt.
"""

import zlib

import numpy as np


def stream(seed: int, name: str, step: int = 0) -> np.random.Generator:
    """Generator for one purpose at one step, independent of all others.

    Parameters
    ----------
    seed : the run's seed, at least 0
    name : what the numbers are for, such as "batches" or "dropout"
    step : which draw of that purpose, at least 0
    """
    # What np.random.default_rng makes of the same numbers, in half the time.
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode()), step]))
