"""Compiling kernels, with a cache on disk of the compiled code.

Numba compiles again when the file that defines a kernel changes, so this file must also define
everything else that a kernel uses, except for mathematical constants.
"""

import sys
from collections.abc import Callable
from typing import Any

from numba import njit

_announced = False


def compile_cached(signature: Any, function: Callable[..., Any], **options: Any) -> Any:
    """Return the kernel that Numba compiles from a function, or loads from the cache.

    If there is no writable folder for the cache, or its disk is full, each process compiles again.
    """
    try:
        kernel = njit(signature, cache=True, **options)(function)
        if kernel.stats.cache_misses:
            _announce("compiling kernels, once on this machine ...")
    except (RuntimeError, OSError):  # no folder, or one that cannot be written
        _announce("compiling kernels at each start: set NUMBA_CACHE_DIR to a writable folder ...")
        kernel = njit(signature, **options)(function)
    return kernel


def _announce(line: str) -> None:
    """Print a line, once per process."""
    global _announced
    if not _announced:
        _announced = True
        print(line, file=sys.stderr, flush=True)
