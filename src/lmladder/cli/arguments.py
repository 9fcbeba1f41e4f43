"""Options that several commands have, and what these name: checkpoints, models, texts and files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lmladder.system.errors import InputError
from lmladder.system.messages import VERBOSE, say

import typer

if TYPE_CHECKING:
    from lmladder.data import Prepared, Tokenizer
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
DEFAULT_OUTPUTS = Path("outputs")
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


def require_suffix(path: Path | None, *suffixes: str) -> None:
    """Raise InputError if a file to write has another suffix, as a checkpoint has, or no folder."""
    if path is not None and path.suffix not in suffixes:
        raise InputError(f"the name after -o must end in {' or '.join(suffixes)}, got {path}")
    if path is not None and not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent} for {path}")


def require_new(path: Path) -> None:
    """Raise InputError if something exists where a command would write; an empty folder may."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path} exists; choose another name, or remove it")


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
    from lmladder.system.settings import did_you_mean
    from lmladder.training.checkpoint import LATEST, Checkpoint

    path = checkpoint_file(path)
    if path.parts[:1] == DEFAULT_OUTPUTS.parts and not path.exists():
        folder = path.parent if path.name == LATEST else path
        known = [each.parent.name for each in DEFAULT_OUTPUTS.glob(f"*/{LATEST}")]
        hint = did_you_mean(folder.name, known)
        remedy = hint if hint.endswith("?") else "train it with: lmladder run"
        raise InputError(f"there is no {path}; {remedy}")
    if path.name == CORPUS:
        from lmladder.data import Prepared
        from lmladder.pipeline.rungs import ORACLE  # imports reports, and so Matplotlib

        loaded = ORACLE.load(0, Prepared.open(path.parent))
    else:
        loaded = Checkpoint.load(path)
    say(f"{path}: {loaded.kind}, step {loaded.step:,}, seed {loaded.seed}", VERBOSE)
    return loaded


def open_models(path: Path, name: str | None) -> tuple[dict[str, LanguageModel], Tokenizer]:
    """Return the models of a checkpoint from weak to strong, or one of them, and their tokenizer.

    Raises
    ------
    InputError
        If there is no such checkpoint or model.
    """
    from lmladder.models import restore_models
    from lmladder.models.contract import own_tokenizer

    checkpoint = open_checkpoint(path)
    models = restore_models(checkpoint)
    if name is not None:
        if name not in models:
            raise InputError(f"no model {name!r} in {path}; choose from {', '.join(models)}")
        models = {name: models[name]}
    return models, own_tokenizer([*models.values()][-1]) or checkpoint.restore_tokenizer()


def text_of(path: Path) -> Prepared:
    """Return the prepared text of the ladder that contains a checkpoint, or of outputs/prepare."""
    from lmladder.data import Prepared

    above = checkpoint_file(path).absolute().parents[1:3]
    ladders = (each for each in above if (each / "prepare").is_dir())
    return Prepared.open(next(ladders, DEFAULT_OUTPUTS) / "prepare")
