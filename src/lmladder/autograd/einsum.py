"""Sums of products by Einstein's notation: the one op whose options are a small language."""

from collections.abc import Sequence
from string import ascii_uppercase

from lmladder.autograd.tensor import op

import numpy as np


@op
def einsum(*arrays, subscripts: str):
    """Sum of products by Einstein's notation, as numpy.einsum: "ij,jk->ik" is a matrix product.

    The gradient of each array is an einsum too: of `grad` and the other arrays. Letters that only
    this array has were summed over, so their gradient is stretched; a letter that it has twice
    walks a diagonal, so the gradient stands on that diagonal.

    Raises
    ------
    ValueError
        If subscripts and shapes do not fit, or one letter has two lengths (1 is not stretched).
    """
    labels, result = _explicit(subscripts, arrays)
    lengths = _lengths(labels, arrays)

    def einsum_pullback(grad):
        return tuple(by_operand(place, grad) for place in range(len(arrays)))

    def by_operand(place, grad):
        mine, others = labels[place], [*labels[:place], *labels[place + 1 :]]
        letters = "".join(dict.fromkeys(mine))
        known = "".join(x for x in letters if x in result or any(x in other for other in others))
        part = _contract([result, *others], known, [grad, *arrays[:place], *arrays[place + 1 :]])
        if known == mine:
            return part
        out = np.zeros_like(arrays[place])
        view = np.einsum(f"{mine}->{letters}", out)  # of the diagonal, if a letter repeats
        view[...] = part.reshape([lengths[x] if x in known else 1 for x in letters])
        return out

    return _contract(labels, result, arrays), einsum_pullback


def _contract(labels: Sequence[str], result: str, arrays):
    return np.einsum(f"{','.join(labels)}->{result}", *arrays, optimize=len(arrays) > 1)


def _explicit(subscripts: str, arrays) -> tuple[list[str], str]:
    """The letters of each array and of the result, with "..." and a missing "->" spelt out."""
    left, arrow, result = subscripts.replace(" ", "").partition("->")
    labels = left.split(",")
    if len(labels) != len(arrays):
        raise ValueError(f"{subscripts!r} names {len(labels)} arrays, {len(arrays)} came")
    if any(x.count("...") > 1 for x in [*labels, result]):
        raise ValueError(f"{subscripts!r} has '...' twice in one place")
    counts = [a.ndim - len(x.replace("...", "")) for x, a in zip(labels, arrays, strict=True)]
    spare = "".join(x for x in ascii_uppercase if x not in subscripts)
    batch = spare[: max([0, *(n for x, n in zip(labels, counts, strict=True) if "..." in x)])]
    labels = [
        x.replace("...", batch[len(batch) - n :] if n > 0 else "")
        for x, n in zip(labels, counts, strict=True)
    ]
    letters = "".join(labels)
    if arrow:
        result = result.replace("...", batch)
        if batch and not result.count(batch):
            raise ValueError(f"{subscripts!r} drops the axes that '...' stands for")
        if unknown := set(result) - set(letters):
            raise ValueError(f"{subscripts!r} asks for {min(unknown)!r}, which no array has")
        return labels, result
    return labels, batch + "".join(
        x for x in sorted(set(letters) - set(batch)) if letters.count(x) == 1
    )


def _lengths(labels: Sequence[str], arrays) -> dict[str, int]:
    """The length of each letter's axis."""
    lengths: dict[str, int] = {}
    for letters, array in zip(labels, arrays, strict=True):
        if len(letters) != array.ndim:
            raise ValueError(f"{letters!r} does not name the axes of shape {array.shape}")
        for letter, length in zip(letters, array.shape, strict=True):
            if lengths.setdefault(letter, length) != length:
                raise ValueError(f"{letter!r} is {lengths[letter]} long and {length} long")
    return lengths
