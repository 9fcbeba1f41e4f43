"""Noticing that a Python value has changed that a function reads besides its arguments."""

from collections.abc import Iterator, Mapping
from functools import partial
from operator import attrgetter
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

LIBRARIES = ("builtins", "lmladder", "numpy")  # their code reads only values that are found


class PythonState:
    """The Python values that a function can reach, as they are now.

    They are attributes of objects and classes, elements of lists, dicts and sets, variables of
    enclosing functions, and the globals that the code of functions names. Values in other modules
    are not found, and none that are not Python objects, such as the state of an iterator.
    """

    def __init__(self, function: Any):
        self._containers: list[Any] = []
        self._owners: list[Any] = []  # of each container: what has it as attributes, or itself
        self._variables: dict[tuple[int, str], tuple[Any, Any]] = {}  # a function, its argument
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
        return [read(argument) for read, argument in self._variables.values()]

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
        """Return what an object references; note what may be replaced in it."""
        if type(given).__module__.startswith("pydantic"):  # a class of settings, which are frozen
            return []
        if isinstance(given, tuple | frozenset):
            return list(given)
        if isinstance(given, MethodType):
            return [given.__self__, given.__func__]
        if isinstance(given, partial):
            return [given.func, given.args, given.keywords]
        if isinstance(given, property):
            return [given.fget]
        if isinstance(given, list | set | dict):
            self._note(given, given)
            return list(given.values() if isinstance(given, dict) else given)
        if isinstance(given, FunctionType | type) and _is_of_library(given.__module__):
            return []
        if isinstance(given, FunctionType):
            defaults = given.__defaults__, given.__kwdefaults__
            return [*self._variables_of(given), *defaults, vars(given)]
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
        code, namespace = function.__code__, function.__globals__
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        set_cells = [(name, cell) for name, cell in cells if cell != CellType()]
        found: dict[Any, Any] = {(id(cell), name): (_contents, cell) for name, cell in set_cells}
        if not _is_of_library(namespace.get("__name__")):
            for name in namespace.keys() & _names(code):
                found[id(namespace), name] = namespace.__getitem__, name
        self._variables |= found
        return [read(argument) for read, argument in found.values()]


_contents = attrgetter("cell_contents")


def _is_of_library(module: Any) -> bool:
    return str(module).partition(".")[0] in LIBRARIES


def _names(code: CodeType) -> set[str]:
    """Return the global names in a function and in those defined in it."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return set(code.co_names).union(*map(_names, inner))
