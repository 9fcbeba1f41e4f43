"""Runs that git keeps: `outputs/` of a commit, a branch or an experiment of DVC.

DVC makes a commit of every experiment, under a name that git's commands do not look up:
refs/exps/<commit it began from>/<name>. The small files of results are in these commits.
"""

import io
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from lmladder.experiments.records import CHECKED
from lmladder.experiments.runs import NOTHING_TO_SCORE, Found, find_runs
from lmladder.system.errors import InputError

LOCK = "dvc.lock"  # the settings of the runs
READ = {*CHECKED, NOTHING_TO_SCORE}
EXPERIMENTS = "refs/exps/*/*/"
MAX_NAMED = 8


def find_revisions(names: Iterable[str]) -> Found:
    """The runs in `outputs/` of each revision, whose folders are called NAME:outputs/<stage>.

    Parameters
    ----------
    names : what git knows, or the name of an experiment; * and ? stand for parts of such a name

    Raises
    ------
    InputError
        If there is no such revision, or no result in it; or no git repository.
    """
    found = Found()
    for name in names:
        for label, commit in _commits(name):
            with TemporaryDirectory() as folder:
                prefix = f"{folder}/"
                _extract(label, commit, Path(folder))
                try:
                    kept = find_runs([Path(folder, "outputs")])
                except InputError as error:
                    raise InputError(str(error).replace(prefix, f"{label}:")) from None
            found.runs += [
                replace(run, path=Path(f"{label}:{str(run.path).removeprefix(prefix)}"))
                for run in kept.runs
            ]
            found.notes += [note.replace(prefix, f"{label}:") for note in kept.notes]
    return found


def _commits(name: str) -> list[tuple[str, str]]:
    """What to call each revision of this name, and its commit."""
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if commit.returncode == 0:
        return [(name, commit.stdout.decode().strip())]
    if name and (found := _experiments(name)):
        return found
    known = [each for each, _ in _experiments("*")]
    more = ", ..." if len(known) > MAX_NAMED else ""
    there = f"those of DVC are {', '.join(known[:MAX_NAMED])}{more}" if known else "DVC has none"
    raise InputError(f"no git revision or experiment {name!r}; {there}")


def _experiments(pattern: str) -> list[tuple[str, str]]:
    """Experiments of DVC by name, and their commits."""
    listed = _git("for-each-ref", "--format=%(refname) %(objectname)", f"{EXPERIMENTS}{pattern}")
    if listed.returncode != 0:
        raise InputError(f"cannot look up a revision: {_first_line(listed.stderr)}")
    lines = [line.split() for line in listed.stdout.decode().splitlines()]
    return [(ref.rpartition("/")[2], commit) for ref, commit in lines]


def _extract(label: str, commit: str, folder: Path) -> None:
    """Put the small files of results of a commit into a folder."""
    listed = _git("ls-tree", "-r", "-z", "--name-only", commit, "--", "outputs", LOCK)
    names = listed.stdout.decode().split("\0")
    wanted = [name for name in names if name == LOCK or Path(name).name in READ]
    if not any(name.startswith("outputs/") for name in wanted):
        raise InputError(f"{label} has no results in outputs/")
    archive = _git("archive", "--format=tar", commit, "--", *wanted)
    if archive.returncode != 0:
        raise InputError(f"cannot read {label}: {_first_line(archive.stderr)}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise InputError("revisions are read by git, which is not installed") from None
    except ValueError as error:  # a null character in a name
        raise InputError(f"no git revision can have such a name: {error}") from None


def _first_line(output: bytes) -> str:
    return next(iter(output.decode(errors="replace").splitlines()), "git failed")
