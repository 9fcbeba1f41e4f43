"""`lmladder scaling`: the law by which loss falls with size and tokens."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal

from lmladder.cli.arguments import (
    AsJson,
    Force,
    RungModules,
    output_option,
    require_one_format,
    require_replaceable,
)
from lmladder.system.errors import InputError
from lmladder.system.messages import say

import typer


def scaling(
    targets: Annotated[
        list[Path], typer.Argument(help="Folders of sweeps, or their tables scaling.csv.")
    ],
    held_out: Annotated[
        str | None,
        typer.Option(
            metavar="<key=value>",
            help="Runs with this override are not fitted, but predicted.",
            show_default=False,
        ),
    ] = None,
    min_context: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.99, help="Smallest fraction of the context with which runs are scored."
        ),
    ] = 0.8,
    resamples: Annotated[int, typer.Option(min=20, help="Of the runs, for intervals.")] = 500,
    format_name: Annotated[
        Literal["text", "markdown"], typer.Option("--format", help="How to print the tables.")
    ] = "text",
    as_json: AsJson = False,
    output: Annotated[
        Path | None, output_option("Also draw figures, .svg, in this folder.")
    ] = None,
    force: Force = False,
    modules: RungModules = None,
) -> None:
    """Fit L = E + A / N^a + B / D^b to the trained models of sweeps.

    L is the loss on the whole validation text, N the number of parameters without embeddings, and D
    the number of tokens read in training. Each model is scored once; the scores are kept in the
    file scaling.csv in the folder of the sweep. docs/scaling.md explains the methods.

    Examples:
        lmladder scaling outputs/sweeps/transformer
        lmladder scaling outputs/sweeps --held-out size=d192 -o figures
        lmladder scaling results/scaling/tales.csv --json
    """
    from lmladder.experiments.scaled_runs import read_runs, study
    from lmladder.reports import as_svg
    from lmladder.reports import scaling as reports
    from lmladder.reports.terminal import print_grid
    from lmladder.system.files import atomic_write, make_folder

    require_one_format(as_json, format_name)
    notes: list[str] = []
    studies = []
    for target in targets:
        runs = sorted(read_runs(target, min_context, notes), key=lambda each: each.model)
        by_model = {name: list(each) for name, each in groupby(runs, lambda each: each.model)}
        for model, each in by_model.items():
            name = target.stem if len(by_model) == 1 else f"{target.stem}_{model}"
            try:
                studies.append(study(name, each, held_out, resamples))
            except InputError as error:
                notes.append(str(error))
    if not studies:
        raise InputError("; ".join(notes))
    if as_json:
        print(reports.to_json(studies))
    else:
        for grid in (reports.laws_grid, reports.frontier_grid, reports.predictions_grid):
            print_grid(grid(studies), format_name)
    for note in notes:
        say(f"note: {note}")
    if output is not None:
        make_folder(output)
        for name, figure in reports.figures(studies).items():
            path = output / f"{name}.svg"
            require_replaceable(path, force=force)
            atomic_write(path, as_svg(figure).encode())
        say(f"figures: {output}")
