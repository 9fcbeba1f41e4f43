"""Reliability diagrams: the accuracy of each model over its confidence."""

import math
from collections.abc import Mapping

from lmladder.evaluation import BINS, Reliability
from lmladder.reports.detail import reliabilities
from lmladder.reports.figures.style import GREY, PALE, short, styled
from lmladder.reports.table import Model

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLUMNS = 4
PANEL, GAP, NAME = 1.55, 0.25, 0.4  # inches: size of a panel, space beside it and above it
LEFT, RIGHT, TOP, BOTTOM = 0.75, 0.15, 0.75, 0.65  # inches: margins
MIN_TOKENS = 10  # of a point; the accuracy of fewer is not meaningful


@styled
def calibration_panels(models: Mapping[str, Model], table: pd.DataFrame) -> Figure:
    """Draw the accuracy of the most likely token over its probability, one panel per model.

    On the diagonal a model is calibrated; below it, it is overconfident. Error bars are two
    binomial standard errors. Bars at the bottom are the share of the predictions.

    Parameters
    ----------
    models : of the perplexity table
    table : as of `calibration_table`
    """
    found = reliabilities(table)
    n_columns, n_rows = min(COLUMNS, len(found)), math.ceil(len(found) / COLUMNS)
    width = LEFT + n_columns * PANEL + (n_columns - 1) * GAP + RIGHT
    height = TOP + n_rows * PANEL + (n_rows - 1) * NAME + BOTTOM
    figure = Figure(figsize=(width, height))
    grid = figure.subplots(
        n_rows,
        n_columns,
        sharex=True,
        sharey=True,
        squeeze=False,
        gridspec_kw={
            "left": LEFT / width, "right": 1 - RIGHT / width, "wspace": GAP / PANEL,
            "bottom": BOTTOM / height, "top": 1 - TOP / height, "hspace": NAME / PANEL,
        },
    )  # fmt: skip
    for axes in grid.flat[len(found) :]:
        axes.remove()
    for index, (axes, (name, each)) in enumerate(zip(grid.flat, found.items(), strict=False)):
        model = models[name]
        _draw(axes, each, model.color, model.marker)
        axes.tick_params(labelbottom=index + n_columns >= len(found))  # no panel below
        axes.set_title(model.label, fontsize=9, fontweight="bold", pad=6)
        error = f"{each.expected_calibration_error:.1%}"
        axes.set_title(f"ECE {error}", loc="right", fontsize=8, color=GREY, pad=6)
    left = LEFT / width
    note = "Bars: share of the predictions. ECE: expected calibration error."
    figure.text(left, 1 - 0.25 / height, "Calibration: accuracy over confidence", fontsize=10)
    figure.text(left, 1 - 0.43 / height, note, fontsize=8, color=GREY)
    figure.text(left, 0.2 / height, "probability of the most likely token")
    figure.supylabel("accuracy", x=0.2 / width, fontsize=9)
    return figure


def _draw(axes: Axes, each: Reliability, color: str, marker: str) -> None:
    share = each.tokens / each.tokens.sum()
    axes.bar(
        (np.arange(BINS) + 0.5) / BINS, share, width=0.8 / BINS, color=PALE, linewidth=0, zorder=0
    )
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, zorder=1)
    drawn = each.tokens >= MIN_TOKENS
    accuracy = each.accuracy[drawn]
    error = 2 * np.sqrt(accuracy * (1 - accuracy) / each.tokens[drawn])
    axes.errorbar(
        each.confidence[drawn], accuracy, error,
        color=color, marker=marker, markersize=4, linewidth=1.2, elinewidth=0.8, clip_on=False,
    )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: short(value))
