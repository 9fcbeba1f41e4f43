"""The op `einsum`: sums of products in Einstein notation."""

from collections.abc import Sequence

from lmladder.autograd.tensor import op

import numpy as np


@op
def einsum(*arrays, subscripts: str):
    """Sum of products in Einstein notation, as numpy.einsum: "ij,jk->ik" is a matrix product.

    There must be a letter for each axis, and "->"; the other forms of NumPy are not supported.

    The gradient of each array is an einsum of `grad` and the other arrays. It is broadcast along
    letters that only this array has, which the op sums over. It is 0 outside of the diagonal for a
    letter that the array has twice.

    Raises
    ------
    ValueError
        If subscripts and shapes do not match, or one letter has two lengths (1 is not broadcast).
    """
    left, arrow, result = subscripts.replace(" ", "").partition("->")
    labels = left.split(",")
    if not arrow or "." in subscripts:
        raise ValueError(f"{subscripts!r} must have '->' and a letter for each axis")
    if len(labels) != len(arrays):
        raise ValueError(f"{subscripts!r} names {len(labels)} arrays, got {len(arrays)}")
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
