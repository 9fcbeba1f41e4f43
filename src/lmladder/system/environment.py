"""Describe what a result depends on besides the project: processor, versions, pinned variables.

A checkpoint does not contain these facts, because the same run must give the same bytes on every
machine. A stage writes them to machine.json instead, for comparing machines that disagree.
"""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lmladder.system.runtime import ONE_BLAS_THREAD, WITHOUT_AVX512, not_pinned

import numpy as np
from threadpoolctl import threadpool_info

CPUINFO = Path("/proc/cpuinfo")
PACKAGES = ("numpy", "numba", "llvmlite", "safetensors", "tokenizers")


def describe(more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts as JSON types; unknown ones are None or empty.

    Parameters
    ----------
    more : facts of the program, such as `kernels.describe()`
    """
    build: Any = np.show_config(mode="dicts")
    instructions = build.get("SIMD Extensions", {})
    # That of NumPy, if other packages have loaded one, too.
    libraries = [each for each in threadpool_info() if each["user_api"] == "blas"]
    libraries.sort(key=lambda each: "numpy" not in each["filepath"])
    keys = ("internal_api", "version", "architecture", "num_threads")
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "processor": _processor(),
        "packages": {name: version(name) for name in PACKAGES},
        "blas": {key: each[key] for each in libraries[:1] for key in keys if key in each},
        "numpy_instructions": [*instructions.get("baseline", []), *instructions.get("found", [])],
        **more,
        "pinned": {name: os.environ.get(name) for name in (*ONE_BLAS_THREAD, *WITHOUT_AVX512)},
        "not_pinned": not_pinned,
    }


def _processor() -> str:
    """Return the name of the processor, which Linux reports better than Python."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:  # not on Linux
        lines = []
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
