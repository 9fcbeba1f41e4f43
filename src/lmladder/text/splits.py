"""Which part of a corpus is trained on (train), chosen by (val), and judged by (test)."""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import TypeVar

from lmladder.errors import InputError
from lmladder.rng import stream

SPLITS = ("train", "val", "test")

Document = TypeVar("Document")


def split_contiguous(text: str, *, train: float, val: float, test: float) -> dict[str, str]:
    """Cut one text in order, so that no split's text surrounds another's.

    Parameters
    ----------
    train, val, test : fractions that sum to 1

    Raises
    ------
    InputError
        If these are no such fractions, or one above 0 comes to no character.
    """
    spans = _spans(len(text), (train, val, test), "characters")
    return {name: text[span] for name, span in spans.items()}


def split_documents(
    documents: Sequence[Document], *, train: float, val: float, test: float, seed: int
) -> dict[str, list[Document]]:
    """Shuffle documents and deal them out; each split keeps the shuffled order.

    Neighbours in a file are often alike (sorted names, chapters of one book), and every split
    should have its share of each kind. For the arguments see `split_contiguous`.
    """
    spans = _spans(len(documents), (train, val, test), "documents")
    order = stream(seed, "split").permutation(len(documents))
    return {name: [documents[i] for i in order[span]] for name, span in spans.items()}


def _spans(count: int, fractions: tuple[float, float, float], unit: str) -> dict[str, slice]:
    if not all(math.isfinite(fraction) and fraction >= 0 for fraction in fractions):
        raise InputError(f"the fractions of train, val and test must be 0 or more, not {fractions}")
    # 0.7 + 0.1 is 0.7999999999999999 in floats and would lose the last of 10 documents, so each
    # fraction is taken as the decimal number that the user wrote.
    parts = [Fraction(repr(float(fraction))) for fraction in fractions]
    total = sum(parts, Fraction(0))
    if abs(float(total) - 1) > 1e-9:
        raise InputError(f"the fractions of train, val and test must sum to 1, not {fractions}")
    ends = [math.floor(count * part / total) for part in accumulate(parts)]
    spans = [slice(begin, end) for begin, end in pairwise([0, *ends])]
    for name, fraction, span in zip(SPLITS, fractions, spans, strict=True):
        if fraction > 0 and span.start == span.stop:
            raise InputError(
                f"split {name!r} is empty: a fraction of {fraction} of {count} {unit} is less than "
                f"one; give a longer text, or a larger fraction, or 0"
            )
    return dict(zip(SPLITS, spans, strict=True))
