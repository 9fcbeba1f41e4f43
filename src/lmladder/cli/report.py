"""`lmladder report`: the page of results again, with the machine and times."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lmladder import reports
from lmladder.cli.plot import pictures_of
from lmladder.data import Prepared
from lmladder.experiments import as_override, settings_of
from lmladder.experiments.jobs import ENVIRONMENT
from lmladder.pipeline.evaluate import Ladder, report_page
from lmladder.reports import Grid
from lmladder.system.errors import InputError
from lmladder.system.files import atomic_write
from lmladder.system.settings import dotted
from lmladder.training.checkpoint import BEST, LATEST, Checkpoint


def write_report(outputs: Path, output: Path) -> None:
    """Write the page of what the stages left in `outputs`."""
    table = reports.read_csv(outputs / "evaluate/perplexity.csv")
    prepared = Prepared.open(outputs / "prepare")
    settings = settings_of(outputs / "evaluate") or {}
    best = settings.get("evaluate.checkpoint") == "best"
    rungs = dict.fromkeys(each.rung for each in reports.models_of(table).values() if each.rung)
    checkpoints = {rung: _checkpoint(outputs / rung, best, prepared) for rung in rungs}
    environment = read_environment(outputs, rungs)
    told = "".join(f"{key}={as_override(value)}\n" for key, value in settings.items())
    page = report_page(
        Ladder.of(checkpoints, prepared),
        table,
        pictures_of(outputs),
        reports.read_samples(outputs / "evaluate" / "samples.txt"),
        told or "unknown, as there is no dvc.lock",
        environment=[
            _known("Time and memory of each stage", *_performance(outputs, rungs)),
            _known("Machine and versions", ("Name", "Value"), [*environment.items()], words=2),
        ],
    )
    atomic_write(output, page.encode())
    print(f"report: {outputs} -> {output}")


def _checkpoint(folder: Path, best: bool, prepared: Prepared) -> Checkpoint:
    """That which was evaluated; InputError if it is of another text."""
    path = folder / (BEST if best and (folder / BEST).exists() else LATEST)
    checkpoint = Checkpoint.load(path)
    if checkpoint.data_digest != prepared.digest:
        raise InputError(f"{path} was not trained on {prepared.directory}; run: dvc repro")
    return checkpoint


def read_environment(outputs: Path, rungs: Iterable[str]) -> dict[str, str]:
    """Facts of the machine, by dotted name; where stages differ, with the stage behind the name."""
    stages = ("prepare", *rungs, "evaluate")
    by_stage = {stage: dotted(_json(outputs / stage / ENVIRONMENT)) for stage in stages}
    facts: dict[str, str] = {}
    for name in dict.fromkeys(name for each in by_stage.values() for name in each):
        values = {stage: _told(each[name]) for stage, each in by_stage.items() if name in each}
        if len(set(values.values())) == 1:
            facts[name] = next(iter(values.values()))
        else:
            facts |= {f"{name} ({stage})": value for stage, value in values.items()}
    return facts


def _known(
    caption: str, titles: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1
) -> Grid:
    return Grid(caption if rows else f"{caption}: unknown", titles, rows, words)


def _performance(
    outputs: Path, rungs: Iterable[str]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Titles and rows of the table of times; a stage that left none has none."""
    names = ("seconds", "tokens_per_second", "peak_memory_mb")
    rows = []
    for stage in ("prepare", *rungs, "evaluate"):
        facts = reports.read_performance(outputs / stage)
        if facts:
            values = (facts.get(name) for name in names)
            rows.append(
                (stage, *(f"{each:,}" if isinstance(each, int | float) else "" for each in values))
            )
    return ("Stage", "Seconds", "Tokens/second", "Peak memory, MB"), rows


def _json(path: Path) -> dict[str, Any]:
    """The object in a file of facts; nothing where it is missing or damaged."""
    try:
        facts = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _told(value: Any) -> str:
    """A fact as one reads it."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "unknown" if value is None else str(value)
