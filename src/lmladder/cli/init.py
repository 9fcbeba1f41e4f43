"""`lmladder init`: a project of one's own, made from the files of this repository."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from lmladder.system.errors import InputError, RunError
from lmladder.system.files import atomic_write, cannot_write
from lmladder.system.messages import say

import typer

PACKAGE = Path(__file__).parents[1]
RUNG = "lstm"  # of examples/rungs
MAKEFILE = """\
# make: run what conf/ describes, and print the table.
.PHONY: repro
repro:
\tlmladder run
"""
# Where a project differs from the repository, by file: patterns and what replaces each.
CHANGES = {
    ".dvc/config": {r" *plugins_path.*\n": ""},
    "conf/config.yaml": {r"(?=  - _self_\n)": f"  - rungs: [{RUNG}]\n"},
    "dvc.yaml": {
        r"\A(#.*\n)+": "# The stages of the pipeline, with their dependencies and outputs.\n",
        r"PYTHONPATH=src python": "python",
        # Instead of code, the version of lmladder is a dependency of each stage.
        r"( *- )src/lmladder\S*\n( *- src/lmladder\S*\n)*": r"\1requirements.txt\n",
    },
    f"conf/rungs/{RUNG}.yaml": {r"examples/": ""},
}
MOVED = {"examples/rungs/": "rungs/", f"rungs/{RUNG}.yaml": f"conf/rungs/{RUNG}.yaml"}


def init(
    folder: Annotated[Path, typer.Argument(help="A new folder.", show_default=False)],
) -> None:
    """Write a project of your own.

    It has the pipeline, its configuration, and a rung to change.

    Examples:
        lmladder init my_ladder
    """
    here = folder.resolve() == Path.cwd()
    if here or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
        raise InputError(f"{folder} exists; name a new folder")
    if shutil.which("git") is None:
        raise InputError("git is not installed, which DVC needs")
    try:
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=".") as side:
            _write(Path(side, "project"))
            os.replace(Path(side, "project"), folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    say(f"project: {folder}, with the rung rungs/{RUNG}.py and all settings in conf/")
    say(f"next: cd {folder} && lmladder run, which trains the ladder in some minutes")


def _write(project: Path) -> None:
    """Write the files of a project, and params.yaml, to a new folder in a git repository."""
    for name, content in _files().items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        atomic_write(project / name, content.encode())
    inside = ["git", "-C", str(project), "rev-parse", "--is-inside-work-tree"]
    if subprocess.run(inside, capture_output=True, check=False).returncode:
        _run(project, "git", "init", "--quiet")
    _run(project, sys.executable, "stages/compose.py")


def project_files() -> Path:
    """Return the folder in the package with the files of a project, or the repository."""
    installed = PACKAGE / "project"
    return installed if installed.exists() else PACKAGE.parents[1]


def _files() -> dict[str, str]:
    """Return the content of each file by its path in a project.

    The package contains the files of the repository, except where it is a part of it.
    """
    root = project_files()
    listed = Path(__file__).with_name("project.txt")
    tops = listed.read_text().split() if root == PACKAGE.parents[1] else ["."]
    found = {"Makefile": MAKEFILE, "requirements.txt": f"lmladder=={version('lmladder')}\n"}
    for path in (each for top in tops for each in (root / top, *(root / top).rglob("*"))):
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        name = path.relative_to(root).as_posix()
        for old, new in MOVED.items():
            name = name.replace(old, new)
        found[name] = path.read_text(encoding="utf-8")
        for pattern, replacement in CHANGES.get(name, {}).items():
            found[name] = re.sub(pattern, replacement, found[name])
    return found


def _run(project: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunError(f"{' '.join(command)} failed: {' '.join(done.stderr.split())}")
