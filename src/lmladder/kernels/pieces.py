"""Many arrays at once, such as all parameters: where their pieces are, for one call of a kernel.

A call for each array would take longer than the arithmetic on a small one.
"""

import weakref
from collections.abc import Sequence
from typing import Any

from lmladder.arrays import Array, IntArray

import numpy as np

PIECE = 1 << 15  # numbers at most, so that threads can share a large array
KEPT = 8  # tables, as the same arrays come again in each step


class Pieces:
    """Lists of arrays, each list alike in sizes, cut into pieces.

    Attributes
    ----------
    owners : (pieces,), to which of the arrays of each list a piece belongs
    table : (pieces, 1 + lists): how many numbers a piece has, and its address in each list
    step : how many pieces a thread shall take at a time
    dtypes : of the arrays

    Raises
    ------
    ValueError
        If the numbers of an array do not lie in order, one after another.
    """

    def __init__(self, lists: Sequence[Sequence[Array]]):
        rows, owners = [], []
        for owner, arrays in enumerate(zip(*lists, strict=True)):
            if not all(each.flags.c_contiguous for each in arrays):
                raise ValueError(f"an array of shape {arrays[0].shape} is not in one piece")
            size, itemsize = arrays[0].size, arrays[0].itemsize
            addresses = [each.__array_interface__["data"][0] for each in arrays]
            for start in range(0, size, PIECE):
                offset = start * itemsize
                rows.append((min(PIECE, size - start), *(first + offset for first in addresses)))
                owners.append(owner)
        self.owners: IntArray = np.array(owners, np.int64)
        self.table: IntArray = np.array(rows, np.int64).reshape(len(rows), 1 + len(lists))
        total = int(self.table[:, 0].sum())
        self.step = max(1, len(rows) * PIECE // max(1, total))
        self.dtypes = {each.dtype for arrays in lists for each in arrays}
        self._hold = [weakref.ref(each, self._forget) for arrays in lists for each in arrays]
        self.is_current = True

    def _forget(self, _: Any) -> None:
        self.is_current = False  # an address may be another array's by now


_made: dict[tuple[int, ...], Pieces] = {}  # by the ids of the arrays


def pieces(*lists: Sequence[Array]) -> Pieces:
    """The pieces of lists of arrays, each in one block of memory; found again if made before."""
    key = tuple(map(id, (each for arrays in lists for each in arrays)))
    found = _made.get(key)
    if found is None or not found.is_current:
        for old in [old for old, each in _made.items() if not each.is_current]:
            del _made[old]
        while len(_made) >= KEPT:
            del _made[next(iter(_made))]
        found = _made[key] = Pieces(lists)
    return found
