"""`lmladder plot`: draw the figures of a ladder from the tables that its stages wrote."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from lmladder.cli.arguments import Force, RungModules, require_replaceable
from lmladder.system.errors import InputError

import typer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(
    outputs: Annotated[Path, typer.Argument(help="The folder that `dvc repro` wrote.")] = Path(
        "outputs"
    ),
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder for the figures.")
    ] = Path("figures"),
    format_name: Annotated[str, typer.Option("--format", help="svg or png.")] = "svg",
    force: Force = False,
    modules: RungModules = None,
) -> None:
    """Draw all figures of the results: losses, costs, context, calibration.

    These are the figures of `outputs/evaluate`, and perplexity against training time on this
    machine.

    Example: lmladder plot outputs -o figures --format png
    """
    from lmladder import reports
    from lmladder.system.files import atomic_write, cannot_write

    if format_name not in reports.FORMATS:
        raise InputError(f"no format {format_name!r}; choose from {', '.join(reports.FORMATS)}")
    figures = figures_of(outputs)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(output, error) from error
    paths = {name: output / f"{name}.{format_name}" for name in figures}
    for path in paths.values():
        require_replaceable(path, force=force)
    for name, path in paths.items():
        atomic_write(path, reports.FORMATS[format_name](figures[name]))
        print(f"{path}: {figures[name].get_label()}")


def figures_of(outputs: Path) -> dict[str, Figure]:
    """Return the figures of the results in a folder, by name; that of time if stages ran here."""
    from lmladder import reports

    evaluated = outputs / "evaluate"
    table = reports.read_csv(evaluated / "perplexity.csv")
    figures = reports.result_figures(
        table,
        reports.read_histories(table, outputs),
        reports.read_positions(evaluated / "position.csv"),
        reports.read_calibration(evaluated / "calibration.csv"),
    )
    if (path := evaluated / "excess.csv").exists():  # older results do not have it
        figures |= reports.truth_figures(table, reports.read_excess(path))
    seconds = {
        name: float(value)
        for name, each in reports.models_of(table).items()
        if (value := reports.read_performance(outputs / each.rung).get("seconds"))
        and (each.trained or each.counted)
        and isinstance(value, int | float)
        and 0 < value < math.inf
    }
    if not seconds:
        print("note: no figure of training time, because no stage has run here", file=sys.stderr)
        return figures
    split = reports.last_split(table)
    return figures | {"perplexity_time": reports.perplexity_by_time(table, split, seconds)}
