"""Arrays that a graph holds are locked: a pullback that will read one must find what was there.

A graph may live longer than it is of use: in a list of losses, or in the traceback of a Ctrl-C. So
`release` and `release_all` unlock arrays all the same; after that a graph that held them raises
RuntimeError where it is asked for gradients.
"""

from collections.abc import Iterable, Sequence
from threading import RLock, get_ident

from lmladder.system.arrays import Array

import numpy as np


class _Lock:
    """An array that is read-only for as long as a guard holds it.

    Attributes
    ----------
    holders : by the id of a guard, the thread that made it
    is_broken : whether the array was released in spite of its holders
    """

    __slots__ = ("array", "holders", "is_broken")

    def __init__(self, array: Array):
        self.array = array
        self.holders: dict[int, int] = {}
        self.is_broken = False


_locks: dict[int, _Lock] = {}  # by the id of the array, which the lock keeps alive
_waiting: dict[int, list[Array]] = {}  # views that can be unlocked only after it, their owner
_mutex = RLock()  # an old guard may go while a new one is made


class Guard:
    """Keeps arrays from being written for as long as this object lives."""

    __slots__ = ("arrays", "locks")

    def __init__(self, arrays: Sequence[Array]):
        self.arrays = arrays
        self.locks: list[_Lock] = []
        with _mutex:
            for array in arrays:
                lock = _locks.get(id(array))
                if lock is None:
                    if not array.flags.writeable:  # read-only of itself
                        continue
                    lock = _Lock(array)
                # In this order Ctrl-C may come at any instruction: `__del__` finds what is done.
                self.locks.append(lock)
                lock.holders[id(self)] = get_ident()
                _locks[id(array)] = lock
                array.setflags(write=False)

    def __del__(self) -> None:
        try:
            self._let_go()
        except KeyboardInterrupt:
            self._let_go()
            raise  # Python prints what is raised here, and goes on

    def _let_go(self) -> None:
        locks: list[_Lock] = getattr(self, "locks", [])  # none yet, where Ctrl-C came first
        with _mutex:
            for lock in locks:
                lock.holders.pop(id(self), None)
                if not lock.holders and _locks.get(id(lock.array)) is lock:
                    _unlock(lock.array)

    def require_whole(self) -> None:
        """Raise RuntimeError if one of the arrays was released."""
        if any(lock.is_broken for lock in self.locks):
            raise RuntimeError(
                "an array that this graph reads may have changed since: an optimizer's step or "
                "Ctrl-C released it; compute the result again"
            )


def release(arrays: Iterable[Array]) -> None:
    """Unlock arrays that are about to be written, whatever holds them."""
    with _mutex:
        for array in arrays:
            if (lock := _locks.get(id(array))) is not None:
                lock.is_broken = True
                _unlock(array)


def release_all() -> None:
    """Unlock the arrays that graphs of this thread hold."""
    with _mutex:
        locks = list(_locks.values())
    release(lock.array for lock in locks if get_ident() in lock.holders.values())


def _unlock(array: Array) -> None:
    _locks.pop(id(array), None)
    try:
        array.setflags(write=True)
    except ValueError:  # a view of an array that has been locked since
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        _waiting.setdefault(id(owner), []).append(array)
    for view in _waiting.pop(id(array), ()):
        _unlock(view)
