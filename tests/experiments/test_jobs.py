"""When a job counts as finished, and what is said of one that is not."""

import shutil
from pathlib import Path

from lmladder.config import Config, from_mapping
from lmladder.experiments import jobs as outcome
from lmladder.experiments.jobs import (
    FAILED,
    FINISHED,
    attempt,
    failures,
    fingerprint,
    finish,
    is_finished,
)
from lmladder.system.errors import InputError, RunError

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[1]


DVC = """
stages:
  train:
    deps: [stages/train.py, src/lmladder/nn, src/lmladder/rng.py, "${data.watch}", outputs/x.npy]
  rung:
    foreach: ${rungs}
    do: {deps: [src/lmladder/reports]}
"""
MODULE = '''"""What it is."""

import math


class Layer:
    """A layer."""

    def call(self, x=None, *, scale=1.0):
        """Scale x."""
        text = """no docstring"""
        return scale * x  # a comment
'''
SAME = {  # to what is executed
    "a comment": ("a comment", "another one"),
    "a line of comment": ("import math", "# so that\nimport math"),
    "a docstring": ("Scale x.", "Scale x by `scale`."),
    "no docstring": ('    """A layer."""\n', ""),
    "the layout": ("scale * x  #", "(\n            scale * x\n        )  #"),
}
OTHER = {
    "a name": ("Layer", "Scaled"),
    "a number": ("1.0", "1.5"),
    "a default": ("x=None", "x"),
    "a text": ("no docstring", "no  docstring"),
    "an order": ("scale * x", "x * scale"),
    "a keyword": ("*, ", ""),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with sources, scripts, the files that settings name, and results."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(outcome, "PACKAGE", tmp_path / "src/lmladder")
    monkeypatch.setattr(outcome, "code_digest", outcome.code_digest.__wrapped__)
    files = {
        "nn/layer.py": MODULE,
        "rng.py": "x = 1\n",
        "cli.py": "x = 1\n",
        "reports/a.css": "p {}",
    }
    files = {f"src/lmladder/{name}": text for name, text in files.items()}
    files |= {"stages/train.py": "x = 1\n", "prepare/train.npy": "tokens", "dvc.yaml": DVC}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in ("data/tales.yaml", "conf/tokenizer/char.yaml", "conf/transformer/default.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def job(tmp_path):
    """A finished job."""
    folder = tmp_path / "job"
    (folder / "part").mkdir(parents=True)
    (folder / "part/history.csv").write_text("step,nats\n")
    (folder / "checkpoint.safetensors").write_bytes(bytes(100))
    finish(folder, "asked", 1.5)
    return folder


def config(**changed):
    settings = yaml.safe_load((PROJECT / "params.yaml").read_text())
    return from_mapping(Config, {**settings, **changed})


def asked(place, stage="train", **changed):
    return fingerprint(config(**changed), place / f"stages/{stage}.py", [place / "prepare"])


def edit(path, old="", new="x = 2\n"):
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new) if old else new)


@pytest.mark.parametrize("stage", ["train", "ladder"])
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("src/lmladder/nn/layer.py", {"train", "ladder"}),
        ("src/lmladder/nn/new.py", {"train", "ladder"}),
        ("src/lmladder/nn/data.json", {"train", "ladder"}),
        ("src/lmladder/nn/__pycache__/layer.pyc", set()),
        ("src/lmladder/rng.py", {"train", "ladder"}),
        ("src/lmladder/cli.py", set()),
        ("src/lmladder/reports/a.css", {"ladder"}),
        ("stages/train.py", {"train", "ladder"}),
        ("stages/ladder.py", {"ladder"}),
        ("prepare/train.npy", {"train", "ladder"}),
        ("data/tales.yaml", {"train", "ladder"}),
        ("conf/tokenizer/char.yaml", set()),
        ("conf/transformer/default.yaml", set()),
    ],
)
def test_a_job_depends_on_what_dvc_yaml_names_for_its_stage(place, stage, name, counts):
    (place / "stages/ladder.py").write_text("x = 1\n")
    before = asked(place, stage)
    assert asked(place, stage) == before
    (place / name).parent.mkdir(exist_ok=True)
    (place / name).touch()
    edit(place / name)
    assert (asked(place, stage) != before) == (stage in counts)


@pytest.mark.parametrize("name", [*SAME, *OTHER])
def test_of_python_only_what_is_executed_counts(place, name):
    before = asked(place)
    edit(place / "src/lmladder/nn/layer.py", *(SAME | OTHER)[name])
    assert (asked(place) == before) == (name in SAME)


def test_a_source_that_is_no_python_counts_as_it_is(place):
    digests = []
    for text in ("def", "def  ", "\0"):
        edit(place / "src/lmladder/rng.py", new=text)
        digests.append(asked(place))
    assert len(set(digests)) == 3


def test_without_dvc_yaml_the_whole_package_counts(place):
    (place / "dvc.yaml").unlink()
    for name in ("src/lmladder/cli.py", "src/lmladder/reports/a.css", "data/tales.yaml"):
        before = asked(place)
        edit(place / name, new="x: 2\n")
        assert asked(place) != before


def test_each_stage_of_the_project_depends_on_code_that_is_there():
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
    digests = {outcome.code_digest(stage) for stage in stages}
    assert len(digests) == len(stages)
    for stage in stages.values():
        assert all((PROJECT / dep).exists() for dep in stage["deps"] if dep.startswith("src/"))


def test_settings_are_in_the_fingerprint_but_not_the_threads(place):
    before = asked(place)
    assert asked(place, seed=1) != before
    assert asked(place, runtime={"threads": 3, "kernels": "numba"}) == before


def test_logs_and_facts_of_a_machine_are_not_in_the_fingerprint(place):
    before = asked(place)
    for name in ("train.log", "performance.json", "trained.json", ".lock", "failed.json"):
        (place / "prepare" / name).write_text("now")
    assert asked(place) == before


def test_a_finished_job_is_known_with_its_objective(job):
    assert is_finished(job, "asked") == (True, 1.5)
    assert is_finished(job, "other") == (False, None)


def spoil(path):
    path.write_bytes(b"x" + path.read_bytes()[1:])


@pytest.mark.parametrize(
    "damage",
    [
        lambda job: spoil(job / "checkpoint.safetensors"),
        lambda job: spoil(job / "part/history.csv"),
        lambda job: (job / "part/history.csv").unlink(),
        lambda job: (job / "more.csv").touch(),
        lambda job: (job / FINISHED).unlink(),
        lambda job: (job / FINISHED).write_text(""),
        lambda job: (job / FINISHED).write_text("[]"),
        lambda job: (job / FINISHED).write_text("{}"),
    ],
    ids=["bit", "bit-below", "missing", "added", "no-record", "empty", "list", "no-fields"],
)
def test_a_job_whose_files_are_not_as_it_left_them_is_not_finished(job, damage):
    damage(job)
    assert is_finished(job, "asked") == (False, None)


@pytest.mark.parametrize(
    ("error", "reason", "status"),
    [
        (InputError("n_head=3 does not fit"), "n_head=3 does not fit", 2),
        (RunError("loss nan"), "loss nan", 1),
        (KeyboardInterrupt(), "it was interrupted", 1),
        (ZeroDivisionError("by\n zero"), "ZeroDivisionError: by zero", 1),
    ],
)
def test_a_job_that_fails_says_why(tmp_path, error, reason, status):
    with pytest.raises(type(error)), attempt(tmp_path):
        raise error
    (failure,) = failures(tmp_path)
    assert (failure.folder, failure.reason, failure.exit_status) == (tmp_path, reason, status)


def test_a_job_that_can_say_nothing_more_counts_as_killed_until_it_ends_well(tmp_path):
    with attempt(tmp_path):
        (failure,) = failures(tmp_path)
        assert "killed" in failure.reason
    assert failures(tmp_path) == []


def test_the_failures_of_two_attempts_differ_even_for_the_same_reason(tmp_path):
    found = []
    for _ in range(2):
        with pytest.raises(RunError), attempt(tmp_path):
            raise RunError("again")
        found += failures(tmp_path)
    assert found[0] != found[1]


def test_a_damaged_note_of_a_failure_is_passed_over(tmp_path):
    (tmp_path / FAILED).write_text("{")
    assert failures(tmp_path) == []
