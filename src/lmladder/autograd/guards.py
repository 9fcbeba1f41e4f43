"""Locks on the arrays that a graph holds, so that its pullbacks read what its ops read.

A graph may exist longer than it is needed: in a list of losses, or in the traceback of a Ctrl-C. So
`release` and `release_all` unlock arrays that graphs hold. Such a graph raises RuntimeError when
gradients are computed.
"""

from collections.abc import Iterable, Sequence
from threading import RLock, get_ident

from lmladder.system.arrays import Array

import numpy as np


class _Lock:
    """An array that is read-only while a guard holds it.

    Attributes
    ----------
    holders : the ids of the guards, each with the thread that created it
    is_broken : whether the array was released while guards held it
    """

    __slots__ = ("array", "holders", "is_broken")

    def __init__(self, array: Array):
        self.array = array
        self.holders: dict[int, int] = {}
        self.is_broken = False


_locks: dict[int, _Lock] = {}  # by the id of the array, which the lock references
_pending: dict[int, list[Array]] = {}  # by the id of an owner, views to unlock after it
_mutex = RLock()  # reentrant, because a guard may be deleted while another is created


class Guard:
    """Make arrays read-only as long as this object exists."""

    __slots__ = ("arrays", "locks")

    def __init__(self, arrays: Sequence[Array]):
        self.arrays = arrays
        self.locks: list[_Lock] = []
        with _mutex:
            for array in arrays:
                lock = _locks.get(id(array))
                if lock is None:
                    if not array.flags.writeable:  # read-only without a guard
                        continue
                    lock = _Lock(array)
                # In this order, Ctrl-C at any instruction leaves a state that `__del__` can undo.
                self.locks.append(lock)
                lock.holders[id(self)] = get_ident()
                _locks[id(array)] = lock
                array.setflags(write=False)

    def __del__(self) -> None:
        try:
            self._unlock_all()
        except KeyboardInterrupt:
            self._unlock_all()
            raise  # Python prints it and continues

    def _unlock_all(self) -> None:
        locks: list[_Lock] = getattr(self, "locks", [])  # missing if Ctrl-C came first
        with _mutex:
            for lock in locks:
                lock.holders.pop(id(self), None)
                if not lock.holders and _locks.get(id(lock.array)) is lock:
                    _unlock(lock.array)

    def require_unbroken(self) -> None:
        """Raise RuntimeError if one of the arrays was released."""
        if any(lock.is_broken for lock in self.locks):
            raise RuntimeError(
                "an array that this graph reads may have changed: an optimizer's step or "
                "Ctrl-C released it; compute the result again"
            )


def release(arrays: Iterable[Array]) -> None:
    """Unlock arrays, even if guards hold them, because they will be written."""
    with _mutex:
        for array in arrays:
            if (lock := _locks.get(id(array))) is not None:
                lock.is_broken = True
                _unlock(array)


def release_all() -> None:
    """Unlock the arrays that guards of this thread hold."""
    with _mutex:
        locks = list(_locks.values())
    release(lock.array for lock in locks if get_ident() in lock.holders.values())


def _unlock(array: Array) -> None:
    _locks.pop(id(array), None)
    try:
        array.setflags(write=True)
    except ValueError:  # a view of an array that is locked itself
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        _pending.setdefault(id(owner), []).append(array)
    for view in _pending.pop(id(array), ()):
        _unlock(view)
