"""What a result depends on besides the project: processor, versions, and what `runtime` pinned.

A checkpoint cannot hold this, as the same run is to give the same bytes on every machine. It stands
beside it, in environment.json, for the day when two machines differ.
"""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lmladder.system.runtime import AVX2_EVERYWHERE, ONE_BLAS_THREAD, too_late

import numpy as np
from threadpoolctl import threadpool_info

PACKAGES = ("numpy", "numba", "llvmlite", "safetensors", "tokenizers")
VECTOR_FLAGS = ("sse", "ssse", "avx", "fma", "bmi", "f16c", "asimd", "sve")  # how their names begin
CPUINFO = Path("/proc/cpuinfo")


def describe(more: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts in the types of JSON; None or nothing where they are unknown here.

    Parameters
    ----------
    more : facts of the program, such as `kernels.describe()`
    """
    name, flags = _processor()
    built = np.show_config(mode="dicts") or {}
    blas = built.get("Build Dependencies", {}).get("blas", {})
    libraries = [each for each in threadpool_info() if each["user_api"] == "blas"]
    loaded: dict[str, Any] = min(
        libraries, key=lambda each: "numpy" not in each["filepath"], default={}
    )
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
            "kernels": loaded.get("architecture"),
            "threads": loaded.get("num_threads"),
        },
        "numpy_instructions": [*instructions.get("baseline", []), *instructions.get("found", [])],
        **more,
        "pinned": {name: os.environ.get(name) for name in (*ONE_BLAS_THREAD, *AVX2_EVERYWHERE)},
        "not_pinned": too_late,
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
