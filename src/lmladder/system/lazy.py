"""Packages that import their modules on use, so that reading a configuration loads no NumPy."""

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def lazy_exports(package: str, file: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package that exports the names imported under TYPE_CHECKING.

        if TYPE_CHECKING:
            from lmladder.optim.adam import Adam
        else:
            __getattr__ = lazy_exports(__name__, __file__)

    Each name is written once, where type checkers read it; its module is imported on first use.
    """
    modules: dict[str, str] = {}
    for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(package):
            modules |= {alias.asname or alias.name: node.module for alias in node.names}

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(modules[name]), name)
        vars(importlib.import_module(package))[name] = value
        return value

    return load
