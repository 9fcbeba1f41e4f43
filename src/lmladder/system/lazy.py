"""Packages that import their modules on use, so that reading a configuration loads no NumPy."""

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def lazy_exports(package: str, file: str) -> Callable[[str], Any]:
    """The `__getattr__` of a package: its public names are those imported under TYPE_CHECKING.

        if TYPE_CHECKING:
            from lmladder.optim.adam import Adam
        else:
            __getattr__ = lazy_exports(__name__, __file__)

    So a name stands once, where a type checker reads it, and its module is imported on first use.
    """
    homes: dict[str, str] = {}
    for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(package):
            homes |= {alias.asname or alias.name: node.module for alias in node.names}

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(homes[name])
        if homes[name] == package:
            return importlib.import_module(f"{package}.{name}")
        value = getattr(module, name)
        vars(importlib.import_module(package))[name] = value
        return value

    return load
