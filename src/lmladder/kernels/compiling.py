"""Compiling a kernel, and keeping its code on disk where that can be done."""

import contextlib
import functools
import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import njit
from numba.core import caching, config

SOURCES = Path(__file__).parent
MAX_FOLDERS = 4  # of compiled code that stay in one place, each made of other sources

_announced = False


def compile_kept(signature: Any, function: Callable[..., Any], **options: Any) -> Any:
    """The kernel that Numba makes of a function, or loads from what an earlier run has made.

    Without a folder for it that can be written, or room on its disk, each process compiles anew.
    """
    before = config.CACHE_LOCATOR_CLASSES
    config.CACHE_LOCATOR_CLASSES = ",".join(f"{__name__}.{each.__name__}" for each in LOCATORS)
    try:
        kernel = njit(signature, cache=True, **options)(function)
        if kernel.stats.cache_misses:
            _announce("compiling kernels, once on this machine ...")
            _remove_old(Path(kernel.stats.cache_path))
    except (RuntimeError, OSError):  # Numba finds no folder; or cannot write to the one it found
        _announce(
            "compiling kernels, as at each start: NUMBA_CACHE_DIR names no folder for them ..."
        )
        kernel = njit(signature, **options)(function)
    finally:
        config.CACHE_LOCATOR_CLASSES = before
    return kernel


@functools.cache
def _folder(sources: Path) -> str:
    """A name for the folder of what is compiled from these sources.

    Numba compares the file of a function only, and would not see that a constant has changed which
    the function takes from another file.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(sources.glob("*.py")):
        source = path.read_bytes()
        digest.update(f"\n{path.name} {len(source)}\n".encode() + source)
    return f"lmladder-{digest.hexdigest()[:16]}"


class _OfAllSources:
    """A folder of its own for each state of the sources, where Numba has one for all of them."""

    def get_cache_path(self) -> str:
        return str(Path(super().get_cache_path(), _folder(SOURCES)))  # type: ignore[misc]


class UserProvided(_OfAllSources, caching.UserProvidedCacheLocator):
    """In NUMBA_CACHE_DIR."""


class InTree(_OfAllSources, caching.InTreeCacheLocator):
    """In __pycache__ beside the source."""


class UserWide(_OfAllSources, caching.UserWideCacheLocator):
    """In the user's cache."""


LOCATORS = UserProvided, InTree, UserWide  # the first whose folder can be written is used


def _remove_old(folder: Path) -> None:
    """Remove the oldest of the folders beside this one, all but the last few."""
    with contextlib.suppress(OSError):  # another process removes them too
        beside = sorted(folder.parent.glob("lmladder-*"), key=lambda each: each.stat().st_mtime)
        for old in beside[:-MAX_FOLDERS]:
            shutil.rmtree(old, ignore_errors=True)


def _announce(line: str) -> None:
    """Say it, and nothing of the kernels that follow."""
    global _announced
    if not _announced:
        _announced = True
        print(line, file=sys.stderr, flush=True)
