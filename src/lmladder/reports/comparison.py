"""A comparison of many runs as people and programs read it: `lmladder compare`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lmladder.experiments import METRICS, Comparison, Configuration, as_override
from lmladder.models.registry import label
from lmladder.reports.figures import as_svg, encoded
from lmladder.reports.figures.sweep import Swept, Value, sweep_curves
from lmladder.reports.page import Grid, inlined, render
from lmladder.reports.table import markdown
from lmladder.reports.table import to_csv as table_to_csv
from lmladder.system.errors import InputError
from lmladder.system.files import atomic_write

import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from rich.text import Text


def as_grid(comparison: Comparison) -> Grid:
    """The table for people; what is unknown is empty."""
    of, by = METRICS[comparison.metric].capitalize(), comparison.by
    shows = any(each.shown for each in comparison.configurations)
    words = [*([by] if by else []), "Model", *(["Settings"] if shows else [])]
    rows = []
    for each in comparison.configurations:
        score, distance = f"{each.score:.4f}", ""
        if each.standard_deviation is not None:
            score += f" ± {each.standard_deviation:.4f}"
        if each.difference is not None:
            distance = f"{each.difference:+.4f}"
        if each.low is not None:
            distance += f" [{each.low:+.4f}, {each.high:+.4f}]"
        named = {by: as_override(each.group), "Model": each.model, "Settings": each.shown}
        rank = "" if each.rank is None else str(each.rank)
        rows.append([*map(named.__getitem__, words), rank, str(len(each.runs)), score, distance])
    titles = [*words, "Rank", "Runs", of.partition(" of ")[0], "To the best"]
    return Grid(f"{of}; differences with simultaneous 95% intervals", titles, rows, len(words))


def print_comparison(comparison: Comparison, wanted: str | None = None) -> None:
    """Print in one of `FORMATS`, or for a terminal; notes go to standard error."""
    print(FORMATS[wanted](comparison))
    if comparison.power is not None:
        print(comparison.power["answer"], file=sys.stderr if wanted else sys.stdout)
    for note in comparison.notes:
        print(f"note: {note}", file=sys.stderr)


def to_terminal(comparison: Comparison) -> str:
    """With Rich, in color and folded to the width of a terminal; plain where there is none."""
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 10_000, color_system="auto" if terminal else None)
    shown = as_grid(comparison)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for index, title in enumerate(shown.titles):
        side: Any = "left" if index < shown.words else "right"
        table.add_column(title, justify=side, overflow="fold", no_wrap=title != "Settings")
    previous = comparison.configurations[0].group
    for each, cells in zip(comparison.configurations, shown.rows, strict=True):
        if each.group != previous:
            table.add_row()
        previous = each.group
        table.add_row(*map(Text, cells), style="bold" if each.rank == 1 else "")
    with console.capture() as captured:
        console.print(Text(shown.caption))
        console.print(table)
    return "\n".join(row.rstrip() for row in captured.get().splitlines())


def to_csv(comparison: Comparison) -> str:
    """Six digits after the point; what is unknown is empty."""
    columns = ["model", "shown", "rank", "runs", "score"]
    columns += ["standard_deviation", "difference", "low", "high"]
    table = pd.DataFrame([_fields(each) for each in comparison.configurations])
    table["runs"] = table["seeds"].map(len)
    if comparison.by is not None:
        table["group"] = table["group"].map(as_override)
        columns.insert(0, "group")
    table = table[columns].astype({"rank": "Int64"})
    names = {"group": comparison.by, "shown": "settings", "score": comparison.metric}
    return table_to_csv(table.rename(columns=names)).rstrip("\n")


def to_json(comparison: Comparison) -> str:
    """What all other formats have, and the seeds, folders and settings of each configuration."""
    configurations = [_fields(each) for each in comparison.configurations]
    table = {**vars(comparison), "of": METRICS[comparison.metric], "configurations": configurations}
    return json.dumps(table, indent=2, default=str)


def _fields(each: Configuration) -> dict[str, Any]:
    """All that a program may want to know of a configuration; numbers rounded."""
    values = {"model": each.model, "settings": each.runs[0].settings, **vars(each)}
    del values["runs"]
    for name in ("score", "standard_deviation", "difference", "low", "high"):
        values[name] = None if values[name] is None else round(values[name], 6)
    seeds, folders = [run.seed for run in each.runs], [str(run.path) for run in each.runs]
    return {**values, "seeds": seeds, "folders": folders}


def to_markdown(comparison: Comparison) -> str:
    """One GitHub table under a line that names its numbers."""
    shown = as_grid(comparison)
    table = markdown([shown.titles, *shown.rows], shown.words).rstrip("\n")
    return f"**{shown.caption}**\n\n{table}"


def to_latex(comparison: Comparison) -> str:
    """A tabular for the package booktabs."""
    shown = as_grid(comparison)
    table = pd.DataFrame(shown.rows, columns=list(shown.titles))
    shape = "l" * shown.words + "r" * (len(shown.titles) - shown.words)
    tabular = table.to_latex(index=False, escape=True, column_format=shape).rstrip("\n")
    # A bracket that begins a row would be an argument of the command before it.
    tabular = tabular.replace("\n[", "\n{[}").replace("±", r"$\pm$")
    return f"% {shown.caption}\n{tabular}"


def to_html(comparison: Comparison) -> str:
    """A page that stands alone: the table, every run, and the settings that all share.

    Where configurations are grouped by a setting, there is a figure of their scores over it.
    """
    figures = {}
    if comparison.by is not None:
        caption = f"Scores over {comparison.by}: mean and spread over seeds"
        figures[caption] = as_svg(sweep_figure(comparison))
    shown = as_grid(comparison)
    runs = [
        (each.model, each.shown, str(run.path), "" if run.seed is None else str(run.seed), score)
        for each in comparison.configurations
        for run in each.runs
        for score in [f"{run.scores[comparison.metric]:.4f}"]
    ]
    return render(
        "comparison.html.jinja",
        sorts=True,
        title=f"{len(runs)} run{'s' if len(runs) > 1 else ''} compared",
        summary=shown.caption,
        configurations=shown,
        figures=inlined(figures),
        runs=Grid(
            "Each run, in the order of the configurations",
            ("Model", "Settings", "Folder", "Seed", shown.titles[-2]), runs, words=3,
        ),
        settings=Grid(
            "Settings that are the same in all configurations that have them",
            ("Setting", "Value"), [*comparison.common.items()], words=2,
        ),
        notes=[*([comparison.power["answer"]] if comparison.power else []), *comparison.notes],
    )  # fmt: skip


FORMATS: dict[str | None, Callable[[Comparison], str]] = {
    None: to_terminal,
    "csv": to_csv,
    "markdown": to_markdown,
    "latex": to_latex,
    "json": to_json,
}


def write_figure(comparison: Comparison, path: Path) -> None:
    """Draw a comparison to a file, .svg or .png; InputError as `sweep_figure`."""
    atomic_write(path, encoded(sweep_figure(comparison), path))


def sweep_figure(comparison: Comparison) -> Figure:
    """A curve for all configurations that differ only in the setting of `by`.

    Raises
    ------
    InputError
        If the comparison is by no setting.
    """
    if comparison.by is None:
        raise InputError("a figure of runs needs the setting of its horizontal axis: --by SETTING")
    alike: dict[str, list[Configuration]] = {}
    one_model = len({each.model for each in comparison.configurations}) == 1
    for each in comparison.configurations:  # by the setting, in its order
        name = f"{label(each.model, each.runs[0].kind)} {each.shown}".rstrip()
        alike.setdefault(each.shown or name if one_model else name, []).append(each)
    curves = [
        Swept(
            name,
            [_value(each.group) for each in group],
            [[run.scores[comparison.metric] for run in each.runs] for each in group],
        )
        for name, group in alike.items()
    ]
    score, _, _ = METRICS[comparison.metric].partition(",")
    return sweep_curves(curves, setting=comparison.by, score=score)


def _value(value: Any) -> Value:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number else as_override(value)
