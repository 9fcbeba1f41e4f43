"""What a result depends on besides the project: processor, versions, and what `runtime` pinned.

A checkpoint cannot hold this, as the same run is to give the same bytes on every machine. It stands
beside it, in environment.json, for the day when two machines differ.
"""

import ctypes
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lmladder import kernels
from lmladder.runtime import AVX2_EVERYWHERE, ONE_BLAS_THREAD

import numpy as np

PACKAGES = ("numpy", "numba", "llvmlite", "safetensors", "tokenizers")
VECTOR_FLAGS = ("sse", "ssse", "avx", "fma", "bmi", "f16c", "asimd", "sve")  # how their names begin
MAPS = Path("/proc/self/maps")
CPUINFO = Path("/proc/cpuinfo")


def describe() -> dict[str, Any]:
    """Facts in the types of JSON; None or nothing where this system does not tell."""
    name, flags = _processor()
    built = np.show_config(mode="dicts") or {}
    blas = built.get("Build Dependencies", {}).get("blas", {})
    instructions = built.get("SIMD Extensions", {})
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "processor": {
            "name": name,
            "architecture": platform.machine(),
            "features": [flag for flag in flags if flag.startswith(VECTOR_FLAGS)],
        },
        "packages": {name: _version(name) for name in PACKAGES},
        "blas": {
            "name": blas.get("name"),
            "version": blas.get("version"),
            "kernels": _openblas_kernels(),
        },
        "numpy_instructions": [*instructions.get("baseline", []), *instructions.get("found", [])],
        "kernels": kernels.selected(),
        "threads": kernels.threads(),
        "pinned": {name: os.environ.get(name) for name in (*ONE_BLAS_THREAD, *AVX2_EVERYWHERE)},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> tuple[str, list[str]]:
    """Model name and sorted features, as far as the kernel tells them."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return platform.processor(), []
    pairs = [(key.strip(), value.strip()) for key, _, value in (x.partition(":") for x in lines)]
    facts = dict(reversed(pairs))  # of the first processor
    flags = facts.get("flags") or facts.get("Features", "")
    return facts.get("model name", platform.processor()), sorted(flags.split())


def _openblas_kernels() -> str | None:
    """For which processor OpenBLAS, if that is what NumPy has loaded, takes its kernels."""
    try:
        loaded = [line.split()[-1] for line in MAPS.read_text().splitlines()]
        path = next(path for path in loaded if "openblas" in Path(path).name)
        library = ctypes.CDLL(path)
    except (OSError, IndexError, StopIteration):
        return None
    for prefix in ("scipy_", ""):
        for suffix in ("64_", ""):
            tell = getattr(library, f"{prefix}openblas_get_corename{suffix}", None)
            if tell is not None:
                tell.restype = ctypes.c_char_p
                return str(tell().decode())
    return None
