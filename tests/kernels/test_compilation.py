"""Kernels are compiled once on a machine, and what is compiled suits every processor alike."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def python(program: str, cache: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
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


def test_plain_kernels_compile_nothing(tmp_path: Path) -> None:
    program = "import sys; from lmladder import kernels; kernels.select('numpy')" + USE
    assert python(program + "assert 'numba' not in sys.modules", tmp_path).stderr == ""
    assert not list(tmp_path.iterdir())
