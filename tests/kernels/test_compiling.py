"""Kernels are compiled once on a machine; where code cannot be cached, they still run.

What is compiled suits every processor alike.
"""

import errno
import functools
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import lmladder
from lmladder.kernels import compiling

import numpy as np
import pytest
from numba import float32, types
from numba.core import caching, config

# Prints a result of a compiled kernel.
USE = """
from lmladder import kernels
import numpy as np
print(kernels.elementwise("gelu_tanh", np.ones(1, np.float32))[0])
"""
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


def python(
    program: str, cache: Path, source: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a program that imports lmladder, from a folder if one is named."""
    path = {"PYTHONPATH": str(source)} if source else {}
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache), **path},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )


class Copy(NamedTuple):
    """A copy of the package with few compiled kernels, so that compiling is fast."""

    source: Path
    cache: Path

    def use(self) -> tuple[float, str]:
        """Return gelu_tanh(1) from a new process, and its error output."""
        done = python(USE, self.cache, self.source)
        return float(done.stdout), done.stderr

    def cached(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in self.cache.rglob("*.nb?")}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    folder = tmp_path_factory.mktemp("package")
    copied = folder / "src/lmladder"
    left_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(lmladder.__file__).parent, copied, ignore=left_out)
    fused = copied / "kernels/fused.py"
    head, _, _ = fused.read_text().partition("@compiled(READ_1D, READ_1D, WRITE_1D)")
    assert "def gelu_tanh(" in head
    fused.write_text(head)
    return Copy(copied.parent, folder / "cache")


def test_kernels_are_compiled_once_and_again_when_a_constant_of_another_file_changes(
    package: Copy,
) -> None:
    def exact(cubic: float) -> Any:
        return pytest.approx((1 + math.tanh(math.sqrt(2 / math.pi) * (1 + cubic))) / 2, rel=1e-6)

    result, announced = package.use()
    assert result == exact(0.044715)
    assert "once on this machine" in announced
    files = package.cached()
    assert files
    assert package.use() == (result, "")
    assert package.cached() == files

    reference = package.source / "lmladder/kernels/reference.py"
    source = reference.read_text()
    changed = source.replace("\nCUBIC = 0.044715", "\nCUBIC = 0.5")
    assert changed != source
    reference.write_text(changed)
    assert package.use()[0] == exact(0.5)
    reference.write_text(source)
    assert package.use() == (result, "")


@pytest.mark.slow
def test_no_instruction_is_used_whose_digits_depend_on_the_manufacturer(tmp_path: Path) -> None:
    """Estimates of 1 / x and 1 / sqrt(x) differ between Intel's processors and AMD's."""
    assert python(ESTIMATES, tmp_path).stdout == "inspected True\n"


def test_plain_kernels_compile_nothing(tmp_path: Path) -> None:
    program = "import sys; from lmladder import kernels; kernels.select('numpy')" + USE
    assert python(program + "assert 'numba' not in sys.modules", tmp_path).stderr == ""
    assert not list(tmp_path.iterdir())


# --- Caches that cannot be written ----------------------------------------------------------------


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("failure", ["no folder", "full disk"])
def test_without_a_cache_kernels_are_compiled_and_one_line_is_printed(
    failure: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def double(x: Any) -> None:
        for i in range(len(x)):
            x[i] *= 2

    if failure == "full disk":
        monkeypatch.setattr(caching.FunctionCache, "save_overload", full_disk)
    else:
        (tmp_path / "cache").touch()
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    for cached in (compiling.cache_folder, compiling._announce):
        monkeypatch.setattr(compiling, cached.__name__, functools.cache(cached.__wrapped__))
    for _ in range(2):
        kernel = compiling.compile_cached(types.void(float32[:]), double, nogil=True)
        x = np.arange(3, dtype=np.float32)
        kernel(x)
        assert x.tolist() == [0, 2, 4]
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "at each start" in printed
