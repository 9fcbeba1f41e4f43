"""Describe what a result depends on besides the project: processor, versions, pinned variables.

A checkpoint does not contain these facts, because the same run must give the same bytes on every
machine. A stage writes them to machine.json instead, for comparing machines that disagree.
"""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from lmladder.system.runtime import AVX2_EVERYWHERE, ONE_BLAS_THREAD, not_pinned, processor_facts

import numpy as np
from threadpoolctl import threadpool_info

PACKAGES = ("numpy", "numba", "llvmlite", "safetensors", "tokenizers")
VECTOR_FLAGS = ("sse", "ssse", "avx", "fma", "bmi", "f16c", "asimd", "sve")  # prefixes of names


def describe(more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts as JSON types; unknown ones are None or empty.

    Parameters
    ----------
    more : facts of the program, such as `kernels.describe()`
    """
    processor = processor_facts()
    flags = processor.get("flags") or processor.get("Features", "")  # x86, ARM
    build: Any = np.show_config(mode="dicts")
    blas = build.get("Build Dependencies", {}).get("blas", {})
    instructions = build.get("SIMD Extensions", {})
    libraries = [each for each in threadpool_info() if each["user_api"] == "blas"]
    loaded: dict[str, Any] = min(
        libraries, key=lambda each: "numpy" not in each["filepath"], default={}
    )
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "processor": {
            "name": processor.get("model name", platform.processor()),
            "architecture": platform.machine(),
            "features": sorted(flag for flag in flags.split() if flag.startswith(VECTOR_FLAGS)),
        },
        "packages": {name: version(name) for name in PACKAGES},
        "blas": {
            "name": blas.get("name"),
            "version": blas.get("version"),
            "kernels": loaded.get("architecture"),
            "threads": loaded.get("num_threads"),
        },
        "numpy_instructions": [*instructions.get("baseline", []), *instructions.get("found", [])],
        **more,
        "pinned": {name: os.environ.get(name) for name in (*ONE_BLAS_THREAD, *AVX2_EVERYWHERE)},
        "not_pinned": not_pinned,
    }
