"""Which part of a corpus is trained on (train), chosen by (val), and judged by (test)."""

import math
from fractions import Fraction
from itertools import accumulate, pairwise

from lmladder.arrays import IntArray
from lmladder.errors import InputError
from lmladder.rng import stream

SPLITS = ("train", "val", "test")


def spans(count: int, *, train: float, val: float, test: float, unit: str) -> dict[str, slice]:
    """Where to cut `count` things in order, so that none of a split stands among another's.

    Parameters
    ----------
    train, val, test : fractions that sum to 1
    unit : what is counted, for error messages

    Raises
    ------
    InputError
        If these are no such fractions, or one above 0 comes to nothing.
    """
    fractions = (train, val, test)
    if not all(math.isfinite(fraction) and fraction >= 0 for fraction in fractions):
        raise InputError(f"the fractions of train, val and test must be 0 or more, not {fractions}")
    # 0.7 + 0.1 is 0.7999999999999999 in floats and would lose the last of 10 documents, so each
    # fraction is taken as the decimal number that the user wrote.
    parts = [Fraction(repr(float(fraction))) for fraction in fractions]
    total = sum(parts, Fraction(0))
    if abs(float(total) - 1) > 1e-9:
        raise InputError(f"the fractions of train, val and test must sum to 1, not {fractions}")
    ends = [math.floor(count * part / total) for part in accumulate(parts)]
    found = [slice(begin, end) for begin, end in pairwise([0, *ends])]
    for name, fraction, span in zip(SPLITS, fractions, found, strict=True):
        if fraction > 0 and span.start == span.stop:
            raise InputError(
                f"split {name!r} is empty: a fraction of {fraction} of {count} {unit} is less than "
                f"one; give a longer text, or a larger fraction, or 0"
            )
    return dict(zip(SPLITS, found, strict=True))


def deal(count: int, *, train: float, val: float, test: float, seed: int) -> dict[str, IntArray]:
    """The numbers of the documents of each split, of `count` that are shuffled and dealt out.

    Each split keeps the shuffled order. For the arguments see `spans`.
    """
    found = spans(count, train=train, val=val, test=test, unit="documents")
    order = stream(seed, "split").permutation(count)
    return {name: order[span] for name, span in found.items()}
