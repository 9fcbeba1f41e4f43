"""Reliability diagrams: the accuracy of each model over its confidence."""

import math
from collections.abc import Mapping

from lmladder.evaluation import BINS, Reliability
from lmladder.reports.detail import reliabilities
from lmladder.reports.figures.style import GRAY, PALE, short, styled
from lmladder.reports.table import Model

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLUMNS = 4
PANEL = 1.85  # inches per panel, with its title
TITLE = """Calibration: accuracy over confidence
Bars: share of the predictions. ECE: expected calibration error."""
MIN_TOKENS = 10  # of a point; the accuracy of fewer is not meaningful


@styled()
def calibration_panels(
    models: Mapping[str, Model],
    table: pd.DataFrame,
    heading: str = TITLE,
    rate: str = "accuracy",
) -> Figure:
    """Draw the accuracy of the most likely token over its probability, one panel per model.

    On the diagonal a model is calibrated; below it, it is overconfident. Error bars are two
    binomial standard errors. Bars at the bottom are the share of the predictions.

    Parameters
    ----------
    models : of the perplexity table
    table : as of `calibration_table`
    heading : two lines
    rate : what the table has as accuracy
    """
    found = reliabilities(table)
    n_columns, n_rows = min(COLUMNS, len(found)), math.ceil(len(found) / COLUMNS)
    size = (max(0.5 + n_columns * PANEL, 4.5), 0.8 + n_rows * PANEL)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(found) :]:
        axes.remove()
    for index, (axes, (name, each)) in enumerate(zip(grid.flat, found.items(), strict=False)):
        model = models[name]
        _draw(axes, each, model.color, model.marker)
        axes.set_box_aspect(1)
        axes.tick_params(labelbottom=index + n_columns >= len(found))  # no panel below
        axes.set_title(model.label, fontsize=9, fontweight="bold", pad=6)
        error = f"{each.expected_calibration_error:.1%}"
        axes.annotate(f"ECE {error}", (0.05, 0.9), color=GRAY, fontsize=8, xycoords="axes fraction")
    figure.suptitle(heading, x=0.01, ha="left", fontsize=9, linespacing=1.5)
    figure.supxlabel("probability of the most likely token", fontsize=9)
    figure.supylabel(rate, fontsize=9)
    return figure


def _draw(axes: Axes, each: Reliability, color: str, marker: str) -> None:
    share = each.tokens / each.tokens.sum()
    axes.bar(
        (np.arange(BINS) + 0.5) / BINS, share, width=0.8 / BINS, color=PALE, linewidth=0, zorder=0
    )
    axes.plot([0, 1], [0, 1], color=GRAY, linewidth=0.8, zorder=1)
    drawn = each.tokens >= MIN_TOKENS
    accuracy = each.accuracy[drawn]
    error = 2 * np.sqrt(accuracy * (1 - accuracy) / each.tokens[drawn])
    if drawn.any():  # or the layout would make room for a marker at the origin of the figure
        axes.errorbar(
            each.confidence[drawn], accuracy, error,
            color=color, marker=marker, markersize=4, linewidth=1.2, elinewidth=0.8, clip_on=False,
        )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: short(value))
