"""What a longer context is worth to each model."""

from collections.abc import Mapping

from lmladder.reports.detail import ERROR, position_models
from lmladder.reports.figures.labels import Line, name_lines
from lmladder.reports.figures.loss import named, worth_a_line
from lmladder.reports.figures.style import (
    DASHED,
    picture,
    scale_losses,
    title,
)
from lmladder.reports.table import Model

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter


@picture
def position_curves(models: Mapping[str, Model], table: pd.DataFrame) -> Figure:
    """Nats per token over how many tokens of context a prediction had, of `position_table`.

    Around the curve of each neural rung is a band of two standard errors on either side. It tells
    how another text might have come out; as all curves are of the same text, what stands out in
    all of them is the text's.
    """
    figure = Figure(figsize=(8, 4.5))
    axes = figure.add_axes((0.075, 0.125, 0.7, 0.735))
    ends = {name: float(table[name].dropna().iloc[-1]) for name in position_models(table)}
    counted = worth_a_line(models, ends)
    drawn = [name for name in ends if not models[name].counted or name in counted]
    losses = table[drawn].to_numpy()
    axes.set(xscale="log")
    scale_losses(axes, losses[np.isfinite(losses)], room=1.15)
    lines = []
    for name in drawn:
        model, rows = models[name], table.dropna(subset=name)
        # In a range, the context of a token is its middle on a logarithmic scale.
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
        lines.append(Line(named(model, end[1]), *end, color, weight))
    longest = int(table["last"].iloc[-1])
    axes.set_xlim(0.93, longest)
    axes.xaxis.set_major_locator(FixedLocator([2**k for k in range(longest.bit_length())]))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="tokens of context", ylabel="nats per token")
    title(
        axes,
        "What a longer past is worth",
        "Validation rows that begin without a past. Bands: two standard errors over the rows.",
    )
    name_lines(axes, lines)
    return figure
