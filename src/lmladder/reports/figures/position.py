"""The loss of each model over the length of the context."""

from collections.abc import Mapping

from lmladder.reports.detail import ERROR, position_models
from lmladder.reports.figures.labels import Label, name_lines
from lmladder.reports.figures.loss import best_of_orders, named
from lmladder.reports.figures.style import DASHED, scale_losses, styled, title, wide_figure
from lmladder.reports.table import Model

import numpy as np
import pandas as pd
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
        model, rows = models[name], table.dropna(subset=name)
        # The context of a range is its middle on a logarithmic scale.
        context, nats = (rows["first"] * rows["last"]) ** 0.5, rows[name]
        color, end = model.color, (float(context.iloc[-1]), float(nats.iloc[-1]))
        if model.counted:
            axes.plot(context, nats, color=color, linewidth=0.9, linestyle=DASHED, zorder=1)
        else:
            error = 2 * rows[name + ERROR].fillna(0)
            axes.fill_between(
                context, nats - error, nats + error, color=color, alpha=0.2, linewidth=0
            )
            axes.plot(
                context, nats, color=color, linewidth=2.0, marker=model.marker, markersize=4.5
            )
        weight = "normal" if model.counted else "bold"
        lines.append(Label(named(model, end[1]), *end, color, weight))
    longest = int(table["last"].iloc[-1])
    axes.set_xlim(0.93, longest)
    axes.xaxis.set_major_locator(FixedLocator([2**k for k in range(longest.bit_length())]))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="tokens of context", ylabel="nats per token")
    title(
        axes,
        "Loss over the length of the context",
        "Validation sequences that begin without context. Bands: two standard errors over the "
        "sequences.",
    )
    name_lines(axes, lines)
    return figure
