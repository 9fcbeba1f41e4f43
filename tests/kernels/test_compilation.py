"""Kernels are compiled once on a machine, and what is compiled suits every processor alike."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import lmladder

import pytest

LEFT_OUT = shutil.ignore_patterns("__pycache__")

LINE = "compiling kernels, once on this machine ...\n"
# Prints the bits of a result.
USE = """
import lmladder
from lmladder import kernels
import numpy as np
x = np.linspace(-3, 3, 999, dtype=np.float32).reshape(3, 333)
print(kernels.softmax(x).tobytes().hex()[:999], kernels.gelu_tanh(x).tobytes().hex()[:999])
"""
# Prints the processor's instructions in use that estimate 1 / x and 1 / sqrt(x). Of code from the
# cache it could not: in the process that compiles.
ESTIMATES = """
import re
from lmladder.kernels import fused
for name, kernel in sorted(vars(fused).items()):
    if getattr(kernel, "signatures", None):
        code = "".join(kernel.inspect_asm().values())
        for found in sorted(set(re.findall(r"\\bv?r(?:sqrt|cp)[ps]s\\b", code))):
            print("estimate", name, found)
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


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("numba")


@pytest.fixture(scope="module")
def first(cache: Path) -> "subprocess.CompletedProcess[str]":
    """The first run on a machine: nothing is in the cache."""
    return python(USE + ESTIMATES, cache)


def test_the_first_run_says_in_one_line_that_it_compiles_and_fills_the_cache(
    first: "subprocess.CompletedProcess[str]", cache: Path
) -> None:
    assert first.stderr == LINE
    assert list(cache.rglob("fused.softmax-*.nbi"))
    assert list(cache.rglob("fused.softmax-*.nbc"))


def test_later_runs_load_what_is_compiled_and_say_nothing(
    first: "subprocess.CompletedProcess[str]", cache: Path
) -> None:
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*.nb?")}
    later = python(USE, cache)
    assert later.stderr == ""
    assert first.stdout.startswith(later.stdout)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.nb?")} == files


def test_no_instruction_is_in_use_whose_digits_are_the_makers_choice(
    first: "subprocess.CompletedProcess[str]",
) -> None:
    """Estimates of 1 / x and 1 / sqrt(x) differ between Intel's processors and AMD's."""
    assert [line for line in first.stdout.splitlines() if line.startswith("estimate")] == []


def test_a_constant_that_a_kernel_takes_from_another_file_changes_its_results_at_once(
    tmp_path: Path,
) -> None:
    package = tmp_path / "src/lmladder"
    shutil.copytree(Path(lmladder.__file__).parent, package, ignore=LEFT_OUT)
    fused, reference = package / "kernels/fused.py", package / "kernels/reference.py"
    head, _, _ = fused.read_text().partition("@compiled(READ_1D, READ_1D, WRITE_1D)")
    assert "def gelu_tanh(" in head
    fused.write_text(head)  # the others would only take time
    program = """
from lmladder import kernels
import numpy as np
print(kernels.gelu_tanh(np.ones(1, np.float32))[0])
"""

    def result() -> float:
        return float(python(program, tmp_path / "cache", package.parent).stdout)

    def exact(cubic: float) -> float:
        return (1 + math.tanh(math.sqrt(2 / math.pi) * (1 + cubic))) / 2

    assert result() == pytest.approx(exact(0.044715), rel=1e-6)
    source = reference.read_text()
    changed = source.replace("\nCUBIC = 0.044715", "\nCUBIC = 0.5")
    assert changed != source
    reference.write_text(changed)
    assert result() == pytest.approx(exact(0.5), rel=1e-6)
    reference.write_text(source)
    assert result() == pytest.approx(exact(0.044715), rel=1e-6)


def test_plain_kernels_compile_nothing(tmp_path: Path) -> None:
    program = "import sys; from lmladder import kernels; kernels.select('numpy')" + USE
    assert python(program + "assert 'numba' not in sys.modules", tmp_path).stderr == ""
    assert not list(tmp_path.iterdir())
