"""Compiling kernels, with a cache on disk of the compiled code."""

import contextlib
import functools
import hashlib
import importlib
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import njit
from numba.core import caching, config

# Numba would load it for products of matrices, which no kernel has: 0.13 s at each start.
UNUSED = "scipy.linalg"
if UNUSED not in sys.modules:
    sys.modules[UNUSED] = None  # type: ignore[assignment]
    importlib.import_module("numba.np.arraymath")
    del sys.modules[UNUSED]

SOURCES = Path(__file__).parent
MAX_FOLDERS = 4  # folders of compiled code in one cache, each of another state of the sources

SECONDS_PER_LINE = 5.0
_announced = -SECONDS_PER_LINE


def compile_cached(signature: Any, function: Callable[..., Any], **options: Any) -> Any:
    """Return the kernel that Numba compiles from a function, or loads from the cache.

    If there is no writable folder for the cache, or its disk is full, each process compiles again.
    """
    before = config.CACHE_LOCATOR_CLASSES
    config.CACHE_LOCATOR_CLASSES = ",".join(f"{__name__}.{each.__name__}" for each in LOCATORS)
    try:
        kernel = njit(signature, cache=True, **options)(function)
        if kernel.stats.cache_misses:
            _announce("compiling kernels, once on this machine ...")
            _remove_old(Path(kernel.stats.cache_path))
    except (RuntimeError, OSError):  # no folder, or one that cannot be written
        _announce("compiling kernels at each start: set NUMBA_CACHE_DIR to a writable folder ...")
        kernel = njit(signature, **options)(function)
    finally:
        config.CACHE_LOCATOR_CLASSES = before
    return kernel


@functools.cache
def _folder(sources: Path) -> str:
    """Return the name of the folder for code compiled from the files of a folder.

    Numba compares only the file that defines a function, so it would not notice a change of a
    constant that the function imports from another file.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(sources.glob("*.py")):
        source = path.read_bytes()
        digest.update(f"\n{path.name} {len(source)}\n".encode() + source)
    return f"lmladder-{digest.hexdigest()[:16]}"


class _OfAllSources:
    """A separate folder for each state of the sources; Numba has one for all of them."""

    def get_cache_path(self) -> str:
        return str(Path(super().get_cache_path(), _folder(SOURCES)))  # type: ignore[misc]


class UserProvided(_OfAllSources, caching.UserProvidedCacheLocator):
    """The cache in NUMBA_CACHE_DIR."""


class InTree(_OfAllSources, caching.InTreeCacheLocator):
    """The cache in __pycache__, in the folder of the source."""


class UserWide(_OfAllSources, caching.UserWideCacheLocator):
    """The cache in the user's cache folder."""


LOCATORS = UserProvided, InTree, UserWide  # Numba uses the first one with a writable folder


def _remove_old(folder: Path) -> None:
    """Remove the oldest folders of the cache that contains this one, all but MAX_FOLDERS."""
    with contextlib.suppress(OSError):  # another process may remove them at the same time
        folders = sorted(folder.parent.glob("lmladder-*"), key=lambda each: each.stat().st_mtime)
        for old in folders[:-MAX_FOLDERS]:
            shutil.rmtree(old, ignore_errors=True)


def _announce(line: str) -> None:
    """Print a line, and again every few seconds of compiling."""
    global _announced
    if time.monotonic() - _announced >= SECONDS_PER_LINE:
        _announced = time.monotonic()
        print(line, file=sys.stderr, flush=True)
