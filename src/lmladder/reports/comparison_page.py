"""What `lmladder compare -o` writes: a comparison of runs as a page or as a figure."""

import os
from pathlib import Path

from lmladder.experiments import METRICS, Comparison
from lmladder.reports.comparison import as_grid, finding
from lmladder.reports.figures.style import as_svg
from lmladder.reports.figures.sweep import Value, sweep_curves
from lmladder.reports.grid import Grid
from lmladder.reports.page import drawings, render
from lmladder.system.errors import InputError
from lmladder.system.files import atomic_write
from lmladder.system.settings import as_override

from matplotlib.figure import Figure


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
