"""Arrays that a graph holds are locked: a pullback that will read one must find what was there."""

from collections.abc import Sequence
from contextlib import suppress
from threading import RLock

from lmladder.arrays import Array

_holders: dict[int, int] = {}  # how many guards hold an array, by its id
_lock = RLock()  # an old guard may go while a new one is made


class Guard:
    """Keeps arrays from being written for as long as this object lives."""

    __slots__ = ("arrays",)

    def __init__(self, arrays: Sequence[Array]):
        self.arrays = arrays
        with _lock:
            for array in arrays:
                if array.flags.writeable:
                    array.setflags(write=False)
                    _holders[id(array)] = 1
                elif id(array) in _holders:  # not one that is read-only of itself
                    _holders[id(array)] += 1

    def __del__(self) -> None:
        with _lock:
            for array in self.arrays:
                holders = _holders.pop(id(array), None)
                if holders == 1:
                    with suppress(ValueError):  # a view, whose owner has become read-only meanwhile
                        array.setflags(write=True)
                elif holders:
                    _holders[id(array)] = holders - 1
