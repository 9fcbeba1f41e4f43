"""Noticing that a Python value has changed that a function reads besides its arguments."""

from collections.abc import Iterator, Mapping
from functools import partial
from operator import attrgetter
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

LIBRARIES = ("builtins", "lmladder", "numpy")  # code that reads nothing else than these values

_contents = attrgetter("cell_contents")


class PythonState:
    """The Python values that a function can reach, as they are now.

    They are attributes of objects and classes, elements of lists, dicts and sets, variables of
    enclosing functions, and the globals that the code of functions names. Values in other modules
    are not found, and none that are not Python objects, such as the state of an iterator.
    """

    def __init__(self, function: Any):
        self._containers: list[Any] = []
        self._owners: list[Any] = []  # of each container: what has it as attributes, or itself
        self._variables: dict[tuple[int, str], tuple[Any, Any]] = {}  # how to read each
        seen: dict[int, Any] = {}
        found = [function]
        while found:
            each = found.pop()
            if id(each) not in seen:
                seen[id(each)] = each
                found += self._inside(each)
        self._copies = [each.copy() for each in self._containers]
        self._values = self._read()

    def change(self) -> str | None:
        """Describe a value that is another one now, if any is."""
        try:  # this is fast, as identical objects are equal
            if self._containers == self._copies and self._read() == self._values:
                return None
        except Exception:  # such as of comparing arrays, which is neither true nor false
            pass
        return next(self._changes(), "a Python value")

    def _read(self) -> list[Any]:
        return [read(key) for read, key in self._variables.values()]

    def _changes(self) -> Iterator[str]:
        for owner, *pair in zip(self._owners, self._containers, self._copies, strict=True):
            now, before = (e if isinstance(e, Mapping) else dict(enumerate(e)) for e in pair)
            for key in {**before, **now}:
                if now.get(key, now) is not before.get(key, before):
                    yield f"{key!r} of {getattr(owner, '__name__', type(owner).__name__)}"
        for (_, name), *pair in zip(self._variables, self._read(), self._values, strict=True):
            if pair[0] is not pair[1]:
                yield f"the variable {name!r}"

    def _inside(self, given: Any) -> list[Any]:
        """Return what an object references; note the containers and variables among it."""
        if isinstance(given, MethodType):
            return [given.__self__, given.__func__]
        if isinstance(given, partial):
            return [given.func, given.args, given.keywords]
        if isinstance(given, property):
            return [given.fget]
        if isinstance(given, tuple | frozenset):
            return list(given)
        if isinstance(given, list | set | dict):
            self._note(given, given)
            return list(given.values() if isinstance(given, dict) else given)
        if isinstance(given, FunctionType | type) and _is_of_library(given.__module__):
            return []
        if isinstance(given, FunctionType):
            return [*self._variables_of(given), *(given.__defaults__ or ()), given.__kwdefaults__]
        if isinstance(given, ModuleType) or not hasattr(given, "__dict__"):
            return []
        self._note(vars(given), given)
        kinds = given.__mro__ if isinstance(given, type) else [type(given)]
        return [*kinds, *vars(given).values()]

    def _note(self, container: Any, owner: Any) -> None:
        self._containers.append(container)
        self._owners.append(owner)

    def _variables_of(self, function: FunctionType) -> list[Any]:
        """Return the values of the variables that are not local to a function; note these."""
        found: dict[tuple[int, str], tuple[Any, Any]] = {}
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            if cell != CellType():  # it has a value
                found[id(cell), name] = _contents, cell
        namespace = function.__globals__
        if not _is_of_library(namespace.get("__name__")):
            for name in namespace.keys() & set(_names(function.__code__)):
                found[id(namespace), name] = namespace.__getitem__, name
        self._variables |= found
        return [read(key) for read, key in found.values()]


def _is_of_library(module: Any) -> bool:
    return str(module).partition(".")[0] in LIBRARIES


def _names(code: CodeType) -> Iterator[str]:
    """Yield the global names in a function and in those defined in it."""
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _names(each)
