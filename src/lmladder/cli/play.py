"""`lmladder play`: write a page that runs models in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from lmladder.cli.arguments import CORPUS, Force, RungModules, open_checkpoint, require_replaceable

import typer

OUTPUTS = Path("outputs")


def play(
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")],
    checkpoints: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Checkpoints, or the corpus.json of a text with an oracle. "
            "[default: all rungs that `dvc repro` has scored]",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        str, typer.Option(help="The text that the page begins with.")
    ] = "Once upon a time",
    force: Force = False,
    modules: RungModules = None,
) -> None:
    """Write one page that runs the models in the browser: type, and see what each expects.

    Example: lmladder play -o play.html
    """
    from lmladder import reports
    from lmladder.pipeline.rungs import ORACLE
    from lmladder.system.files import atomic_write
    from lmladder.training.checkpoint import LATEST

    require_replaceable(output, force=force)
    order: list[str] = []
    if not checkpoints:
        table = reports.models_of(reports.read_csv(OUTPUTS / "evaluate/perplexity.csv"))
        order = [*reversed(table)]  # the best one first
        rungs = dict.fromkeys(table[name].rung for name in order)
        checkpoints = [
            OUTPUTS / each / (CORPUS if each == ORACLE.folder else LATEST) for each in rungs if each
        ]
    loaded = {str(path): open_checkpoint(path) for path in checkpoints}
    page, skipped = reports.render_play(loaded, text, order)
    atomic_write(output, page.encode())
    for each in skipped:
        print(each)
    print(f"play: {len(loaded) - len(skipped)} rungs -> {output}, {len(page) / 1e6:.1f} MB")
