"""Runs in git: `outputs/` of a commit, a branch or a DVC experiment.

DVC commits every experiment under a name that the commands of git do not resolve:
refs/exps/<commit it began from>/<name>. These commits contain the small files of results.
"""

import io
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from zipfile import ZipFile

from lmladder.experiments.runs import Found, find_runs
from lmladder.system.errors import InputError
from lmladder.system.files import make_folder

EXPERIMENTS = "refs/exps/*/*/"


def find_revisions(names: Iterable[str]) -> Found:
    """Return the runs in `outputs/` of each revision; their folders are NAME:outputs/<stage>.

    Parameters
    ----------
    names : revisions of git, or names of experiments, in which * and ? match any characters

    Raises
    ------
    InputError
        If a revision is unknown or has no results, or there is no git repository.
    """
    found = Found()
    for name in names:
        for label, commit in _commits(name):
            archive = _git("archive", "--format=zip", commit, "outputs", purpose=f"read {label}")
            with TemporaryDirectory() as folder, ZipFile(io.BytesIO(archive)) as files:
                files.extractall(folder)
                prefix = f"{folder}/"
                try:
                    part = find_runs([Path(folder, "outputs")])
                except InputError as error:
                    raise InputError(str(error).replace(prefix, f"{label}:")) from None
            found.runs += [
                replace(run, path=Path(f"{label}:{str(run.path).removeprefix(prefix)}"))
                for run in part.runs
            ]
            found.notes += [note.replace(prefix, f"{label}:") for note in part.notes]
    return found


def checkout(name: str) -> tuple[str, Path]:
    """Return the commit of a revision of git, and a folder with its files, in build/.

    Raises
    ------
    InputError
        If the revision is unknown, or there is no git repository.
    """
    _, commit = _commits(name)[0]
    folder = Path("build", commit[:12])
    if not folder.exists():
        archive = _git("archive", "--format=zip", commit, purpose=f"read {name}")
        make_folder(folder.parent)
        part = mkdtemp(dir=folder.parent)
        with ZipFile(io.BytesIO(archive)) as files:
            files.extractall(part)
        Path(part).rename(folder)
    return commit, folder


def _commits(name: str) -> list[tuple[str, str]]:
    """Return the label and the commit of each revision of this name."""
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if commit:
        return [(name, commit.decode().strip())]
    if name and (found := _experiments(name)):
        return found
    known = ", ".join(each for each, _ in _experiments("*")) or "none"
    raise InputError(f"no git revision or experiment {name!r}; those of DVC are {known}")


def _experiments(pattern: str) -> list[tuple[str, str]]:
    """Return the names and commits of DVC experiments."""
    format_ = "--format=%(refname) %(objectname)"
    listed = _git("for-each-ref", format_, EXPERIMENTS + pattern, purpose="look up a revision")
    lines = [line.split() for line in listed.decode().splitlines()]
    return [(ref.rpartition("/")[2], commit) for ref, commit in lines]


def _git(*arguments: str, purpose: str = "") -> bytes:
    """Return what git prints; InputError if git fails at a `purpose`."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise InputError("cannot read revisions: git is not installed") from None
    if done.returncode != 0 and purpose:
        reason = done.stderr.decode(errors="replace").partition("\n")[0] or "git failed"
        raise InputError(f"cannot {purpose}: {reason}")
    return done.stdout
