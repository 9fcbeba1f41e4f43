"""When a job counts as finished, and what is said of one that is not."""

import shutil
from pathlib import Path

from lmladder import outcome
from lmladder.config import Config, from_mapping
from lmladder.errors import InputError, RunError
from lmladder.outcome import FAILED, FINISHED, attempt, failures, fingerprint, finish, is_finished

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with sources, scripts, the files that settings name, and results."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(outcome, "SOURCES", tmp_path / "src")
    for name in ("src/package/module.py", "stages/train.py", "prepare/train.npy"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("as it was")
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


def asked(place, **changed):
    return fingerprint(config(**changed), place / "stages", [place / "prepare"])


@pytest.mark.parametrize(
    "name",
    [
        "src/package/module.py",
        "stages/train.py",
        "prepare/train.npy",
        "data/tales.yaml",
        "conf/tokenizer/char.yaml",
        "conf/transformer/default.yaml",
    ],
)
def test_what_a_job_depends_on_is_in_its_fingerprint(place, name):
    before = asked(place)
    assert asked(place) == before
    with (place / name).open("a") as file:
        file.write("# more\n")
    assert asked(place) != before


def test_settings_are_in_the_fingerprint_but_not_the_threads(place):
    before = asked(place)
    assert asked(place, seed=1) != before
    assert asked(place, runtime={"threads": 3, "kernels": "numba"}) == before


def test_logs_and_facts_of_a_machine_are_not_in_the_fingerprint(place):
    before = asked(place)
    for name in ("train.log", "performance.json", "environment.json", ".lock", "failed.json"):
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
