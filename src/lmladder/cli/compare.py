"""`lmladder compare`: which differences between runs are real."""

from pathlib import Path
from typing import Annotated, Literal

from lmladder.cli.arguments import AsJson, output_option, require_suffix
from lmladder.system.errors import InputError
from lmladder.system.messages import say

import typer

FOLDERS = typer.Argument(
    help="Folders of runs or sweeps, or outputs; every run below them is compared.",
    show_default=False,
)
REVISION = typer.Option(
    help="The committed outputs of a git revision or of an experiment of DVC; * matches any part "
    "of an experiment's name. May be given several times.",
    show_default=False,
)
METRIC = typer.Option(
    help="Of the whole validation text; val_loss: of validation sequences. [default: the first "
    "that the runs have]"
)
BY = typer.Option(help="Order by this setting, such as transformer.n_layer.")
AGAINST = typer.Option(
    metavar="<key=value>",
    help="Compare with the configuration of this setting or override instead of the best.",
    show_default=False,
)
FORMAT = typer.Option("--format", help="How to print the table.")
OUTPUT = output_option(
    "Also write the table, with every run, to this page, .html; or draw the scores over the "
    "setting of --by to this file, .svg."
)


def compare(
    folders: Annotated[list[Path] | None, FOLDERS] = None,
    rev: Annotated[list[str] | None, REVISION] = None,
    metric: Annotated[
        Literal["bits_per_byte", "nats_per_token", "perplexity", "val_loss"] | None, METRIC
    ] = None,
    by: Annotated[str | None, BY] = None,
    against: Annotated[str | None, AGAINST] = None,
    format_name: Annotated[Literal["text", "csv", "markdown"], FORMAT] = "text",
    as_json: AsJson = False,
    output: Annotated[Path | None, OUTPUT] = None,
) -> None:
    """Show which differences between runs are more than chance.

    A configuration, one model and its settings, has the mean over its seeds and the distance to
    the best. The 95% intervals of all distances hold simultaneously, over texts of the kind and
    over seeds. The rank is one more than the number of configurations that are shown to be better;
    one without a rank may be the best, or has too few seeds to be judged.

    Examples:
        lmladder compare outputs/sweeps/transformer --by transformer.n_layer
        lmladder compare outputs/sweeps --by transformer.d_model -o sweep.svg
        lmladder compare outputs/sweeps --against transformer.n_layer=2
        lmladder compare outputs --rev HEAD
        lmladder compare outputs/sweeps --format markdown
    """
    from lmladder import experiments
    from lmladder.reports.comparison import print_comparison

    require_suffix(output, ".html", ".svg")
    if not folders and not rev:
        raise InputError("name folders of runs, such as outputs, or a revision: --rev NAME")
    found = experiments.find_runs(folders) if folders else experiments.Found()
    committed = experiments.find_revisions(rev or [])
    table = experiments.compare(
        found.runs + committed.runs,
        metric=metric,
        by=by,
        notes=found.notes + committed.notes,
        against=against,
    )
    if output is not None:
        from lmladder.reports.comparison_page import write  # imports Matplotlib

        write(table, output)
    print_comparison(table, "json" if as_json else format_name)
    if output is not None:
        say(f"written: {output}")
