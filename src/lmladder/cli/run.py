"""`lmladder run`: train, score and compare the rungs of a project."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

from lmladder.cli.arguments import DEFAULT_OUTPUTS
from lmladder.system.errors import InputError, RunError
from lmladder.system.messages import VERBOSE, say, shown

import typer

NEEDED = ("dvc.yaml", "stages/compose.py")
TABLE = DEFAULT_OUTPUTS / "evaluate/perplexity.md"


def run(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="OVERRIDE",
            help="Settings and choices, as for Hydra; `lmladder settings` prints all.",
            show_default=False,
        ),
    ] = None,
    stages: Annotated[
        list[str] | None,
        typer.Option(
            "--stage",
            metavar="NAME",
            help="Run this stage and those before it. May be given several times.",
            show_default=False,
        ),
    ] = None,
    config_dir: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="A folder with more choices, such as examples."
        ),
    ] = None,
) -> None:
    """Train the rungs that a change concerns, and print the table.

    It composes conf/ and the overrides into params.yaml (python stages/compose.py), and runs
    what depends on a change (dvc repro). Without overrides the settings are those of conf/.
    For sweeps there is python stages/NAME.py -m.

    Examples:
        lmladder run
        lmladder run transformer.n_layer=3 seed=1
        lmladder run mlp.hidden_sizes=[64] --stage mlp
    """
    if missing := [name for name in NEEDED if not Path(name).is_file()]:
        raise InputError(
            f"there is no {missing[0]} in this folder, so it is not a project; "
            "change to the folder of yours, or make one with: lmladder init FOLDER"
        )
    options = [] if config_dir is None else ["--config-dir", str(config_dir)]
    if status := _call("stages/compose.py", *options, *(overrides or []), quiet=True):
        raise typer.Exit(status)
    verbose = ["--verbose"] if shown(VERBOSE) else []
    if _call("-m", "dvc", "repro", *verbose, *(stages or []), quiet=not shown()):
        raise RunError("the run is not complete, as printed above; the same command continues it")
    if not stages:
        print(TABLE.read_text(encoding="utf-8"), end="")
        say(f"table: {TABLE}; page: {TABLE.parent}/report.html")
        say("next: lmladder sample, lmladder compare outputs")


def _call(*arguments: str, quiet: bool) -> int:
    """Run Python with arguments, in the environment of this program; return the exit status."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    output = subprocess.DEVNULL if quiet else None
    environment = {**os.environ, "PATH": path}
    return subprocess.call([sys.executable, *arguments], env=environment, stdout=output)
