"""What is pinned before NumPy is imported: seen from fresh processes."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from lmladder.system import runtime
from lmladder.system.runtime import AVX2_EVERYWHERE, ONE_BLAS_THREAD

import pytest

NAMES = (*ONE_BLAS_THREAD, *AVX2_EVERYWHERE)
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


def process(program: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """A fresh process that has ended; only `variables` of those we pin are set."""
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    return subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment | variables,
    )


def run(program: str, **variables: str) -> Any:
    """What a fresh process prints last, as JSON."""
    return json.loads(process(program, **variables).stdout.splitlines()[-1])


ENVIRONMENT = f"import json, os; print(json.dumps({{n: os.environ.get(n) for n in {NAMES}}}))"


def test_importing_lmladder_pins_threads_and_instructions() -> None:
    expected = dict.fromkeys(NAMES) | ONE_BLAS_THREAD
    if runtime.has_avx2():
        expected |= AVX2_EVERYWHERE
    assert run(f"import lmladder; {ENVIRONMENT}") == expected


def test_importing_any_part_of_lmladder_pins_first() -> None:
    assert run(f"import lmladder.kernels; {ENVIRONMENT}") == run(f"import lmladder; {ENVIRONMENT}")


def test_importing_lmladder_alone_does_not_import_numpy() -> None:
    assert run("import json, sys, lmladder; print(json.dumps('numpy' in sys.modules))") is False


@pytest.mark.parametrize("name", NAMES)
def test_what_the_user_has_set_wins(name: str) -> None:
    value = {"NPY_DISABLE_CPU_FEATURES": "", "OPENBLAS_CORETYPE": "Prescott"}.get(name, "2")
    pinned = run(f"import lmladder; {ENVIRONMENT}")
    assert run(f"import lmladder; {ENVIRONMENT}", **{name: value}) == pinned | {name: value}


NUMPY_FIRST = """
import numpy as np, json
import lmladder
from lmladder.system import environment
print(json.dumps(environment.describe()))
"""


def test_after_numpy_blas_has_one_thread_and_what_is_not_pinned_is_told_in_one_line() -> None:
    finished = process(NUMPY_FIRST)
    facts = json.loads(finished.stdout)
    late = [name for name in NAMES if name.startswith(("OPENBLAS_CORETYPE", "NPY"))]
    if not runtime.has_avx2():
        late = []
    assert facts["not_pinned"] == late
    assert [name for name, value in facts["pinned"].items() if value is None] == [
        *ONE_BLAS_THREAD,
        *late,
    ]
    assert facts["blas"]["threads"] in (1, None)
    assert finished.stderr.count("\n") == bool(late)
    assert all(name in finished.stderr for name in late)


def test_after_numpy_what_the_user_or_a_parent_has_set_is_kept_in_silence() -> None:
    variables = {**AVX2_EVERYWHERE, "OPENBLAS_NUM_THREADS": "2"}
    finished = process(NUMPY_FIRST, **variables)
    facts = json.loads(finished.stdout)
    assert finished.stderr == ""
    assert facts["not_pinned"] == []
    if facts["blas"]["name"] == "scipy-openblas":
        assert facts["blas"]["threads"] == min(2, os.cpu_count() or 1)


def test_processes_started_later_inherit_what_is_pinned() -> None:
    child = (
        f"import lmladder, subprocess, sys; subprocess.run([sys.executable, '-c', {ENVIRONMENT!r}])"
    )
    assert run(child) == run(f"import lmladder; {ENVIRONMENT}")


@linux_only
def test_blas_starts_no_threads_of_its_own() -> None:
    program = (
        "import lmladder, json, os, numpy as np;"
        "a = np.ones((600, 600)); a @ a;"
        "print(json.dumps(len(os.listdir('/proc/self/task'))))"
    )
    assert run(program) == 1


def test_numpy_imports_without_a_warning_where_instructions_are_pinned() -> None:
    program = (
        "import warnings; warnings.simplefilter('error');"
        "import lmladder, numpy as np, json; print(json.dumps(float((np.ones(9) @ np.ones(9)))))"
    )
    assert run(program) == 9


def test_has_avx2_tells_yes_or_no() -> None:
    assert isinstance(runtime.has_avx2(), bool)


@pytest.mark.parametrize(
    ("machine", "system", "flags", "expected"),
    [
        ("x86_64", "linux", "fpu sse avx2 fma", True),
        ("x86_64", "linux", "fpu sse avx fma", False),
        ("x86_64", "linux", "fpu avx2 fma4", False),
        ("x86_64", "darwin", "avx2 fma", False),
        ("aarch64", "linux", "avx2 fma", False),
        ("x86_64", "linux", None, False),
    ],
)
def test_has_avx2_reads_the_flags_of_the_processor(
    machine: str,
    system: str,
    flags: str | None,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = ["processor\t: 0", *([f"flags\t\t: {flags}"] if flags else []), "bugs\t: avx2 fma"]
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "\n".join(lines))
    assert runtime.has_avx2() is expected


def test_available_cores_is_at_least_one() -> None:
    assert runtime.available_cores() >= 1


@pytest.mark.parametrize("name", runtime.SHARES)
@pytest.mark.parametrize(
    ("told", "cores"),
    [("1", 1), ("3", 3), ("2,1", 2), ("64", 8), ("0", 8), ("", 8), ("-1", 8), ("all", 8)],
)
def test_a_launcher_may_leave_a_job_fewer_cores_than_there_are_and_never_more(
    name: str, told: str, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in runtime.SHARES:
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setenv(name, told)
    assert runtime.available_cores() == cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_available_cores_are_those_the_process_may_use() -> None:
    program = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]);"
        "import json; from lmladder.kernels import threads; print(json.dumps(threads()))"
    )
    assert run(program) == 1
