"""What the larger commands of `lmladder` do, one module each; `cli.py` tells their options.

Plumbing, as the stages are: open a checkpoint, ask the library, print or write.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from lmladder.models import LanguageModel
from lmladder.system.errors import InputError, no_file
from lmladder.training.checkpoint import Checkpoint

PAGES_AND_FIGURES = (b"<!doctype html>", b"<svg", b"<?xml", b"\x89PNG")  # how such files begin


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at `path`; of one that the pipeline has yet to make, InputError tells how."""
    if path.parts[:1] == ("outputs",) and len(path.parts) == 3 and not path.exists():
        raise InputError(f"there is no {path} yet; train it with: dvc repro")
    return Checkpoint.load(path)


def model_named(name: str, models: Mapping[str, LanguageModel], path: Path) -> LanguageModel:
    """One of the models of the checkpoint at `path`; InputError, with their names, if none is."""
    if name not in models:
        raise InputError(f"no model {name!r} in {path}; choose from {', '.join(models)}")
    return models[name]


def require_new(path: Path, *, force: bool) -> None:
    """Raise InputError if there is anything at a path that a command writes, unless `force`."""
    empty = path.is_dir() and not any(path.iterdir())
    if path.exists() and not (empty or force):
        raise InputError(f"{path} exists; --force replaces it")


def require_replaceable(path: Path, *, force: bool) -> None:
    """Raise InputError if a page or figure would replace a file of another kind, unless `force`."""
    if force or not path.is_file():
        return
    try:
        with path.open("rb") as file:
            begins = file.read(max(map(len, PAGES_AND_FIGURES))).lower()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    if begins and not begins.startswith(tuple(each.lower() for each in PAGES_AND_FIGURES)):
        raise InputError(f"{path} exists and is neither a page nor a figure; --force replaces it")


def export(checkpoint: Checkpoint, target: Path, kind: ModuleType, *, force: bool) -> list[str]:
    """Write a checkpoint for another program; with `force`, over the files that are there.

    Returns
    -------
    notes to the user

    Raises
    ------
    InputError
        If there is something at `target`, without `force`; or the format cannot hold the model.
    """
    require_new(target, force=force)
    if not target.is_dir():
        notes: list[str] = kind.write(checkpoint, target)
        return notes
    with tempfile.TemporaryDirectory(dir=target, prefix=".") as side:
        whole = Path(side) / "whole"
        notes = kind.write(checkpoint, whole)
        if whole.is_file():  # of a format that is a file, which cannot replace a folder
            raise no_file(target)
        for each in whole.iterdir():
            os.replace(each, target / each.name)
    return notes
