"""Arrays that a graph holds are locked: a pullback that will read one must find what was there."""

from collections.abc import Sequence
from threading import RLock

from lmladder.arrays import Array

import numpy as np

# By the id of an array, which stays its own as long as a guard keeps the array alive.
_holders: dict[int, int] = {}  # how many guards hold it
_waiting: dict[int, list[Array]] = {}  # views that can be unlocked only after it, their owner
_lock = RLock()  # an old guard may go while a new one is made


class Guard:
    """Keeps arrays from being written for as long as this object lives."""

    __slots__ = ("arrays",)

    def __init__(self, arrays: Sequence[Array]):
        self.arrays = arrays
        with _lock:
            for array in arrays:
                holders = _holders.get(id(array), 0)
                if array.flags.writeable:
                    array.setflags(write=False)
                elif not holders:  # read-only of itself
                    continue
                _holders[id(array)] = holders + 1

    def __del__(self) -> None:
        with _lock:
            for array in getattr(self, "arrays", ()):  # an interrupt may come before there are any
                holders = _holders.pop(id(array), 0)
                if holders > 1:
                    _holders[id(array)] = holders - 1
                elif holders:
                    _unlock(array)


def _unlock(array: Array) -> None:
    try:
        array.setflags(write=True)
    except ValueError:  # a view of an array that has been locked since
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        _waiting.setdefault(id(owner), []).append(array)
    for view in _waiting.pop(id(array), ()):
        _unlock(view)
