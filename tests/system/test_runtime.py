"""What is pinned before NumPy is imported, as new processes show it; cores."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from lmladder.system import runtime
from lmladder.system.runtime import ONE_BLAS_THREAD, WITHOUT_AVX512

import pytest

NAMES = (*ONE_BLAS_THREAD, *WITHOUT_AVX512)
IS_X86 = platform.machine() == "x86_64"
PINNED = dict.fromkeys(NAMES) | ONE_BLAS_THREAD | (WITHOUT_AVX512 if IS_X86 else {})
ROOT = Path(__file__).parents[2]


def process(*arguments: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a new Python; of the pinned variables, only those given are set."""
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    environment["PYTHONPATH"] = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    return subprocess.run(
        [sys.executable, "-c", *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment | variables,
    )


def run(program: str, **variables: str) -> Any:
    """Return what a new process prints last, as JSON."""
    return json.loads(process(program, **variables).stdout.splitlines()[-1])


ENVIRONMENT = f"import json, os; print(json.dumps({{n: os.environ.get(n) for n in {NAMES}}}))"


def test_importing_any_part_pins_threads_and_instructions_for_child_processes_too() -> None:
    assert run(f"import lmladder; {ENVIRONMENT}") == PINNED
    child = f"subprocess.run([sys.executable, '-c', {ENVIRONMENT!r}])"
    assert run(f"import lmladder.kernels, subprocess, sys; {child}") == PINNED


NUMPY_FIRST = """
import numpy as np, json
from lmladder import kernels
from lmladder.system import environment
print(json.dumps(environment.describe(kernels.describe())))
"""


def test_after_numpy_blas_has_one_thread_and_what_is_not_pinned_is_named_in_one_line() -> None:
    done = process(NUMPY_FIRST)
    facts = json.loads(done.stdout)
    late = ["NPY_DISABLE_CPU_FEATURES"] if IS_X86 else []
    assert facts["not_pinned"] == late
    assert facts["blas"].get("num_threads", 1) == 1
    assert done.stderr.count("\n") == bool(late)
    assert all(name in done.stderr for name in late)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_blas_starts_no_threads_of_its_own_and_numpy_prints_no_warning() -> None:
    program = (
        "import warnings; warnings.simplefilter('error');"
        "import lmladder, json, os, numpy as np; a = np.ones((600, 600)); a @ a;"
        "print(json.dumps(len(os.listdir('/proc/self/task'))))"
    )
    assert run(program) == 1


def test_a_launcher_can_give_a_job_fewer_cores_than_there_are_but_not_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name in runtime.SHARES:
        for each in runtime.SHARES:
            monkeypatch.delenv(each, raising=False)
        for share, cores in {"3": 3, "2,1": 2, "64": 8, "0": 8, "all": 8}.items():
            monkeypatch.setenv(name, share)
            assert runtime.available_cores() == cores
