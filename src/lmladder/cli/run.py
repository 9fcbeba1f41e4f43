"""`lmladder run`: train, score and compare the rungs of a project."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from lmladder.cli.arguments import DEFAULT_OUTPUTS
from lmladder.system.errors import STATUS_FILE, InputError, RunError
from lmladder.system.interrupts import exit_status, raise_interrupts
from lmladder.system.locks import locked, remove_empty
from lmladder.system.messages import VERBOSE, say, shown

import typer

NEEDED = ("dvc.yaml", "stages/compose.py")
TABLE = DEFAULT_OUTPUTS / "evaluate/perplexity.csv"
RWLOCK = Path(".dvc/tmp/rwlock")  # empty where DVC was killed while it wrote it
COMPOSE, REPRO = ("stages/compose.py",), ("-m", "dvc", "repro")

OVERRIDES = typer.Argument(
    metavar="OVERRIDE",
    help="Settings and choices, as for Hydra; `lmladder settings` prints all.",
    show_default=False,
)
STAGES = typer.Option(
    "--stage",
    metavar="NAME",
    help="Run this stage and those before it. May be given several times.",
    show_default=False,
)
CONFIG_DIR = typer.Option(
    exists=True, file_okay=False, help="A folder with more choices, such as examples."
)


def run(
    overrides: Annotated[list[str] | None, OVERRIDES] = None,
    stages: Annotated[list[str] | None, STAGES] = None,
    config_dir: Annotated[Path | None, CONFIG_DIR] = None,
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
            "change to the folder of yours, a clone of the repository"
        )
    options = [] if config_dir is None else ["--config-dir", str(config_dir)]
    verbose = ["--verbose"] if shown(VERBOSE) else []
    raise_interrupts()
    # Another run would write its own settings into params.yaml before DVC has read it.
    with locked(DEFAULT_OUTPUTS), tempfile.NamedTemporaryFile("r") as file:
        if status := _call(*COMPOSE, *options, *(overrides or []), quiet=True):
            raise typer.Exit(status)
        remove_empty(RWLOCK, RWLOCK.with_name("rwlock.lock"))
        if _call(*REPRO, *verbose, *(stages or []), quiet=not shown(), **{STATUS_FILE: file.name}):
            of_stage = Path(file.name).read_text()  # empty: DVC has not run any
            kind = InputError if of_stage in ("", str(InputError.exit_status)) else RunError
            raise kind("the run stopped for the reason printed above")
    if not stages:
        from lmladder.reports.table import print_table, read_csv

        print_table(read_csv(TABLE))
        say(f"table: {TABLE}; page: {TABLE.parent}/report.html")
        say("next: lmladder sample, lmladder compare outputs")


def _call(*arguments: str, quiet: bool, **variables: str) -> int:
    """Run Python with arguments, in the environment of this program; return the exit status."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    output = subprocess.DEVNULL if quiet else None
    environment = {**os.environ, "PATH": path, **variables}
    with subprocess.Popen([sys.executable, *arguments], env=environment, stdout=output) as process:
        try:
            return process.wait()
        except KeyboardInterrupt as interrupt:
            if interrupt.args == (signal.SIGTERM,):  # a terminal sends the others to all
                import psutil

                for child in psutil.Process(process.pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        if not child.children():  # a stage; its shell and DVC wait for it
                            child.terminate()
            process.wait()
            raise typer.Exit(exit_status(interrupt)) from None
