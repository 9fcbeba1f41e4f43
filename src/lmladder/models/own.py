"""Kinds of one's own: loaded from a Python file, or from an installed package.

Each class `MyKind` of a file with a dataclass `MyKindSettings` beside it is the kind `my_kind`. It
is a `NeuralLanguageModel`, or a `LanguageModel` that is fitted at once: its function `fit` returns
arrays, and its constructor takes them. A file is loaded if a user names it, by `watch` in a
configuration or by an option, or if an installed package declares it as an entry point. The name of
a kind in a checkpoint loads no file.
"""

import hashlib
import importlib
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from lmladder.models.registry import BY_GRADIENTS, KINDS, OWN_FIT, Kind
from lmladder.system.errors import InputError, no_file

GROUP = "lmladder.rungs"  # of entry points; the name of each is a kind, its value a module
# What a kind that is fitted at once must define.
METHODS = ("fit", "nll", "next_log_probabilities", "log_probabilities", "decoder")


def load_files(paths: Iterable[Path]) -> None:
    """Load the kinds of Python files.

    Raises
    ------
    InputError
        If a file is missing or raises an exception, if two files define one kind, or a kind has the
        name of a built-in one or is incomplete.
    """
    found: dict[str, Kind] = {}
    for path in dict.fromkeys(each.resolve() for each in paths):
        for name, kind in kinds_of(execute(path)).items():
            if name in found:
                raise InputError(f"{found[name].source} and {path} both define the kind {name!r}")
            found[name] = kind
    KINDS.own |= found


def load_watched(rungs: Any) -> None:
    """Load the Python files in `watch` of rungs whose kinds are not built in, or execute one.

    Parameters
    ----------
    rungs : the group `rungs` of a configuration, as plain values
    """
    paths = []
    for name, settings in rungs.items() if isinstance(rungs, Mapping) else ():
        given = settings if isinstance(settings, Mapping) else {}
        kind, watch = given.get("kind"), given.get("watch")
        built_in = KINDS.kinds.get(kind) if isinstance(kind, str) else None
        executes = built_in is None or built_in.executes
        if isinstance(watch, str) and watch.endswith(".py") and executes:
            paths.append(Path(watch))
            if not paths[-1].is_file():
                raise InputError(f"rungs.{name}.watch: {no_file(paths[-1])}")
    load_files(paths)


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
    KINDS.own[kind] = found[kind]


def kinds_of(module: ModuleType) -> dict[str, Kind]:
    """Return the kinds that a module defines, by name: MyKind and MyKindSettings are my_kind."""
    models = {
        re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower(): each
        for name, each in vars(module).items()
        if isinstance(each, type) and each.__module__ == module.__name__
        if f"{name}Settings" in vars(module)
    }
    return {name: _kind(name, module, each) for name, each in models.items()}


def _kind(name: str, module: ModuleType, model: Any) -> Kind:
    """Return the entry of a class; raise InputError if the class or its settings are incomplete."""
    from lmladder.models.neural import NeuralLanguageModel  # loads NumPy

    source, settings = Path(module.__file__ or ""), f"{model.__name__}Settings"
    declared = getattr(module, settings)
    if name in KINDS.kinds:
        raise InputError(f"{source}: the kind {name!r} is built in; rename {model.__name__}")
    if not is_dataclass(declared):
        raise InputError(f"{source}: {settings} must be a dataclass")
    if plain := [each.name for each in fields(declared) if "help" not in each.metadata]:
        raise InputError(f"{source}: {settings}.{plain[0]} must be declared with `setting`")
    is_neural = issubclass(model, NeuralLanguageModel)
    if is_neural and model.hidden is NeuralLanguageModel.hidden:
        raise InputError(f"{source}: {model.__name__} must define hidden")
    if missing := [each for each in METHODS if not is_neural and not hasattr(model, each)]:
        raise InputError(f"{source}: {model.__name__} must define {', '.join(missing)}")
    return Kind(
        f"{module.__name__}:{settings}",
        f"{module.__name__}:{model.__name__}",
        labels={name: model.label} if hasattr(model, "label") else {},
        fit=BY_GRADIENTS if is_neural else OWN_FIT,
        source=source,
    )


def execute(path: Path) -> ModuleType:
    """Execute a Python file, unless this process has executed the same bytes; return its module.

    No bytecode is read or written: Python would use that of a file that changed within a second.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        if not path.is_file():
            raise no_file(path) from None
        raise InputError(f"cannot read {path}: {error.strerror}") from None
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


def restore(
    kind: str, settings: Any, vocabulary_size: int, arrays: Mapping[str, Any], name: str
) -> dict[str, Any]:
    """Return the model of a checkpoint that was fitted at once, by its name.

    Raises
    ------
    ValueError
        If an array is missing.
    """
    try:
        model = KINDS.component(kind)(settings, vocabulary_size, arrays)
    except KeyError as error:
        raise ValueError(f"the array {error} is missing") from error
    require_attributes(model, kind)
    return {name: model}


def require_attributes(model: Any, kind: str) -> None:
    """Raise InputError if a model lacks an attribute of `LanguageModel`."""
    for name in ("vocabulary_size", "context_length", "max_length", "n_parameters"):
        if not hasattr(model, name):
            raise InputError(f"the model of kind {kind!r} must have the attribute {name}")
