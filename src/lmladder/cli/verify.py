"""`lmladder verify`: train runs again and compare the weights."""

from pathlib import Path
from typing import Annotated

from lmladder.cli.arguments import RungModules, checkpoint_file, text_of
from lmladder.system.errors import RunError

import typer

RUNS = typer.Argument(help="Folders of runs, or checkpoints.", show_default=False)


def verify(runs: Annotated[list[Path], RUNS], modules: RungModules = None) -> None:
    """Train runs again, and compare the weights with theirs.

    The settings are those in the checkpoints, the text is that of the run's ladder, or of
    outputs/prepare. All bits must be equal, which they are with the same code, versions and
    processor family. A run that differs is named with the first evaluation at which it does, and
    the exit status is 1.

    Examples:
        lmladder verify outputs/mlp outputs/transformer
    """
    from lmladder.experiments.verify import differs_at

    differing = []
    for run in runs:
        step = differs_at(checkpoint_file(run), text_of(run))
        print(f"{run}: {'the same weights' if step is None else f'differs at step {step}'}")
        differing += [str(run)] if step is not None else []
    if differing:
        raise RunError(f"not reproduced: {', '.join(differing)}")
