"""`lmladder verify`: train runs again and compare the results."""

from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated

from lmladder.cli.arguments import AsJson, RungModules
from lmladder.system.errors import RunError

import typer

DEFAULT_TOLERANCE = 2e-3


def verify(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of runs, or checkpoints.", show_default=False)
    ],
    prepared: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the text that the runs were trained on. [default: that of the "
            "run's ladder, or outputs/prepare]"
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Relative, of losses; it applies where code, machine or versions differ.",
        ),
    ] = DEFAULT_TOLERANCE,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Changes speed only. [default: one per core]")
    ] = None,
    as_json: AsJson = False,
    modules: RungModules = None,
) -> None:
    """Train runs again, and compare the results with theirs.

    The settings are those in the checkpoints. A run is bit-identical, or its losses agree within a
    tolerance, or they differ from some step on, which gives exit status 1. A file that contradicts
    its checkpoint gives exit status 2.

    Examples:
        lmladder verify outputs/mlp outputs/transformer
    """
    from lmladder import kernels
    from lmladder.experiments.verify import open_run, verify_run

    kernels.set_threads(threads)
    verdicts = []
    for run in [open_run(path, prepared) for path in runs]:
        verdicts.append(verify_run(run, tolerance))
        if not as_json:
            print(verdicts[-1], flush=True)
    if as_json:
        print(dumps([asdict(each) for each in verdicts], indent=2))
    if differing := [each.path for each in verdicts if not each.reproduces]:
        raise RunError(f"not reproduced: {', '.join(differing)}")
