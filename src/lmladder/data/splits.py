"""The splits of a corpus: train for training, val to select models, test for the final result."""

import math
from fractions import Fraction
from itertools import accumulate, pairwise

from lmladder.data.settings import SplitSettings
from lmladder.system.errors import InputError
from lmladder.system.settings import check

SPLITS = ("train", "val", "test")


def spans(count: int, split: SplitSettings, *, unit: str) -> dict[str, slice]:
    """Return where to cut `count` items in order, as one slice for each split.

    Parameters
    ----------
    unit : what is counted, for error messages

    Raises
    ------
    InputError
        If the fractions do not sum to 1, or a split with a fraction above 0 would be empty.
    """
    check(split, "split.")
    # 0.7 + 0.1 is 0.7999999999999999 in floats and would lose the last of 10 documents, so each
    # fraction is read as the decimal number that the user wrote.
    fractions = [Fraction(repr(float(getattr(split, name)))) for name in SPLITS]
    ends = [math.floor(count * end / sum(fractions)) for end in accumulate(fractions)]
    found = {}
    for name, (begin, end) in zip(SPLITS, pairwise([0, *ends]), strict=True):
        if getattr(split, name) > 0 and begin == end:
            raise InputError(
                f"split {name!r} is empty: a fraction of {getattr(split, name)} of {count} {unit} "
                "is less than one; give a longer text, or a larger fraction, or 0"
            )
        found[name] = slice(begin, end)
    return found
