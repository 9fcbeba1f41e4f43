"""`lmladder try`: is this change an improvement?"""

from pathlib import Path
from typing import Annotated, Any, Literal

from lmladder.cli.arguments import DEFAULT_OUTPUTS, output_option, require_suffix
from lmladder.system.errors import InputError
from lmladder.system.messages import say

import typer

REVISION = typer.Option(help="Run the base with the code of this revision of git.")
RUNG = typer.Option(help="The rung, where only the code changes.")
COMMON = typer.Option(help="A setting of both, such as experiment=shakespeare; repeatable.")
SMALLEST = typer.Option(min=0.0, help="Smallest difference of interest, in nats per token.")
EQUAL = typer.Option(help="What both are trained with the same of.")
BUDGET = typer.Option(help="90s, 30m or 2h of this command, or 200Mtokens of all runs.")
AT_ONCE = typer.Option(min=1, help="Pairs of runs between two looks, for parallel launchers.")
CONFIG_DIR = typer.Option(help="A folder with more choices, such as examples.")
PRINT = typer.Option("--ledger", help="Print the questions that were asked, and ask none.")
CHANGE = typer.Argument(metavar="OVERRIDE", help="The change, as for Hydra; a question per rung.")


def try_(
    overrides: Annotated[list[str] | None, CHANGE] = None,
    against: Annotated[str | None, REVISION] = None,
    rung: Annotated[str, RUNG] = "transformer",
    common: Annotated[list[str] | None, COMMON] = None,
    smallest: Annotated[float, SMALLEST] = 0.005,
    equal: Annotated[Literal["tokens", "time"], EQUAL] = "tokens",
    budget: Annotated[str | None, BUDGET] = None,
    at_once: Annotated[int, AT_ONCE] = 1,
    ledger: Annotated[bool, PRINT] = False,
    config_dir: Annotated[Path | None, CONFIG_DIR] = None,
    output: Annotated[Path | None, output_option("Draw the ledger to this file, .svg.")] = None,
) -> None:
    """Find out whether a change is an improvement.

    It trains the base and the change with the same seeds, in turn, until a sequential test decides:
    better, worse, or no difference of interest. What is better is confirmed: on fresh text where
    its grammar is known, otherwise by an interval that is corrected for all questions asked about
    the text. trials.csv has each answer; commit it. Repeat the command to continue.

    Examples:
        lmladder try transformer.n_layer=3
        lmladder try mlp.activation=relu --equal time --budget 30m
        lmladder try --against HEAD
        lmladder try --ledger
    """
    from lmladder.experiments.trials import LEDGER, read_ledger
    from lmladder.pipeline.trying import ask, questions
    from lmladder.reports import trials as reports
    from lmladder.reports.figures.style import as_svg
    from lmladder.system.files import atomic_write
    from lmladder.system.interrupts import raise_interrupts
    from lmladder.system.locks import locked

    require_suffix(output, ".svg")
    if not ledger and output is None:
        options: Any = {"equal": equal, "budget": budget, "at_once": at_once}
        common = common or []
        if config_dir is not None:
            common = [f"hydra.searchpath=['file://{config_dir.absolute()}']", *common]
        raise_interrupts()
        asked = list(questions(overrides or [], common, against, rung))
        with locked(DEFAULT_OUTPUTS / "sweeps"):
            for base, changes in asked:
                trial = ask(base, changes, LEDGER, smallest=smallest, **options)
                print(reports.sentences(trial, read_ledger(LEDGER)), flush=True)
        return
    trials = read_ledger(LEDGER)
    if overrides or not trials:
        reason = f"there is no {LEDGER} in this folder; ask a question first"
        raise InputError("--ledger and -o ask no question" if overrides else reason)
    print(reports.as_text(trials))
    if output is not None:
        atomic_write(output, as_svg(reports.ledger_figure(trials)).encode())
        say(f"written: {output}")
