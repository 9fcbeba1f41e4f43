"""`lmladder export` and `lmladder import`: checkpoints in the formats of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from lmladder.cli.arguments import (
    DEFAULT_CHECKPOINT,
    CheckpointPath,
    open_checkpoint,
    output_option,
    require_new,
)
from lmladder.system.messages import say

import typer


def export_checkpoint(
    output: Annotated[Path, output_option("A new folder.")],
    checkpoint: CheckpointPath = DEFAULT_CHECKPOINT,
) -> None:
    """Write a Transformer as a folder of Hugging Face's GPT-2.

    Examples:
        lmladder export outputs/transformer -o mine
    """
    from lmladder.interop import gpt2

    require_new(output)
    gpt2.write(open_checkpoint(checkpoint), output)
    say(f"{checkpoint} -> {output}")


def import_checkpoint(
    source: Annotated[Path, typer.Argument(help="A folder of a GPT-2, or a file of TinyLM.")],
    output: Annotated[Path, output_option("The checkpoint to write, .safetensors.")],
) -> None:
    """Convert another program's model to a checkpoint.

    Examples:
        lmladder import mine -o models/gpt2.safetensors
        lmladder sample models/gpt2.safetensors
    """
    from lmladder.interop import read_model, training_command

    require_new(output)
    loaded = read_model(source)
    loaded.save(output)
    say(f"{source} -> {output}")
    say(f"next: lmladder sample {output}")
    say(f"to train it further: {training_command(loaded, output)}")
