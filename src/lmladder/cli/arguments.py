"""Options that several commands have, and the checks of the files that they name."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lmladder.system.errors import InputError
from lmladder.system.messages import VERBOSE, say

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lmladder.models import LanguageModel
    from lmladder.training.checkpoint import Checkpoint

CheckpointPath = Annotated[
    Path,
    typer.Argument(
        metavar="CHECKPOINT",
        help="The folder of a run or its checkpoint.safetensors, or of a text with an oracle.",
    ),
]
DEFAULT_CHECKPOINT = Path("outputs/transformer/checkpoint.safetensors")
OutputsPath = Annotated[Path, typer.Argument(help="The folder that `lmladder run` wrote.")]
DEFAULT_OUTPUTS = Path("outputs")
Force = Annotated[bool, typer.Option("--force", help="Replace an existing file of any kind.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, with all digits.")]

CORPUS = "corpus.json"  # of a prepared text


def _load(paths: list[Path] | None) -> list[Path] | None:
    if paths:
        from lmladder.models.own import load_files

        load_files(paths)
    return paths


RungModules = Annotated[
    list[Path] | None,
    typer.Option(
        "--module",
        metavar="FILE",
        help="A Python file that defines kinds of rungs of your own; it is executed.",
        callback=_load,
        show_default=False,
    ),
]


def output_option(help: str) -> Any:
    """Return the option for the file or folder that a command writes."""
    return typer.Option("--output", "-o", help=help)


PAGES_AND_FIGURES = (b"<!doctype html>", b"<svg", b"<?xml", b"\x89PNG")  # how such files begin


def checkpoint_file(path: Path) -> Path:
    """Return the file at a path or in the folder of a run; of a prepared text, its corpus.json."""
    from lmladder.training.checkpoint import LATEST

    return path / (CORPUS if (path / CORPUS).exists() else LATEST) if path.is_dir() else path


def open_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint in `checkpoint_file(path)`; of a prepared text, its oracle.

    Raises
    ------
    InputError
        If there is none; the message names the command that trains one of the pipeline.
    """
    from lmladder.training.checkpoint import LATEST, Checkpoint

    path = checkpoint_file(path)
    if path.name == CORPUS:
        from lmladder.data import Prepared
        from lmladder.pipeline.rungs import ORACLE

        loaded = ORACLE.load(0, Prepared.open(path.parent))
    elif path.parts[:1] == DEFAULT_OUTPUTS.parts and not path.exists():
        known = [each.parent.name for each in DEFAULT_OUTPUTS.glob(f"*/{LATEST}")]
        wanted = path.parent if path.name == LATEST else path
        similar = difflib.get_close_matches(wanted.name, known, n=1)
        remedy = "train it with: lmladder run"
        if similar and similar[0] != wanted.name:
            remedy = f"did you mean {DEFAULT_OUTPUTS / similar[0]}?"
        raise InputError(f"there is no {path}; {remedy}")
    else:
        loaded = Checkpoint.load(path)
    say(f"{path}: {loaded.kind}, step {loaded.step:,}, seed {loaded.seed}", VERBOSE)
    return loaded


def require_one_format(as_json: bool, format_name: str) -> None:
    """Raise InputError if both --json and a --format other than text are given."""
    if as_json and format_name != "text":
        raise InputError(f"give --json or --format {format_name}, not both")


def require_results(outputs: Path) -> None:
    """Raise InputError if the pipeline has not written its results to a folder."""
    if not (table := outputs / "evaluate/perplexity.csv").is_file():
        raise InputError(f"there is no {table}; write it with: lmladder run")


def chosen_model(name: str | None, models: Mapping[str, LanguageModel], path: Path) -> str:
    """Return the name of a model of the checkpoint at `path`; by default that of the strongest."""
    if name is not None and name not in models:
        raise InputError(f"no model {name!r} in {path}; choose from {', '.join(models)}")
    return name or list(models)[-1]


def require_new(path: Path, *, force: bool) -> None:
    """Raise InputError if a command would write to a path that exists, unless `force`."""
    empty = path.is_dir() and not any(path.iterdir())
    if path.exists() and not (empty or force):
        raise InputError(f"{path} exists; --force replaces it")


def require_replaceable(path: Path | None, *, force: bool) -> None:
    """Raise InputError if a page or figure would replace a file of another kind, unless `force`."""
    if force or path is None or not path.is_file():
        return
    try:
        with path.open("rb") as file:
            begins = file.read(max(map(len, PAGES_AND_FIGURES))).lower()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    if begins and not begins.startswith(tuple(each.lower() for each in PAGES_AND_FIGURES)):
        raise InputError(f"{path} exists and is neither a page nor a figure; --force replaces it")
