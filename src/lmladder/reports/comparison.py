"""The output of `lmladder compare`: a comparison of runs as a table, a figure, a page or JSON."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lmladder.experiments import METRICS, Comparison, Configuration
from lmladder.reports.figures.style import as_svg
from lmladder.reports.figures.sweep import Value, sweep_curves
from lmladder.reports.page import drawings, render
from lmladder.reports.table import Grid
from lmladder.reports.table import to_csv as table_to_csv
from lmladder.reports.terminal import as_text
from lmladder.system.errors import InputError, printable
from lmladder.system.files import atomic_write
from lmladder.system.messages import say
from lmladder.system.settings import as_override

import pandas as pd
from matplotlib.figure import Figure

MAX_NAMED = 5  # configurations in a sentence
MEASURED = ("score", "standard_deviation", "difference", "low", "high", "p")


def as_grid(comparison: Comparison) -> Grid:
    """Return the table for people; unknown values are empty."""
    metric, by = METRICS[comparison.metric].capitalize(), comparison.by or ""
    table = pd.DataFrame(
        {
            by: as_override(each.group),
            "Model": each.model,
            "Settings": each.shown,
            "Rank": _text("{}", each.rank),
            "p": _text("{:.4f}", each.p),
            "Runs": str(len(each.runs)),
            metric.partition(" of ")[0]: _text("{:.4f}", each.score)
            + _text(" ± {:.4f}", each.standard_deviation),
            f"To {comparison.against or 'the best'}": _text("{:+.4f}", each.difference)
            + _text(" [{:+.4f}, {:+.4f}]", each.low, each.high),
        }
        for each in comparison.configurations
    )
    empty = [title for title in ("Settings", "Rank", "p") if not (table[title] != "").any()]
    table = table.drop(columns=empty if by else ["", *empty])
    caption = f"{metric}; differences with simultaneous 95% intervals"
    words = sum(title in (by, "Model", "Settings") for title in table)
    return Grid(caption, [*table], table.to_numpy().tolist(), words)


def _text(form: str, *values: float | None) -> str:
    """Format values; an empty string if they are unknown."""
    return "" if None in values else form.format(*values)


def finding(comparison: Comparison) -> str:
    """Return a sentence on the lowest score, and what the intervals show of the others."""
    lowest, *others = sorted(comparison.configurations, key=lambda each: each.score)
    judged = [each for each in others if each.low is not None]
    ranked = any(each.rank for each in others)
    if comparison.against is not None:
        lower = [each for each in (lowest, *others) if each.high is not None and each.high < 0]
        end = f"; significantly lower than {comparison.against}: {_names(lower, comparison)}"
    elif lowest.rank == 1:
        end = "; all others are significantly higher"
    elif not judged or (not ranked and any((each.low or 0) > 0 for each in judged)):
        end = "; whether the others are higher by chance cannot be judged" if others else ""
    else:
        equal = [each for each in others if each.rank is None]
        end = f", but these may be as low: {_names(equal, comparison)}"
    metric = METRICS[comparison.metric].partition(",")[0]
    return f"{_names([lowest], comparison)} has the lowest score, {lowest.score:.4f} {metric}{end}."


def _names(several: Sequence[Configuration], comparison: Comparison) -> str:
    """Return the names of configurations in a sentence."""
    if len(several) > MAX_NAMED:
        return f"{len(several)} configurations"
    names = [f"{each.model} {each.shown}".rstrip() for each in several]
    if comparison.by:
        pairs = zip(names, several, strict=True)
        names = [f"{name} {comparison.by}={as_override(each.group)}" for name, each in pairs]
    return ", ".join(names) or "none"


def print_comparison(comparison: Comparison, wanted: str = "text") -> None:
    """Print in one of `FORMATS`, by default for a terminal; notes go to standard error."""
    print(FORMATS[wanted](comparison))
    for note in comparison.notes:
        say(f"note: {note}")


def to_csv(comparison: Comparison) -> str:
    """Return the fields of `to_json`; each setting is a column, unknown values are empty."""
    table = pd.json_normalize([_fields(each) for each in comparison.configurations])
    table = table.map(lambda value: printable(value) if isinstance(value, str) else value)
    return table_to_csv(table.astype({"rank": "Int64"})).rstrip("\n")


def to_json(comparison: Comparison) -> str:
    """Return all that the other formats contain, and seeds, folders and settings."""
    configurations = [_fields(each) for each in comparison.configurations]
    table = {**vars(comparison), "of": METRICS[comparison.metric], "configurations": configurations}
    return json.dumps(table, indent=2, default=str)


def _fields(each: Configuration) -> dict[str, Any]:
    """Return a configuration for programs, with rounded values."""
    values = {"model": each.model, "settings": each.runs[0].settings, **vars(each)}
    del values["runs"], values["names"]
    for name in MEASURED:
        values[name] = None if values[name] is None else round(values[name], 6)
    seeds, folders = [run.seed for run in each.runs], [str(run.path) for run in each.runs]
    return {**values, "seeds": seeds, "folders": folders}


def to_html(comparison: Comparison) -> str:
    """Return a self-contained page: the table, every run, and the settings that all share.

    Where configurations are grouped by a setting, it has a figure of their scores over the setting.
    """
    grid = as_grid(comparison)
    found = [(each, run) for each in comparison.configurations for run in each.runs]
    folders = [run.path.parent.parts for _, run in found]
    common = os.path.commonprefix(folders)  # noqa: RUF071 (of parts, not of characters)
    runs = [
        (each.model, each.shown, str(Path(*run.path.parts[len(common) :])), str(run.seed), score)
        for each, run in found
        for score in [f"{run.scores[comparison.metric]:.4f}"]
    ]
    return render(
        "comparison.html.jinja",
        script="page.js",
        title=f"Comparison of {len(runs)} run{'s' if len(runs) > 1 else ''}",
        summary=finding(comparison),
        configurations=grid,
        against=comparison.against,
        figures=drawings([sweep_figure(comparison)] if comparison.by else []),
        runs=Grid(
            f"Each run, in the order of the configurations; the folders are in {Path(*common)}",
            ("Model", "Settings", "Folder", "Seed", grid.titles[-2]), runs, words=3,
        ),
        settings=Grid(
            "Settings that are the same in all configurations that have them",
            ("Setting", "Value"), [*comparison.common.items()], words=2,
        ),
        notes=comparison.notes,
    )  # fmt: skip


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "text": lambda comparison: as_text(as_grid(comparison), ["Settings"]),
    "csv": to_csv,
    "markdown": lambda comparison: as_grid(comparison).to_markdown().rstrip("\n"),
    "json": to_json,
}


def write(comparison: Comparison, path: Path) -> None:
    """Write a page, .html, or a figure, .svg; InputError as `sweep_figure`."""
    page = path.suffix == ".html"
    text = to_html(comparison) if page else as_svg(sweep_figure(comparison))
    atomic_write(path, text.encode())


def sweep_figure(comparison: Comparison) -> Figure:
    """Draw a curve for each set of configurations that differ only in the setting of `by`.

    Raises
    ------
    InputError
        If the comparison is not grouped by a setting.
    """
    if comparison.by is None:
        raise InputError("a figure of runs requires the setting of its x axis: --by SETTING")
    curves: dict[str, dict[Value, list[float]]] = {}
    one_model = len({each.model for each in comparison.configurations}) == 1
    for each in comparison.configurations:  # ordered by the setting
        name = each.shown if one_model and each.shown else f"{each.model} {each.shown}".rstrip()
        value = each.group if type(each.group) in (int, float) else as_override(each.group)
        scores = [run.scores[comparison.metric] for run in each.runs]
        curves.setdefault(name, {})[value] = scores
    score = METRICS[comparison.metric].partition(",")[0]
    return sweep_curves(curves, setting=comparison.by, score=score, caption=finding(comparison))
