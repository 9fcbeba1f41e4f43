"""`lmladder compare`: which differences between runs are real."""

from pathlib import Path
from typing import Annotated

from lmladder.cli.arguments import Force, RungModules, require_replaceable
from lmladder.system.errors import InputError

import typer


def _metrics(incomplete: str) -> list[str]:
    from lmladder.experiments import METRICS

    return [name for name in METRICS if name.startswith(incomplete)]


def compare(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of runs or sweeps, or outputs; every run below them is compared.",
            show_default=False,
        ),
    ] = None,
    rev: Annotated[
        list[str] | None,
        typer.Option(
            help="The committed outputs of a git revision or of an experiment of DVC; * matches "
            "any part of an experiment's name. May be given several times.",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            autocompletion=_metrics,
            help="bits_per_byte, nats_per_token or perplexity, of the whole validation text, or "
            "val_loss, of validation sequences. [default: the first that the runs have]",
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Order by this setting, such as transformer.n_layer.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="<key=value>",
            help="Compare with the configuration of this setting or override instead of the best.",
            show_default=False,
        ),
    ] = None,
    power: Annotated[
        float | None,
        typer.Option(
            help="Also print how many seeds a difference of this size requires.",
            show_default=False,
        ),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print a LaTeX tabular.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, with all runs.")] = False,
    figure: Annotated[
        Path | None,
        typer.Option(help="Draw the scores over the setting of --by to this file, .svg or .png."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write the table, with every run, to this page.")
    ] = None,
    force: Force = False,
    modules: RungModules = None,
) -> None:
    """Compare runs: for each model and settings the mean over seeds and the distance to the best.

    The 95% intervals of all distances hold simultaneously, over texts of the kind and over seeds.
    The rank is one more than the number of configurations that are shown to be better; one without
    a rank may be the best, or has too few seeds to be judged.

    Example: lmladder compare outputs/sweeps/transformer --by transformer.n_layer

    Example: lmladder compare outputs/sweeps --by transformer.d_model --figure sweep.svg

    Example: lmladder compare outputs/sweeps --against transformer.n_layer=2

    Example: lmladder compare outputs --rev HEAD

    Example: lmladder compare outputs/sweeps --power 0.01
    """
    from lmladder import experiments
    from lmladder.reports import comparison as reports
    from lmladder.system.files import atomic_write

    require_replaceable(html, force=force)
    require_replaceable(figure, force=force)
    flags = {"csv": csv, "markdown": markdown, "latex": latex, "json": json}
    formats = [name for name, chosen in flags.items() if chosen]
    if len(formats) > 1:
        raise InputError(f"--{formats[0]} and --{formats[1]} do not go together; choose one")
    if not folders and not rev:
        raise InputError("name folders of runs, such as outputs, or a revision: --rev NAME")
    found = experiments.find_runs(folders) if folders else experiments.Found()
    committed = experiments.find_revisions(rev or [])
    table = experiments.compare(
        found.runs + committed.runs,
        metric=metric,
        by=by,
        notes=found.notes + committed.notes,
        power=power,
        against=against,
    )
    if html is not None:
        atomic_write(html, reports.to_html(table).encode())
    if figure is not None:
        reports.write_figure(table, figure)
    reports.print_comparison(table, formats[0] if formats else None)
