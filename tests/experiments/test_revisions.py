"""Results in git: commits, branches, and experiments of DVC, which have refs of their own."""

import json
import os
import subprocess
from pathlib import Path

from lmladder.experiments import compare, find_revisions
from lmladder.system.errors import InputError
from tests.experiments.folders import write_ladder

import pytest

WHO = ("-c", "user.name=test", "-c", "user.email=test@example.org")


def git(*arguments):
    return subprocess.run(
        ["git", *WHO, *arguments], check=True, capture_output=True, encoding="utf-8"
    ).stdout.strip()


def commit(nats, n_layer):
    """Commit results."""
    nats_of = {"transformer": nats, "bigram": 2.0}
    write_ladder(Path("outputs/evaluate"), nats_of, transformer__n_layer=n_layer)
    git("add", "--all")
    git("commit", "--quiet", "--message", f"{n_layer} layers")
    return git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Three commits: one on a branch, two that are experiments as DVC keeps them."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet", "--initial-branch", "main")
    baseline = commit(1.5, n_layer=2)
    for name, nats, n_layer in (("deep-3", 1.3, 3), ("deep-4", 1.2, 4)):
        made = commit(nats, n_layer)
        git("update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}", made)
        git("reset", "--quiet", "--hard", baseline)
    return tmp_path


def layers(*names):
    found = find_revisions(names)
    return [line.group for line in compare(found.runs, by="transformer.n_layer").configurations]


def test_a_branch_and_experiments_are_compared_by_name(repository):
    found = find_revisions(["main", "deep-3"])
    assert {str(run.path) for run in found.runs} == {
        f"{name}:outputs/evaluate" for name in ("main", "deep-3")
    }
    assert layers("main", "deep-3") == [2, 3]
    assert layers("deep-*") == [3, 4]
    assert layers("*", "HEAD") == [2, 3, 4]


def test_the_work_tree_and_a_revision_are_compared(repository, command):
    write_ladder(repository / "outputs/evaluate", {"transformer": 1.0}, transformer__n_layer=9)
    lines = json.loads(command("outputs", "--rev", "HEAD", "--json").stdout)["configurations"]
    folders = [line["folders"] for line in lines if line["model"] == "transformer"]
    assert folders == [["outputs/evaluate"], ["HEAD:outputs/evaluate"]]


@pytest.mark.parametrize("name", ["", "--all", "main:outputs", "deeper"])
def test_an_unknown_revision_is_rejected(repository, name):
    with pytest.raises(InputError, match="no git revision") as caught:
        find_revisions([name])
    assert "those of DVC are deep-3, deep-4" in str(caught.value)
