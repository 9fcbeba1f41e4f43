"""Compiling a kernel, and keeping its code on disk where that can be done."""

import sys
from collections.abc import Callable
from typing import Any

from numba import njit

_announced = False


def compile_kept(signature: Any, function: Callable[..., Any], **options: Any) -> Any:
    """The kernel that Numba makes of a function, or loads from what an earlier run has made.

    Without a folder for it that can be written, or room on its disk, each process compiles anew.
    """
    try:
        kernel = njit(signature, cache=True, **options)(function)
        if kernel.stats.cache_misses:
            _announce("compiling kernels, once on this machine ...")
    except (RuntimeError, OSError):  # Numba finds no folder; or cannot write to the one it found
        _announce(
            "compiling kernels, as at each start: NUMBA_CACHE_DIR names no folder for them ..."
        )
        kernel = njit(signature, **options)(function)
    return kernel


def _announce(line: str) -> None:
    """Say it, and nothing of the kernels that follow."""
    global _announced
    if not _announced:
        _announced = True
        print(line, file=sys.stderr, flush=True)
