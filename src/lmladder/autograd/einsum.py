"""The op `einsum`: sums of products in Einstein notation."""

from collections.abc import Sequence
from string import ascii_uppercase

from lmladder.autograd.tensor import op

import numpy as np


@op
def einsum(*arrays, subscripts: str):
    """Sum of products in Einstein notation, as numpy.einsum: "ij,jk->ik" is a matrix product.

    The gradient of each array is an einsum of `grad` and the other arrays. It is broadcast along
    letters that only this array has, which the op sums over. It is 0 outside of the diagonal for a
    letter that the array has twice.

    Raises
    ------
    ValueError
        If subscripts and shapes do not match, or one letter has two lengths (1 is not broadcast).
    """
    labels, result = _explicit(subscripts, arrays)
    lengths = _lengths(labels, arrays)

    def einsum_pullback(grad):
        return tuple(by_operand(i, grad) for i in range(len(arrays)))

    def by_operand(i, grad):
        mine, others = labels[i], [*labels[:i], *labels[i + 1 :]]
        letters = "".join(dict.fromkeys(mine))
        known = "".join(x for x in letters if x in result or any(x in other for other in others))
        part = _contract([result, *others], known, [grad, *arrays[:i], *arrays[i + 1 :]])
        if known == mine:
            return part
        out = np.zeros_like(arrays[i])
        view = np.einsum(f"{mine}->{letters}", out)  # of the diagonal, if a letter repeats
        view[...] = part.reshape([lengths[x] if x in known else 1 for x in letters])
        return out

    return _contract(labels, result, arrays), einsum_pullback


def _contract(labels: Sequence[str], result: str, arrays):
    return np.einsum(f"{','.join(labels)}->{result}", *arrays, optimize=len(arrays) > 1)


def _explicit(subscripts: str, arrays) -> tuple[list[str], str]:
    """Return the letters of each array and of the result, without "..." and with "->"."""
    left, arrow, result = subscripts.replace(" ", "").partition("->")
    labels = left.split(",")
    if len(labels) != len(arrays):
        raise ValueError(f"{subscripts!r} names {len(labels)} arrays, got {len(arrays)}")
    if any(x.count("...") > 1 for x in [*labels, result]):
        raise ValueError(f"{subscripts!r} has '...' twice in one term")
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
            raise ValueError(f"{subscripts!r} sums over the axes of '...'; use letters for them")
        if unknown := set(result) - set(letters):
            raise ValueError(f"{subscripts!r}: no array has {min(unknown)!r}")
        return labels, result
    return labels, batch + "".join(
        x for x in sorted(set(letters) - set(batch)) if letters.count(x) == 1
    )


def _lengths(labels: Sequence[str], arrays) -> dict[str, int]:
    """Return the length of the axes of each letter."""
    lengths: dict[str, int] = {}
    for letters, array in zip(labels, arrays, strict=True):
        if len(letters) != array.ndim:
            raise ValueError(f"{letters!r} does not name the axes of shape {array.shape}")
        for letter, length in zip(letters, array.shape, strict=True):
            if lengths.setdefault(letter, length) != length:
                raise ValueError(f"{letter!r} has the lengths {lengths[letter]} and {length}")
    return lengths
