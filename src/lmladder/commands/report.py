"""`lmladder report`: the page of results anew, with the machine, and with what has changed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmladder import reports
from lmladder.atomic import atomic_write
from lmladder.checkpoint import Checkpoint
from lmladder.commands.plot import pictures_of
from lmladder.comparison import settings_of
from lmladder.comparison.changes import changed_facts, changed_scores, changed_settings
from lmladder.comparison.lines import as_override
from lmladder.config import dotted
from lmladder.errors import InputError
from lmladder.evaluation import read_attention, read_passage
from lmladder.outcome import ENVIRONMENT
from lmladder.reports import Grid
from lmladder.text import Prepared
from lmladder.training import BEST, LATEST

STAGES = ("prepare", "bigram", "mlp", "transformer", "evaluate")
RUNGS = STAGES[1:4]


def write_report(outputs: Path, output: Path, *, against: Path | None) -> None:
    """Write the page of what the stages left in `outputs`.

    Parameters
    ----------
    against : the outputs of an earlier run; of these its tables are enough, as git has them
    """
    table = reports.read_csv(outputs / "evaluate/perplexity.csv")
    prepared = Prepared.open(outputs / "prepare")
    settings = settings_of(outputs / "evaluate")
    checkpoints = _checkpoints(outputs, settings or {}, prepared)
    samples: dict[str, str] = {}
    for rung in RUNGS:
        samples |= reports.read_samples(outputs / rung / "samples.txt")
    environment = read_environment(outputs)
    told = "".join(f"{key}={as_override(value)}\n" for key, value in (settings or {}).items())
    page = reports.render_report(
        title=f"lmladder on {prepared.corpus.name}",
        summary=reports.findings(table),
        table=table,
        figures={
            reports.CAPTIONS[name]: reports.as_svg(figure)
            for name, figure in pictures_of(outputs).items()
        },
        samples=samples,
        passage=read_passage(checkpoints.values(), prepared),
        attention=read_attention(checkpoints.values(), prepared),
        corpus=prepared.corpus,
        config=told or "unknown, as no dvc.lock tells it",
        changes=[] if against is None else _changes(against, outputs, settings, environment),
        environment=[
            _known("Time and memory of each stage", *_performance(outputs)),
            _known("Machine and versions", ("Name", "Value"), [*environment.items()], words=2),
        ],
    )
    atomic_write(output, page.encode())
    print(f"report: {outputs} -> {output}")


def _checkpoints(
    outputs: Path, settings: Mapping[str, Any], prepared: Prepared
) -> dict[str, Checkpoint]:
    """Those that were evaluated, by rung; InputError if one is of another text."""
    best = settings.get("evaluate.checkpoint") == "best"
    checkpoints = {}
    for rung in RUNGS:
        path = outputs / rung / (BEST if best and rung != "bigram" else LATEST)
        checkpoints[rung] = Checkpoint.load(path)
        if checkpoints[rung].data_digest != prepared.digest:
            raise InputError(f"{path} was not trained on {outputs / 'prepare'}; run: dvc repro")
    return checkpoints


def read_environment(outputs: Path) -> dict[str, str]:
    """Facts of the machine, by dotted name; where stages differ, with the stage behind the name."""
    by_stage = {stage: dotted(_json(outputs / stage / ENVIRONMENT)) for stage in STAGES}
    facts: dict[str, str] = {}
    for name in dict.fromkeys(name for each in by_stage.values() for name in each):
        values = {stage: _told(each[name]) for stage, each in by_stage.items() if name in each}
        if len(set(values.values())) == 1:
            facts[name] = next(iter(values.values()))
        else:
            facts |= {f"{name} ({stage})": value for stage, value in values.items()}
    return facts


def _changes(
    before: Path, now: Path, settings: Mapping[str, Any] | None, environment: Mapping[str, str]
) -> list[Grid]:
    theirs = read_environment(before)
    return [
        *changed_scores(before / "evaluate", now / "evaluate"),
        changed_settings(settings_of(before / "evaluate"), settings),
        changed_facts("Machine and versions", theirs, environment)
        if theirs and environment
        else Grid("Machine and versions: those of one run are unknown", (), ()),
    ]


def _known(
    caption: str, titles: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1
) -> Grid:
    return Grid(caption if rows else f"{caption}: unknown", titles, rows, words)


def _performance(outputs: Path) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Titles and rows of the table of times; a stage that left none has none."""
    names = ("seconds", "tokens_per_second", "peak_memory_mb")
    rows = []
    for stage in STAGES:
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
