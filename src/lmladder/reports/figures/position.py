"""What a longer past is worth to each model."""

from lmladder.reports.detail import ERROR, position_models
from lmladder.reports.figures.labels import Line, name_lines
from lmladder.reports.figures.loss import named, worth_a_line
from lmladder.reports.figures.style import (
    DASHED,
    GREY,
    look,
    number,
    picture,
    ruled,
    title,
)
from lmladder.reports.table import is_count_model

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter


@picture
def position_curves(table: pd.DataFrame) -> Figure:
    """Nats per token over how many tokens of context a prediction had, of `position_table`.

    Around the curve of each neural rung is a band of two standard errors on either side. It tells
    how another text might have come out; as all curves are of the same text, what stands out in
    all of them is the text's.
    """
    figure = Figure(figsize=(8, 4.5))
    axes = figure.add_axes((0.075, 0.125, 0.7, 0.735))
    models = position_models(table)
    ends = {model: float(table[model].dropna().iloc[-1]) for model in models}
    drawn = [each for each in models if not is_count_model(each) or each in worth_a_line(ends)]
    surprised = table[drawn].to_numpy()
    surprised = surprised[surprised > 0]  # the axis is logarithmic
    low, high = (surprised.min(), surprised.max()) if surprised.size else (0.1, 1)
    axes.set(xscale="log", yscale="log", ylim=(low / 1.15, high * 1.08))
    lines = []
    for place, model in enumerate(drawn):
        rows = table.dropna(subset=model)
        # In a range, the past of a token is as long as its middle on a logarithmic scale.
        context, nats = (rows["first"] * rows["last"]) ** 0.5, rows[model]
        color, marker = look(model, place)
        if is_count_model(model):
            axes.plot(context, nats, color=GREY, linewidth=0.9, linestyle=DASHED, zorder=1)
        else:
            error = 2 * rows[model + ERROR].fillna(0)
            axes.fill_between(
                context, nats - error, nats + error, color=color, alpha=0.2, linewidth=0
            )
            axes.plot(context, nats, color=color, linewidth=2.0, marker=marker, markersize=4.5)
        end = float(context.iloc[-1]), float(nats.iloc[-1])
        weight = "normal" if is_count_model(model) else "bold"
        lines.append(Line(named(model, end[1]), *end, color, weight))
    longest = int(table["last"].iloc[-1])
    axes.set_xlim(0.93, longest)
    axes.xaxis.set_major_locator(FixedLocator([2**k for k in range(longest.bit_length())]))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    number(axes.yaxis, (1, 1.5, 2, 3, 4, 5, 6, 7, 8))
    axes.set(xlabel="tokens of context", ylabel="nats per token")
    title(
        axes,
        "What a longer past is worth",
        "Validation rows that begin without a past. Bands: two standard errors over the rows.",
    )
    ruled(axes)
    name_lines(axes, [line for line in lines if line.y > 0])
    return figure
