"""Kinds of one's own: loaded from a Python file, or from an installed package.

Each class of a file that has settings of its own is a kind: MyKind is `my_kind`. It is a
`NeuralLanguageModel`, or it is `FittedAtOnce`. A file is loaded if a user names it, by `watch` in a
configuration or by an option, or if an installed package declares it as an entry point. The name of
a kind in a checkpoint loads no file.
"""

import hashlib
import importlib
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from lmladder.data import Prepared
from lmladder.data.reading import opened
from lmladder.models.contract import LanguageModel, own_tokenizer, require_complete
from lmladder.models.kind import KINDS, Kind, Log, kind_name, no_log
from lmladder.models.neural import NeuralLanguageModel
from lmladder.system.arrays import Array, IntArray
from lmladder.system.errors import InputError
from lmladder.training.checkpoint import Checkpoint

import numpy as np
from pydantic import BaseModel

GROUP = "lmladder.rungs"  # of entry points; the name of each is a kind, its value a module
METHODS = ("nll", "next_log_probabilities", "log_probabilities", "decoder")


class FittedAtOnce(Kind):
    """A kind that is fitted at once: `learn` returns arrays, and the constructor takes them.

    Its instances are `LanguageModel`. One with tokens of its own has the attribute `tokenizer`, a
    `GuestTokenizer`.

    Parameters
    ----------
    settings : of the model
    vocabulary_size : of the text
    arrays : what `learn` returned
    """

    def __init__(self, settings: Any, vocabulary_size: int, arrays: Mapping[str, Array]):
        raise NotImplementedError

    @staticmethod
    def learn(settings: Any, tokens: IntArray, vocabulary_size: int) -> Mapping[str, Array]:
        """Return arrays by name, fitted to the training text, int64 of shape (tokens,)."""
        return {}

    @classmethod
    def fit(
        cls, start: Checkpoint, settings: Any, text: Prepared, folder: Path, log: Log = no_log
    ) -> Checkpoint:
        given = cls.learn(settings, np.asarray(text.train, np.int64), start.vocabulary_size)
        fitted = replace(start, model={name: np.asarray(each) for name, each in given.items()})
        for name, array in fitted.model.items():
            if array.dtype.kind not in "biuf":
                raise InputError(f"{cls.__name__}.learn: {name!r} is not an array of numbers")
        (model,) = cls.restore(settings, fitted).values()
        tokenizer = own_tokenizer(model) or text.tokenizer
        size, described = tokenizer.vocabulary_size, tokenizer.to_json()
        return replace(fitted, vocabulary_size=size, tokenizer=described)

    @classmethod
    def restore(cls, settings: Any, checkpoint: Checkpoint) -> dict[str, LanguageModel]:
        try:
            model: Any = cls(settings, checkpoint.vocabulary_size, checkpoint.model)
        except KeyError as error:
            raise ValueError(f"the array {error} is missing") from error
        require_complete(model)
        return {checkpoint.name: model}


def load_files(paths: Iterable[Path]) -> None:
    """Load the kinds of Python files.

    Raises
    ------
    InputError
        If a file is missing or raises an exception, if two files define one kind, or a kind has the
        name of a built-in one or is incomplete.
    """
    found: dict[str, type[Kind]] = {}
    for path in dict.fromkeys(each.resolve() for each in paths):
        for name, kind in kinds_of(execute(path)).items():
            if name in found:
                raise InputError(f"{found[name].source} and {path} both define the kind {name!r}")
            found[name] = kind
    KINDS.update(found)


def load_watched(rungs: Any) -> None:
    """Load the Python files in `watch` of rungs whose kinds are not built in, or execute one.

    A kind that no file defines is loaded from the installed package that declares it.

    Parameters
    ----------
    rungs : the group `rungs` of a configuration, as plain values
    """
    paths, kinds = [], set[str]()
    for settings in rungs.values() if isinstance(rungs, Mapping) else ():
        given = settings if isinstance(settings, Mapping) else {}
        kind, watch = given.get("kind"), given.get("watch")
        known = KINDS.get(kind) if isinstance(kind, str) else None
        kinds |= {kind} if isinstance(kind, str) else set()
        executes = known is None or known.source is not None or known.executes
        if isinstance(watch, str) and watch.endswith(".py") and executes:
            paths.append(Path(watch))
    load_files(paths)
    for kind in kinds - KINDS.keys():
        load_installed(kind)


def load_installed(kind: str) -> None:
    """Load a kind from the installed package that declares it, if there is one.

    Raises
    ------
    InputError
        If two packages declare it, or its module raises an exception or does not define it.
    """
    declared = [*entry_points(group=GROUP, name=kind)]
    if not declared:
        return
    where = " and ".join(sorted(f"{each.value}" for each in declared))
    if len(declared) > 1:
        raise InputError(f"two packages declare the kind of rung {kind!r}: {where}")
    try:
        module = importlib.import_module(declared[0].module)
    except Exception as error:
        raise _failed(where, error) from error
    if kind not in (found := kinds_of(module)):
        defined = ", ".join(found) or "none"
        raise InputError(f"{where} is declared as the kind of rung {kind!r}, but defines {defined}")
    KINDS[kind] = found[kind]


def kinds_of(module: ModuleType) -> dict[str, type[Kind]]:
    """Return the kinds that a module defines, by name.

    Raises
    ------
    InputError
        If one has the name of a built-in kind, or is incomplete.
    """
    found = {}
    for each in vars(module).values():
        is_kind = isinstance(each, type) and issubclass(each, Kind) and "Settings" in vars(each)
        if not (is_kind and each.__module__ == module.__name__):
            continue
        where, name = f"{module.__file__}: {each.__name__}", kind_name(each.__name__)
        if name in KINDS and KINDS[name].source is None:
            raise InputError(f"{where}: the kind {name!r} is built in; rename the class")
        if not issubclass(each.Settings, BaseModel):
            raise InputError(f"{where}.Settings must be a Pydantic model")
        missing = [method for method in METHODS if not hasattr(each, method)]
        if getattr(each, "hidden", None) is NeuralLanguageModel.hidden:
            missing.append("hidden")
        if missing:
            raise InputError(f"{where} must define {', '.join(missing)}")
        each.source, each.is_foreign = Path(module.__file__ or ""), True
        found[name] = each
    return found


def execute(path: Path) -> ModuleType:
    """Execute a Python file, unless this process has executed the same bytes; return its module.

    No bytecode is read or written: Python would use that of a file that changed within a second.
    """
    with opened(path, "rb") as file:
        source = file.read()
    name = _module_name(path, source)
    if name not in sys.modules:
        module = sys.modules[name] = ModuleType(name)
        module.__file__ = str(path)
        try:
            exec(compile(source, path, "exec", dont_inherit=True), vars(module))
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise _failed(str(path), error) from error
    return sys.modules[name]


def _module_name(path: Path, source: bytes) -> str:
    return f"lmladder_rung_{hashlib.sha256(bytes(path) + source).hexdigest()[:16]}"


def executed(path: Path) -> ModuleType:
    """Return the module of a file that this process has executed, because a user named it.

    Raises
    ------
    InputError
        If no user named it: a checkpoint that names a file does not execute it.
    """
    name = _module_name(path.resolve(), path.read_bytes())
    if name not in sys.modules:
        raise InputError(f"loading a checkpoint executes no file; --module {path} executes it")
    return sys.modules[name]


def _failed(where: str, error: BaseException) -> InputError:
    """Return the error for a module that raises an exception, with the line of the module."""
    lines = [each.lineno for each in traceback.extract_tb(error.__traceback__) if each[0] == where]
    line = lines[-1] if lines else getattr(error, "lineno", None)
    place = f" at line {line}" if line else ""
    reason = getattr(error, "msg", None) or error
    return InputError(f"cannot load {where}: {type(error).__name__}{place}: {reason}")
