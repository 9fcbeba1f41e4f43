"""`lmladder play`: write a page that runs models in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from lmladder.cli.arguments import (
    DEFAULT_OUTPUTS,
    RungModules,
    open_checkpoint,
    output_option,
    require_suffix,
    text_of,
)
from lmladder.system.errors import InputError
from lmladder.system.messages import say

import typer

CHECKPOINTS = typer.Argument(
    metavar="CHECKPOINT",
    help="Folders of runs or their checkpoint.safetensors; or the folder of a ladder, for all "
    "rungs that it has scored. [default: outputs]",
    show_default=False,
)
TEXT = typer.Option(help="The text at first. [default: a validation text]", show_default=False)


def play(
    checkpoints: Annotated[list[Path] | None, CHECKPOINTS] = None,
    text: Annotated[str | None, TEXT] = None,
    output: Annotated[Path, output_option("The page to write, .html.")] = Path("play.html"),
    modules: RungModules = None,
) -> None:
    """Write a page that runs the models in the browser.

    One types a text and sees what each model expects at every character.

    Examples:
        lmladder play
        lmladder play outputs/mlp outputs/transformer outputs/prepare -o play.html
    """
    from lmladder.data.reading import ESCAPED
    from lmladder.reports.play import render_play
    from lmladder.reports.table import models_of, read_csv
    from lmladder.system.files import atomic_write

    if text is not None and ESCAPED.search(text):
        raise InputError("--text must be valid UTF-8")
    require_suffix(output, ".html")
    order, checkpoints = list[str](), checkpoints or [DEFAULT_OUTPUTS]
    scored = checkpoints[0] / "evaluate/perplexity.csv"
    if checkpoints == [DEFAULT_OUTPUTS] or (len(checkpoints) == 1 and scored.exists()):
        table = models_of(read_csv(scored))
        order = [*reversed(table)]  # the best one first
        checkpoints = [checkpoints[0] / table[name].rung for name in order]
    loaded = {str(path): open_checkpoint(path) for path in dict.fromkeys(checkpoints)}
    text = _opening(checkpoints[0]) if text is None else text
    page, skipped = render_play(loaded, text, order)
    atomic_write(output, page.encode())
    for each in skipped:
        say(f"note: {each}")
    say(f"page: {output}, {len(page) / 1e6:.1f} MB")


def _opening(checkpoint: Path) -> str:
    """Return a text whose next word repeats one, as the last word of a story often does."""
    try:
        prepared = text_of(checkpoint)
    except InputError:  # a checkpoint without its text
        return ""
    text = prepared.tokenizer.decode(prepared.val[:400]).partition("\n")[0]
    return text.rpartition(" ")[0] + " "
