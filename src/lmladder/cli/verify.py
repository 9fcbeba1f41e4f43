"""`lmladder verify`: train runs again and compare the weights."""

from pathlib import Path
from typing import Annotated

from lmladder.cli.arguments import DEFAULT_OUTPUTS, RungModules
from lmladder.system.errors import RunError

import typer


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
    modules: RungModules = None,
) -> None:
    """Train runs again, and compare the weights with theirs.

    The settings are those in the checkpoints. All bits must be equal, which they are with the same
    code, versions and processor family. A run that differs is named with the first evaluation at
    which it does, and the exit status is 1.

    Examples:
        lmladder verify outputs/mlp outputs/transformer
    """
    from lmladder.data import Prepared
    from lmladder.experiments.verify import differs_at
    from lmladder.training.checkpoint import LATEST

    differing = []
    for run in runs:
        path = run / LATEST if run.is_dir() else run
        above = path.absolute().parents[1:3]
        ladder = next((each for each in above if (each / "prepare").is_dir()), DEFAULT_OUTPUTS)
        step = differs_at(path, Prepared.open(prepared or ladder / "prepare"))
        print(f"{run}: {'the same weights' if step is None else f'differs at step {step}'}")
        differing += [str(run)] if step is not None else []
    if differing:
        raise RunError(f"not reproduced: {', '.join(differing)}")
