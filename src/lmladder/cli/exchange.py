"""`lmladder export` and `lmladder import`: checkpoints in the formats of other programs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from lmladder.cli.arguments import Force, open_checkpoint, require_new
from lmladder.system.errors import no_file

import typer

if TYPE_CHECKING:
    from types import ModuleType

    from lmladder.training.checkpoint import Checkpoint


def _formats(incomplete: str) -> list[str]:
    from lmladder.interop import FORMATS

    return [name for name in FORMATS if name.startswith(incomplete)]


FormatName = Annotated[
    str,
    typer.Option("--format", help="gpt2 or tiny-lm.", autocompletion=_formats),
]


def export_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="A Transformer's checkpoint.safetensors.")],
    target: Annotated[Path, typer.Argument(help="A new folder (gpt2) or file (tiny-lm).")],
    format_name: FormatName = "gpt2",
    force: Force = False,
) -> None:
    """Write a Transformer in the format of another program: Hugging Face's GPT-2, or TinyLM.

    Example: lmladder export outputs/transformer/checkpoint.safetensors mine --format gpt2
    """
    from lmladder.interop import format_named

    kind = format_named(format_name)
    require_new(target, force=force)
    notes = _export(open_checkpoint(checkpoint), target, kind)
    _print_notes(notes, f"{format_name}: {checkpoint} -> {target}")


def import_checkpoint(
    source: Annotated[Path, typer.Argument(help="A folder (gpt2) or file (tiny-lm).")],
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint to write.")],
    format_name: FormatName = "gpt2",
    force: Force = False,
) -> None:
    """Convert another program's model to a checkpoint, to sample from and to train further.

    Example: lmladder import gpt2 gpt2.safetensors --format gpt2
    """
    from lmladder.interop import format_named, training_command

    require_new(checkpoint, force=force)
    loaded, notes = format_named(format_name).read(source)
    loaded.save(checkpoint)
    _print_notes(notes, f"{format_name}: {source} -> {checkpoint}")
    print(f"to train it further: {training_command(loaded, checkpoint)}")


def _export(checkpoint: Checkpoint, target: Path, kind: ModuleType) -> list[str]:
    """Write a checkpoint in a format, replacing files of that name, and return notes to the user.

    Raises
    ------
    InputError
        If the format cannot hold the model.
    """
    if not target.is_dir():
        notes: list[str] = kind.write(checkpoint, target)
        return notes
    with tempfile.TemporaryDirectory(dir=target, prefix=".") as side:
        complete = Path(side) / "complete"
        notes = kind.write(checkpoint, complete)
        if complete.is_file():  # of a format that is a file, which cannot replace a folder
            raise no_file(target)
        for each in complete.iterdir():
            os.replace(each, target / each.name)
    return notes


def _print_notes(notes: list[str], done: str) -> None:
    for note in notes:
        print(f"note: {note}")
    print(done)
