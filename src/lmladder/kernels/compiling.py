"""Compiling kernels, with a cache on disk of the compiled code."""

import functools
import hashlib
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from llvmlite.binding import get_host_cpu_features
from numba import njit
from numba.core import caching, config
from numba.misc.appdirs import AppDirs

SECONDS_PER_LINE = 4.0


def _tile_shape() -> tuple[int, int, int]:
    """Return the shape of a tile of a matrix product that fills the registers of this machine.

    Returns
    -------
    rows, vectors in a row, elements of a vector
    """
    if platform.machine() in ("aarch64", "arm64"):
        return 8, 3, 4
    given = config.CPU_FEATURES
    features = get_host_cpu_features().flatten() if given is None else given
    return (12, 2, 16) if "+avx512f" in features else (6, 2, 8)


TILE = _tile_shape()
_announced = -SECONDS_PER_LINE


def compile_cached(signature: Any, function: Callable[..., Any], **options: Any) -> Any:
    """Return the kernel that Numba compiles from a function, or loads from the cache.

    If there is no writable folder for the cache, or its disk is full, each process compiles again.
    """
    before = config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES
    try:
        config.CACHE_DIR = cache_folder(Path(__file__).parent)
        config.CACHE_LOCATOR_CLASSES = f"{__name__}.{InFolder.__name__}"
        kernel = njit(signature, cache=True, **options)(function)
        if kernel.stats.cache_misses:
            _announce("compiling kernels, once on this machine ...")
    except (RuntimeError, OSError):
        _announce("compiling kernels at each start: set NUMBA_CACHE_DIR to a writable folder ...")
        kernel = njit(signature, **options)(function)
    finally:
        config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES = before
    return kernel


class InFolder(caching.UserProvidedCacheLocator):
    """The folder itself, which Numba would divide by the path of the sources: clones share it."""

    def get_cache_path(self) -> str:
        return str(config.CACHE_DIR)


@functools.cache
def cache_folder(sources: Path) -> str:
    """Return the folder for code compiled from a folder; OSError if it cannot be written.

    It is in NUMBA_CACHE_DIR or the user's cache, and named after all sources. Numba compares only
    the file that defines a function, so it misses changes of constants from other files.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(sources.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    folder = Path(config.CACHE_DIR or AppDirs("numba").user_cache_dir)
    folder /= f"lmladder-{digest.hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
    return str(folder)


def _announce(line: str) -> None:
    """Print a line, and again every few seconds of compiling."""
    global _announced
    if time.monotonic() - _announced >= SECONDS_PER_LINE:
        _announced = time.monotonic()
        print(line, file=sys.stderr, flush=True)
