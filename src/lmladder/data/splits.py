"""The splits of a corpus: train for training, val to select models, test for the final result."""

import math
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Self

from lmladder.system.errors import InputError
from lmladder.system.settings import Fraction as Share
from lmladder.system.settings import Settings

from pydantic import Field, model_validator

SPLITS = ("train", "val", "test")


class SplitSettings(Settings):
    """Fractions of the corpus; they sum to 1."""

    train: float = Field(gt=0, description="fraction of the text to train on")
    val: float = Field(gt=0, description="fraction of the validation text")
    test: Share = Field(description="fraction of the test text")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(self.train + self.val + self.test - 1) > 1e-9:
            raise ValueError(f"it must sum to 1, got {self.train} + {self.val} + {self.test}")
        return self


def spans(count: int, split: SplitSettings, *, unit: str) -> dict[str, slice]:
    """Return where to cut `count` items in order, as one slice for each split.

    Parameters
    ----------
    unit : what is counted, for error messages

    Raises
    ------
    InputError
        If a split with a fraction above 0 would be empty.
    """
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
