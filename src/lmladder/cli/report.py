"""`lmladder report`: write the page of results again, with the machine and times."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from lmladder.cli.arguments import (
    DEFAULT_OUTPUTS,
    Force,
    OutputsPath,
    RungModules,
    output_option,
    require_replaceable,
    require_results,
)
from lmladder.cli.plot import figures_of
from lmladder.system.errors import InputError
from lmladder.system.messages import say

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmladder.data import Prepared
    from lmladder.training.checkpoint import Checkpoint

PERFORMANCE = {
    "Seconds": "seconds",
    "Tokens/second": "tokens_per_second",
    "Peak memory, MB": "peak_memory_mb",
}


def report(
    outputs: OutputsPath = DEFAULT_OUTPUTS,
    output: Annotated[Path, output_option("The page to write, .html.")] = Path("report.html"),
    results: Annotated[
        Path, typer.Option(help="The folder that `make results` wrote.", show_default=True)
    ] = Path("results"),
    force: Force = False,
    modules: RungModules = None,
) -> None:
    """Write the page of results, with seeds, machine and times.

    outputs/evaluate/report.html, which the pipeline writes, has the same results without these.

    Examples:
        lmladder report
        lmladder report outputs -o results.html
    """
    from lmladder import reports
    from lmladder.data import Prepared
    from lmladder.experiments import as_override, settings_of
    from lmladder.pipeline.evaluate import Ladder, report_page
    from lmladder.system.files import atomic_write
    from lmladder.system.progress import track

    require_replaceable(output, force=force)
    require_results(outputs)
    table = reports.read_csv(outputs / "evaluate/perplexity.csv")
    prepared = Prepared.open(outputs / "prepare")
    settings = settings_of(outputs / "evaluate") or {}
    best = settings.get("evaluate.checkpoint") == "best"
    rungs = dict.fromkeys(each.rung for each in reports.models_of(table).values() if each.rung)
    checkpoints = {rung: _checkpoint(outputs / rung, best, prepared) for rung in rungs}
    stages = [*dict.fromkeys(("prepare", *rungs, "evaluate"))]
    overrides = "".join(f"{key}={as_override(value)}\n" for key, value in settings.items())
    facts: dict[str, tuple[Sequence[str], Sequence[Sequence[str]]]] = {
        "Time and memory of each stage": (("Stage", *PERFORMANCE), _performance(outputs, stages)),
        "Machine and versions": (("Name", "Value"), _environment(outputs, stages)),
    }
    page = report_page(
        Ladder.of(checkpoints, prepared),
        table,
        [each for _, each in track("report", figures_of(outputs))],
        reports.read_samples(outputs / "evaluate" / "samples.txt"),
        overrides or "unknown, as there is no dvc.lock",
        over_seeds=[
            reports.seeds_grid(results, [name])
            for name in sorted({each.parent.name for each in results.glob("*/seed*")}, reverse=True)
        ],
        environment=[
            # All columns of the second hold words, only the first of the first.
            reports.Grid(name if rows else f"{name}: unknown", titles, rows, words)
            for words, (name, (titles, rows)) in enumerate(facts.items(), 1)
        ],
    )
    atomic_write(output, page.encode())
    say(f"page: {output}")


def _checkpoint(folder: Path, best: bool, prepared: Prepared) -> Checkpoint:
    """Return the checkpoint that was evaluated; raise InputError if it is of another text."""
    from lmladder.pipeline.rungs import ORACLE
    from lmladder.training.checkpoint import BEST, LATEST, Checkpoint

    if folder == prepared.directory:
        return ORACLE.load(0, prepared)
    path = folder / (BEST if best and (folder / BEST).exists() else LATEST)
    checkpoint = Checkpoint.load(path)
    if checkpoint.data_digest != prepared.digest:
        raise InputError(f"{path} was not trained on {prepared.directory}; run: dvc repro")
    return checkpoint


def _environment(outputs: Path, stages: Sequence[str]) -> list[tuple[str, str]]:
    """Return facts of the machine by dotted name, followed by the stage where stages differ."""
    from lmladder.experiments.jobs import MACHINE, read_facts
    from lmladder.system.settings import dotted

    files = {stage: read_facts(outputs / stage / MACHINE) for stage in stages}
    by_stage = {stage: dotted(each.get("environment", {})) for stage, each in files.items()}
    facts: dict[str, str] = {}
    for name in dict.fromkeys(name for each in by_stage.values() for name in each):
        values = {stage: _shown(each[name]) for stage, each in by_stage.items() if name in each}
        if len(set(values.values())) == 1:
            facts[name] = next(iter(values.values()))
        else:
            facts |= {f"{name} ({stage})": value for stage, value in values.items()}
    return [*facts.items()]


def _performance(outputs: Path, stages: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the stages that recorded their time, with the values of PERFORMANCE."""
    from lmladder import reports

    recorded = {stage: reports.read_performance(outputs / stage) for stage in stages}
    return [
        (stage, *(_number(facts.get(key)) for key in PERFORMANCE.values()))
        for stage, facts in recorded.items()
        if facts
    ]


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else ""


def _shown(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "unknown" if value is None else str(value)
