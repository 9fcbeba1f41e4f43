"""The perplexity of the finished models over their size."""

from collections.abc import Mapping

from lmladder.reports.figures.labels import Label, name_lines
from lmladder.reports.figures.style import DOTTED, number, ruled, styled, title, wide_figure
from lmladder.reports.table import Model, by_model, significant, split_name

import numpy as np
import pandas as pd
from matplotlib.figure import Figure


@styled()
def perplexity_by_parameters(models: Mapping[str, Model], table: pd.DataFrame) -> Figure:
    """Draw the perplexity of each model on the last split over its parameters, or n-grams counted.

    The uniform model and the oracle are lines; models without a finite perplexity are left out.
    """
    split = table["split"].iloc[-1]
    sizes = by_model(table, split, "parameters")
    figure, axes = wide_figure()
    axes.set(xscale="log", yscale="log", xlabel="parameters, or n-grams counted")
    axes.set(ylabel="perplexity")
    names, reached = [], {}
    for name, perplexity in by_model(table, split, "perplexity").items():
        model, text = models[name], f"{models[name].label}\N{EM SPACE}{significant(perplexity)}"
        if not 0 < perplexity < np.inf:
            continue
        if not model.trained and not model.counted:
            dashes = "-" if model.is_oracle else DOTTED
            axes.axhline(perplexity, color=model.color, linewidth=1.0, linestyle=dashes, zorder=1)
            names.append(Label(text, None, perplexity, model.color))
        elif 0 < sizes.get(name, 0) < np.inf:
            weight = "bold" if model.trained else "normal"
            names.append(Label(text, sizes[name], perplexity, model.color, weight))
            axes.plot(
                [sizes[name]], [perplexity], model.marker, color=model.color, markersize=7,
                markerfacecolor=model.color if model.trained else "none",  # shows overlaps
            )  # fmt: skip
            reached[name] = perplexity
    axes.margins(0.07)
    number(axes.xaxis, (1, 2, 5))
    number(axes.yaxis, (1, 1.5, 2, 3, 5, 7))
    ruled(axes)
    heading = f"Perplexity on the {split_name(split)} text against parameters"
    title(axes, heading, "Filled markers: trained models. Open markers: count models.")
    name_lines(axes, names)
    pairs = [(a, b) for a in reached for b in reached if sizes[a] > sizes[b]]
    caption = "No larger model has a higher perplexity."
    if worse := [(a, b) for a, b in pairs if reached[a] > reached[b]]:
        pair = max(worse, key=lambda pair: (sizes[pair[0]] / sizes[pair[1]], -reached[pair[1]]))
        one, other = (f"{models[name].label} with {sizes[name]:,.0f}" for name in pair)
        caption = (
            f"Size alone does not decide: {one} parameters has a higher perplexity than {other}."
        )
    figure.set_label(caption)
    return figure
