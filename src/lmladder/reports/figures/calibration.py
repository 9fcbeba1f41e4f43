"""Whether the models are as sure as they are right: a reliability diagram for each."""

import math

from lmladder.reports.detail import reliabilities
from lmladder.reports.figures.style import GREY, PALE, look, picture, short
from lmladder.reports.table import label
from lmladder.scoring import BINS, Reliability

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

COLUMNS = 4
LEAST_TOKENS = 10  # of a point; of fewer, accuracy tells nothing


@picture
def calibration_panels(table: pd.DataFrame) -> Figure:
    """How often the likeliest token came, over how probable the model said it was.

    On the diagonal a model is as right as it is sure; below it, it is too sure. Error bars are two
    binomial standard errors, bars at the foot the share of the predictions.

    Parameters
    ----------
    table : of `calibration_table`
    """
    found = reliabilities(table)
    n_rows = math.ceil(len(found) / COLUMNS)
    layout = ConstrainedLayoutEngine(compress=True, h_pad=0.08)
    figure = Figure(figsize=(8, 1.1 + 1.8 * n_rows), layout=layout)
    n_columns = min(COLUMNS, len(found))
    grid = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(found) :]:
        axes.remove()
    for place, (axes, (model, each)) in enumerate(zip(grid.flat, found.items(), strict=False)):
        _draw(axes, each, *look(model, place))
        axes.set_title(label(model), fontsize=9, fontweight="bold", pad=6)
        error = f"{each.expected_calibration_error:.1%}"
        axes.set_title(f"ECE {error}", loc="right", fontsize=8, color=GREY, pad=6)
    figure.suptitle("Are the models as sure as they are right?", x=0.01, ha="left", fontsize=10)
    figure.supxlabel(
        "probability of the likeliest token; bars: share of the predictions", fontsize=9
    )
    figure.supylabel("how often it came", fontsize=9)
    return figure


def _draw(axes: Axes, each: Reliability, color: str, marker: str) -> None:
    share = each.tokens / each.tokens.sum()
    axes.bar(
        (np.arange(BINS) + 0.5) / BINS, share, width=0.8 / BINS, color=PALE, linewidth=0, zorder=0
    )
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, zorder=1)
    there = each.tokens >= LEAST_TOKENS
    accuracy = each.accuracy[there]
    error = 2 * np.sqrt(accuracy * (1 - accuracy) / each.tokens[there])
    axes.errorbar(
        each.confidence[there], accuracy, error,
        color=color, marker=marker, markersize=4, linewidth=1.2, elinewidth=0.8, clip_on=False,
    )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: short(value))
