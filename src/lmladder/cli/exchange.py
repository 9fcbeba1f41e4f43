"""`lmladder export` and `lmladder import`: checkpoints in the formats of other programs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from lmladder.cli.arguments import (
    DEFAULT_CHECKPOINT,
    CheckpointPath,
    Force,
    open_checkpoint,
    output_option,
    require_new,
)
from lmladder.system.errors import no_file
from lmladder.system.messages import say

import typer

if TYPE_CHECKING:
    from types import ModuleType

    from lmladder.training.checkpoint import Checkpoint


FormatName = Annotated[
    Literal["gpt2", "tiny-lm"],
    typer.Option("--format", help="Of the other program: a folder (gpt2) or a file (tiny-lm)."),
]


def export_checkpoint(
    output: Annotated[Path, output_option("A new folder (gpt2) or file (tiny-lm).")],
    checkpoint: CheckpointPath = DEFAULT_CHECKPOINT,
    format_name: FormatName = "gpt2",
    force: Force = False,
) -> None:
    """Write a Transformer in the format of another program.

    The formats are Hugging Face's GPT-2 and TinyLM.

    Examples:
        lmladder export outputs/transformer -o mine --format gpt2
    """
    from lmladder.interop import FORMATS

    require_new(output, force=force)
    notes = _export(open_checkpoint(checkpoint), output, FORMATS[format_name])
    _print_notes(notes, f"{format_name}: {checkpoint} -> {output}")


def import_checkpoint(
    source: Annotated[Path, typer.Argument(help="A folder (gpt2) or file (tiny-lm).")],
    output: Annotated[Path, output_option("The checkpoint to write, .safetensors.")],
    format_name: FormatName = "gpt2",
    force: Force = False,
) -> None:
    """Convert another program's model to a checkpoint.

    Examples:
        lmladder import mine -o gpt2.safetensors --format gpt2
        lmladder sample gpt2.safetensors
    """
    from lmladder.interop import FORMATS, training_command

    require_new(output, force=force)
    loaded, notes = FORMATS[format_name].read(source)
    loaded.save(output)
    _print_notes(notes, f"{format_name}: {source} -> {output}")
    say(f"next: lmladder sample {output}")
    say(f"to train it further: {training_command(loaded, output)}")


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
        say(f"note: {note}")
    say(done)
