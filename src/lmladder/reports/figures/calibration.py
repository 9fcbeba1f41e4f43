"""Reliability diagrams: the accuracy of each model over its confidence."""

import math
from collections.abc import Mapping

from lmladder.evaluation import BINS, Reliability
from lmladder.reports.figures.loss import best_of_orders
from lmladder.reports.figures.style import GRAY, PALE, WIDTH, short, styled
from lmladder.reports.table import Model

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLUMNS = 3
PANEL = 1.55  # inches of height per panel, with its title
TITLE = """Calibration: accuracy over confidence
Bars: share of the predictions. ECE: expected calibration error"""
MIN_TOKENS = 10  # of a point; the accuracy of fewer is not meaningful


@styled()
def calibration_panels(
    models: Mapping[str, Model],
    found: Mapping[str, Reliability],
    heading: str = TITLE,
    rate: str = "accuracy",
) -> Figure:
    """Draw the accuracy of the most likely token over its probability, one panel per model.

    On the diagonal a model is calibrated; below it, it is overconfident. Error bars are two
    binomial standard errors. Bars at the bottom are the share of the predictions. Of count models
    that differ in their order only the best has a panel.

    Parameters
    ----------
    models : of the perplexity table
    found : the predictions of each model
    heading : two lines
    rate : what their accuracy is called
    """
    drawn = [name for name in models if models[name].trained and name in found]
    counted = best_of_orders(models, {name: -n for n, name in enumerate(models) if name in found})
    panels = [*counted, *drawn]
    n_rows = math.ceil(max(1, len(panels)) / COLUMNS)
    figure = Figure(figsize=(WIDTH, 0.9 + n_rows * PANEL), layout="constrained")
    grid = figure.subplots(n_rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
    for index, axes in enumerate(grid.flat):
        if index >= len(panels):
            axes.remove()
            continue
        model, each = models[panels[index]], found[panels[index]]
        _draw(axes, each, model.color, model.marker)
        axes.set_box_aspect(1)
        axes.tick_params(labelbottom=index + COLUMNS >= len(panels))  # no panel below
        axes.set_title(model.label, fontsize=9, fontweight="bold", pad=6)
        error = f"ECE {each.expected_calibration_error:.1%}"
        axes.text(0.04, 0.96, error, va="top", fontsize=8, color=GRAY)
    figure.suptitle(heading, x=0.012, ha="left", fontsize=9, linespacing=1.5)
    figure.supxlabel("probability of the most likely token", fontsize=9)
    figure.supylabel(rate, fontsize=9)
    judged = drawn or panels  # a model that says the same of every token is calibrated easily
    biases = [f"{models[each].label} is {_bias(found[each])}" for each in judged]
    figure.set_label(f"Judged by {rate}, {'; '.join(biases)}." if biases else "")
    return figure


def _bias(each: Reliability) -> str:
    """Return whether the confidence is too high or too low on average, and by how much."""
    filled = each.tokens > 0
    gap = np.average((each.confidence - each.accuracy)[filled], weights=each.tokens[filled])
    return f"{'over' if gap > 0 else 'under'}confident by {100 * abs(gap):.1f} percentage points"


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
