"""The loss of each model over the length of the context."""

from collections.abc import Mapping

from lmladder.reports.detail import ERROR, position_models
from lmladder.reports.figures.labels import Label, name_lines
from lmladder.reports.figures.loss import best_of_orders, named
from lmladder.reports.figures.style import DASHED, scale_losses, styled, title, wide_figure
from lmladder.reports.findings import contenders
from lmladder.reports.table import Model

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter


@styled()
def position_curves(models: Mapping[str, Model], table: pd.DataFrame) -> Figure:
    """Draw nats per token over the tokens of context of a prediction, as of `position_table`.

    The band around the curve of each trained model is two standard errors on either side: the
    uncertainty from the choice of the text. All curves are of the same text, so features that they
    share are features of the text.
    """
    figure, axes = wide_figure()
    ends = {name: float(table[name].dropna().iloc[-1]) for name in position_models(table)}
    counted = best_of_orders(models, ends)
    drawn = [name for name in ends if not models[name].counted or name in counted]
    losses = table[drawn].to_numpy()
    axes.set(xscale="log")
    scale_losses(axes, losses[np.isfinite(losses)], room=1.15)
    lines = []
    for name in drawn:
        rows = table.dropna(subset=name)
        error = rows[name + ERROR].fillna(0)
        value = float(rows[name].iloc[-1])
        lines.append(draw_curve(axes, models[name], rows, rows[name], error, value))
    scale_octaves(axes, 1, int(table["last"].iloc[-1]))
    axes.set(xlabel="tokens of context", ylabel="nats per token")
    title(
        axes,
        "Loss over the length of the context",
        "Validation sequences that begin without context. Bands: two standard errors over the "
        "sequences.",
    )
    name_lines(axes, lines)
    needed = [
        f"{models[name].label} up to {_plateau(table, name)}" for name in contenders(models, ends)
    ]
    if needed:
        figure.set_label(
            f"More context helps {', '.join(needed)} tokens; beyond, the loss changes by no more "
            "than two standard errors."
        )
    return figure


def _plateau(table: pd.DataFrame, name: str) -> int:
    """Return from which context on a model's loss is within two standard errors of its last."""
    rows = table.dropna(subset=name)
    last, error = rows[name].iloc[-1], rows[name + ERROR].fillna(0)
    near = ((rows[name] - last).abs() <= 2 * np.hypot(error, error.iloc[-1]))[::-1].cummin()
    return int(rows["first"][near].min())


def draw_curve(
    axes: Axes, model: Model, ranges: pd.DataFrame, nats: pd.Series, error: pd.Series, value: float
) -> Label:
    """Draw losses over ranges from `first` to `last`; return the label of the line, with a value.

    That of a trained model has a band of two standard errors on either side.
    """
    # A range is drawn at its middle on a logarithmic scale.
    middle, color = (ranges["first"] * ranges["last"]) ** 0.5, model.color
    if model.trained:
        low, high = nats - 2 * error, nats + 2 * error
        axes.fill_between(middle, low, high, color=color, alpha=0.2, linewidth=0)
        axes.plot(middle, nats, color=color, linewidth=2.0, marker=model.marker, markersize=4.5)
    else:
        axes.plot(middle, nats, color=color, linewidth=0.9, linestyle=DASHED, zorder=1)
    end, weight = (float(middle.iloc[-1]), float(nats.iloc[-1])), model.trained
    return Label(named(model, value), *end, color, "bold" if weight else "normal")


def scale_octaves(axes: Axes, least: float, longest: int) -> None:
    """Scale the x axis from `least` to `longest` and label it with powers of two."""
    axes.set_xlim(0.93 * least, longest)
    axes.xaxis.set_major_locator(FixedLocator([2**k for k in range(longest.bit_length())]))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
