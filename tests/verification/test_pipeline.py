"""A commit's results are judged by what its pipeline makes of nothing, and by nothing else."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from lmladder.verification.pipeline import _numbers_apart

import pytest
import yaml

TABLE, WEIGHTS = "outputs/evaluate/table.csv", "outputs/train/weights.bin"
TRAIN = """
import pathlib, sys
import lmladder
folder = pathlib.Path("outputs/train")
folder.mkdir(parents=True, exist_ok=True)
(folder / "weights.bin").write_bytes(pathlib.Path("text.txt").read_bytes()[::-1])
"""
EVALUATE = """
import pathlib
folder = pathlib.Path("outputs/evaluate")
folder.mkdir(parents=True, exist_ok=True)
weights = pathlib.Path("outputs/train/weights.bin").read_bytes()
(folder / "table.csv").write_text(f"model,bytes\\nours,{len(weights)}\\n")
"""
STAGES = {
    "train": {
        "cmd": "PYTHONPATH=src python train.py",
        "deps": ["train.py", "text.txt"],
        "outs": [WEIGHTS],
    },
    "evaluate": {
        "cmd": "PYTHONPATH=src python evaluate.py",
        "deps": ["evaluate.py", WEIGHTS],
        "outs": [{TABLE: {"cache": False}}],
    },
}


def run(folder, *command):
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr


def commit(folder):
    """All that git does not ignore."""
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    run(folder, "git", "add", "--all")
    run(folder, "git", *who, "commit", "--quiet", "--message", "as it is")


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory):
    """A small project whose pipeline has run, and whose results are committed; read only."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "src/lmladder").mkdir(parents=True)
    (folder / "src/lmladder/__init__.py").touch()
    (folder / "train.py").write_text(TRAIN)
    (folder / "evaluate.py").write_text(EVALUATE)
    (folder / "text.txt").write_text("once upon a time")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    run(folder, "git", "init", "--quiet")
    run(folder, sys.executable, "-m", "dvc", "init", "--quiet")
    run(folder, sys.executable, "-m", "dvc", "config", "core.analytics", "false")
    run(folder, sys.executable, "-m", "dvc", "repro", "--quiet")
    commit(folder)
    return folder


@pytest.fixture
def project(reproduced, tmp_path, monkeypatch):
    """A copy of it, with its cache, that the test may change and is in."""
    folder = tmp_path / "project"
    run(tmp_path, "cp", "-a", reproduced, folder)
    monkeypatch.chdir(folder)
    return folder


def verdicts(done):
    """By path; the last line is the verdict on all."""
    pairs = (line.rsplit("  ", 1) for line in done.lines if "  " in line)
    return {path.split(" ")[0]: outcome.strip() for outcome, path in pairs}


ALL_SAME = dict.fromkeys(["dvc.lock", TABLE, WEIGHTS], "identical")


def test_results_that_come_again_are_identical_file_by_file(command, project):
    done = command("--pipeline")
    assert done.status == 0
    assert verdicts(done) == ALL_SAME
    assert done.lines[-1].startswith("bit-identical: all 3 results of commit ")
    assert "Running stage 'train'" in done.stderr


def test_a_table_that_was_tampered_with_is_told(command, project):
    (project / TABLE).write_text("model,bytes\nours,15\n")
    commit(project)
    done = command("--pipeline")
    assert done.status == 1
    assert verdicts(done) == ALL_SAME | {TABLE: "differs"}
    assert f"differs    {TABLE} (only numbers, by up to 6.2e-02)" in done.lines
    assert done.error.endswith(f"1 do not come again: {TABLE}")


def test_a_forged_lock_and_a_forged_cache_are_not_believed(command, project):
    """DVC is told, wherever it may look, that training gives other weights than it does."""
    honest = hashlib.md5((project / WEIGHTS).read_bytes()).hexdigest()
    forged = b"FORGED WEIGHTS!!"
    name = hashlib.md5(forged).hexdigest()
    kept = project / f".dvc/cache/files/md5/{name[:2]}/{name[2:]}"
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(forged)
    runs = [path for path in (project / ".dvc/cache/runs").rglob("*") if path.is_file()]
    for path in (project / "dvc.lock", *runs):
        path.write_text(path.read_text().replace(honest, name))
    run(project, sys.executable, "-m", "dvc", "config", "cache.dir", project / ".dvc/cache")
    commit(project)
    done = command("--pipeline")
    assert done.status == 1
    assert verdicts(done) == ALL_SAME | {WEIGHTS: "differs", "dvc.lock": "differs"}


def test_other_weights_are_told_though_git_does_not_keep_them(command, project):
    (project / "train.py").write_text(TRAIN.replace("[::-1]", ""))
    commit(project)
    done = command("--pipeline")
    assert done.status == 1
    assert verdicts(done) == ALL_SAME | {WEIGHTS: "differs", "dvc.lock": "differs"}


def test_a_result_that_no_stage_makes_is_told(command, project):
    (project / "outputs/evaluate/better.csv").write_text("model,bytes\nours,0\n")
    commit(project)
    done = command("--pipeline")
    assert done.status == 1
    assert verdicts(done) == ALL_SAME | {"outputs/evaluate/better.csv": "not made"}


@pytest.mark.parametrize(
    ("text", "apart"),
    [
        ("a 1.5 b -2e-3", 0.0),
        ("a 1.5 b -2.1e-3", 1 / 21),
        ("a 1 b -0.002", 1 / 3),
        ("a 1.5 b 2e-3", 2.0),
        ("a 1.5 c -2e-3", None),
        ("a 1.5 b", None),
    ],
)
def test_numbers_are_told_apart_from_the_text_between_them(text, apart):
    found = _numbers_apart(b"a 1.5 b -0.002", text.encode())
    assert found == (None if apart is None else pytest.approx(apart))


def test_what_is_not_committed_is_named_and_left_out(command, project):
    (project / TABLE).write_text("model,bytes\nours,1\n")
    done = command("--pipeline")
    assert done.status == 0
    assert f"not verified, as they are not committed: {TABLE}" in done.stdout
    assert (project / TABLE).read_text() == "model,bytes\nours,1\n"


def test_a_pipeline_that_fails_is_told_with_its_reason(command, project):
    (project / "train.py").write_text("raise SystemExit('no such luck')")
    commit(project)
    done = command("--pipeline")
    assert done.status == 1
    assert "the pipeline of the last commit fails: " in done.error
    assert "no such luck" in done.stderr


def test_programs_get_json_alone_on_the_standard_output(command, project):
    told = json.loads(command("--pipeline", "--json").stdout)
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], encoding="utf-8").strip()
    assert told == {
        "commit": head,
        "uncommitted": [],
        "files": [
            {"path": path, "outcome": "identical", "numbers": None} for path in sorted(ALL_SAME)
        ],
    }


def test_it_works_below_the_root_and_whatever_git_was_told(command, project, monkeypatch):
    monkeypatch.chdir(project / "outputs")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("DVC_NO_SCM", "1")
    assert command("--pipeline").status == 0


def test_it_wants_a_commit_with_results(command, project, tmp_path, monkeypatch):
    run(project, "git", "rm", "--quiet", "dvc.lock")
    commit(project)
    assert "the last commit has no dvc.lock" in command("--pipeline").error
    (project / "dvc.lock").write_text("stages: 7\n")
    commit(project)
    assert "is damaged" in command("--pipeline").error
    monkeypatch.chdir(tmp_path)
    done = command("--pipeline")
    assert done.status == 2
    assert f"no commit to verify in {tmp_path}: git rev-parse: " in done.error
