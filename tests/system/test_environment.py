"""What machine.json records of a machine, and of one where less is known."""

import json
import platform
from importlib.metadata import version
from pathlib import Path

from lmladder import kernels
from lmladder.system import environment, runtime
from lmladder.system.environment import describe

import pytest


def test_the_facts_are_those_of_this_machine_and_fit_into_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = describe(kernels.describe())
    assert json.loads(json.dumps(facts)) == facts
    assert facts["python"].endswith(platform.python_version())
    assert facts["packages"]["numpy"] == version("numpy")
    assert facts["kernels"] == kernels.selected()
    assert facts["threads"] == kernels.threads()
    assert facts["blas"].get("num_threads", 1) == 1
    assert facts["not_pinned"] == []
    assert set(facts["pinned"]) == {*runtime.ONE_BLAS_THREAD, *runtime.WITHOUT_AVX512}
    disabled = runtime.WITHOUT_AVX512["NPY_DISABLE_CPU_FEATURES"].split(",")
    assert not set(disabled) & set(facts["numpy_instructions"])
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "missing")
    assert describe({})["processor"] == platform.processor()
