"""When a job counts as finished, and the recorded reason of one that is not."""

import functools
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

from lmladder.config import RuntimeSettings, schema
from lmladder.experiments import jobs
from lmladder.experiments.jobs import (
    FINISHED,
    attempt,
    failures,
    fingerprint,
    finish,
    is_finished,
)
from lmladder.system.errors import InputError
from lmladder.system.settings import validate

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
DVC = """
stages:
  mlp:
    deps: [stages/mlp.py, src/lmladder/nn, data, outputs/prepare]
  rung:
    foreach: ${rungs}
    do: {deps: [src/lmladder/reports]}
"""
CODE = "src/lmladder/"
FILES = {
    f"{CODE}nn/layer.py": "x = 1\n",
    f"{CODE}cli.py": "x = 1\n",
    f"{CODE}reports/a.css": "p {}",
    "stages/mlp.py": "x = 1\n",
    "prepare/train.npy": "tokens",
    "data/tales.yaml": "grammar",
    "conf/other.yaml": "x: 1\n",
    "dvc.yaml": DVC,
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder to work in: code, the files that settings name, and results."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "PACKAGE", tmp_path / CODE)
    monkeypatch.setattr(jobs, "code_digest", jobs.code_digest.__wrapped__)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@functools.cache
def configuration():
    return validate(schema(), yaml.safe_load((PROJECT / "params.yaml").read_text()))


def requested(project, stage="mlp", **changed):
    return fingerprint(configuration().model_copy(update=changed), stage, [project / "prepare"])


@pytest.mark.parametrize("stage", ["mlp", "ladder"])
@pytest.mark.parametrize(
    ("name", "stages"),
    [
        (f"{CODE}nn/layer.py", {"mlp", "ladder"}),
        (f"{CODE}cli.py", set()),
        (f"{CODE}reports/a.css", {"ladder"}),
        ("stages/mlp.py", {"mlp", "ladder"}),
        ("prepare/train.npy", {"mlp", "ladder"}),
        ("data/tales.yaml", {"mlp", "ladder"}),
        ("conf/other.yaml", set()),
    ],
)
def test_a_job_depends_on_the_files_that_dvc_yaml_and_settings_name(project, stage, name, stages):
    before = requested(project, stage)
    assert (
        requested(project, stage, runtime=RuntimeSettings(threads=3, kernels="numba")) == before
    )  # more threads
    assert requested(project, stage, seed=1) != before
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).write_text("x = 2\n")
    assert (requested(project, stage) != before) == (stage in stages)


def change(path):
    path.write_bytes(b"x" + path.read_bytes()[1:])


DAMAGES = {
    "none": lambda job: None,
    "changed": lambda job: change(job / "part/history.csv"),
    "missing": lambda job: (job / "part/history.csv").unlink(),
    "added": lambda job: (job / "more.csv").touch(),
    "no record": lambda job: (job / FINISHED).unlink(),
    "record without keys": lambda job: (job / FINISHED).write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_job_is_finished_if_its_files_are_as_it_wrote_them(tmp_path, damage):
    (tmp_path / "part").mkdir()
    (tmp_path / "part/history.csv").write_text("step,nats\n")
    (tmp_path / "checkpoint.safetensors").write_bytes(bytes(100))
    finish(tmp_path, "asked", 1.5)
    DAMAGES[damage](tmp_path)
    assert is_finished(tmp_path, "asked") == ((True, 1.5) if damage == "none" else (False, None))
    assert is_finished(tmp_path, "other") == (False, None)


@pytest.mark.parametrize(
    ("error", "reason", "status"),
    [
        (InputError("n_head=3 does not fit"), "n_head=3 does not fit", 2),
        (ZeroDivisionError("by\n zero"), "ZeroDivisionError: by zero", 1),
        (KeyboardInterrupt(), jobs.KILLED, 1),
    ],
    ids=repr,
)
def test_a_failed_job_records_its_reason_and_exit_status(tmp_path, error, reason, status):
    end = nullcontext() if isinstance(error, Exception) else pytest.raises(type(error))
    with end:
        assert attempt(tmp_path, Mock(side_effect=error)) is None
    (failure,) = failures(tmp_path).values()
    assert (failure["reason"], failure["exit_status"]) == (reason, status)


def test_a_job_counts_as_killed_until_it_ends_well(tmp_path):
    def job():
        (failure,) = failures(tmp_path).values()
        assert failure["reason"] == jobs.KILLED
        return 1.5

    assert attempt(tmp_path, job) == 1.5
    assert failures(tmp_path) == {}
