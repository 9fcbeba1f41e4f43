"""Kernels are compiled once on a machine; where code cannot be cached, they still run.

What is compiled suits every processor alike.
"""

import errno
import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lmladder.kernels import compiling

import numpy as np
import pytest
from numba import float32, types
from numba.core import caching, config

# Prints the processor's instructions in use that estimate 1 / x and 1 / sqrt(x). Code from the
# cache cannot be inspected, so this has to run in the process that compiles.
ESTIMATES = """
import re
from lmladder.kernels import fused
inspected = 0
for name, kernel in sorted(vars(fused).items()):
    if getattr(kernel, "signatures", None):
        code = "".join(kernel.inspect_asm().values())
        inspected += len(code) > 0
        for found in sorted(set(re.findall(r"\\bv?r(?:sqrt|cp)[ps]s\\b", code))):
            print("estimate", name, found)
print("inspected", inspected > 10)
"""


def python(program: str, cache: Path) -> "subprocess.CompletedProcess[str]":
    """Run a program that imports lmladder."""
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )


def double(x: Any) -> None:
    for i in range(len(x)):
        x[i] *= 2


def compiled() -> Any:
    """Return the compiled function `double`, which works."""
    kernel = compiling.compile_cached(types.void(float32[:]), double, nogil=True)
    x = np.arange(3, dtype=np.float32)
    kernel(x)
    assert x.tolist() == [0, 2, 4]
    return kernel


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Use a new folder for the cache, and forget what was printed."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(compiling, "_announced", -compiling.SECONDS_PER_LINE)
    folder = functools.cache(compiling.cache_folder.__wrapped__)
    monkeypatch.setattr(compiling, "cache_folder", folder)


def test_kernels_are_compiled_once_and_again_when_any_source_has_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernels = [compiled() for _ in range(2)]
    assert [sum(each.stats.cache_misses.values()) for each in kernels] == [1, 0]
    assert tmp_path / "cache" in Path(kernels[1].stats.cache_path).parents
    assert capsys.readouterr().err == "compiling kernels, once on this machine ...\n"
    sources, folders = tmp_path / "sources", set()
    sources.mkdir()
    for name, text in {"a.py": "A = 1", "b.py": "", "b.py ": "B = 1", "a.py ": "A = 2"}.items():
        (sources / name.strip()).write_text(text)
        compiling.cache_folder.cache_clear()
        folders.add(compiling.cache_folder(sources))
    assert len(folders) == 4


@pytest.mark.slow
def test_no_instruction_is_used_whose_digits_depend_on_the_manufacturer(tmp_path: Path) -> None:
    """Estimates of 1 / x and 1 / sqrt(x) differ between Intel's processors and AMD's."""
    assert python(ESTIMATES, tmp_path).stdout == "inspected True\n"


# --- Caches that cannot be written ----------------------------------------------------------------


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_without_a_cache_kernels_are_compiled_and_one_line_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(caching.FunctionCache, "save_overload", full_disk)
    compiled(), compiled()
    (printed,) = set(capsys.readouterr().err.splitlines())
    assert "at each start" in printed
