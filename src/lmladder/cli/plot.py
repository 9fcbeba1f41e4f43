"""`lmladder plot`: draw the figures of a ladder from the tables that its stages wrote."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from lmladder.cli.arguments import (
    DEFAULT_OUTPUTS,
    Force,
    OutputsPath,
    RungModules,
    output_option,
    require_replaceable,
    require_results,
)
from lmladder.system.messages import say

import typer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(
    outputs: OutputsPath = DEFAULT_OUTPUTS,
    output: Annotated[Path, output_option("The folder for the figures.")] = Path("figures"),
    format_name: Annotated[
        Literal["svg", "png"], typer.Option("--format", help="Of the files.")
    ] = "svg",
    force: Force = False,
    modules: RungModules = None,
) -> None:
    """Draw all figures of the results.

    These are the figures of `outputs/evaluate`, and perplexity against training time on this
    machine.

    Examples:
        lmladder plot
        lmladder plot outputs -o figures --format png
    """
    from lmladder import reports
    from lmladder.system.files import atomic_write, make_folder
    from lmladder.system.progress import track

    require_results(outputs)
    figures = figures_of(outputs)
    make_folder(output)
    paths = {name: output / f"{name}.{format_name}" for name in figures}
    for path in paths.values():
        require_replaceable(path, force=force)
    for name, path in track("plot", paths):
        atomic_write(path, reports.FORMATS[format_name](figures[name]))
        print(f"{path}: {figures[name].get_label()}")
    say(f"{len(paths)} figures: {output}; next: lmladder report")


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
        say("note: no figure of training time, because no stage has run here")
        return figures
    split = reports.last_split(table)
    return figures | {"perplexity_time": reports.perplexity_by_time(table, split, seconds)}
