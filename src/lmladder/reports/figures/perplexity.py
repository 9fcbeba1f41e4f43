"""The perplexity of the finished models over their size and their training time."""

from collections.abc import Mapping

from lmladder.reports.figures.labels import Label, name_lines
from lmladder.reports.figures.style import DOTTED, number, ruled, styled, title, wide_figure
from lmladder.reports.findings import lowest
from lmladder.reports.table import by_model, models_of, significant, split_name

import numpy as np
import pandas as pd
from matplotlib.figure import Figure


def perplexity_by_parameters(table: pd.DataFrame, split: str) -> Figure:
    """Draw the perplexity of each model on a split over its parameters, or n-grams counted."""
    parameters = by_model(table, split, "parameters")
    xlabel = "parameters, or n-grams counted"
    return _over(parameters, table, split, "parameters", xlabel, "parameters")


def perplexity_by_time(table: pd.DataFrame, split: str, seconds: Mapping[str, float]) -> Figure:
    """Draw the perplexity of each model on a split over the seconds of the stage that made it.

    Seconds depend on the machine and the run: this figure is not a result of the pipeline.
    """
    xlabel = "seconds of the stage, of which one fits all count models"
    return _over(seconds, table, split, "training time", xlabel, "s")


@styled()
def _over(
    costs: Mapping[str, float], table: pd.DataFrame, split: str, cost: str, xlabel: str, unit: str
) -> Figure:
    """Draw each model that has a cost as a point, uniform and oracle as lines, on log scales.

    Models without a finite perplexity are left out.
    """
    models, perplexities = models_of(table), by_model(table, split, "perplexity")
    figure, axes = wide_figure()
    axes.set(xscale="log", yscale="log", xlabel=xlabel, ylabel="perplexity")
    names, reached = [], {}
    for name, perplexity in perplexities.items():
        model, text = models[name], f"{models[name].label}\N{EM SPACE}{significant(perplexity)}"
        if not 0 < perplexity < np.inf:
            continue
        if not model.trained and not model.counted:
            dashes = "-" if model.is_oracle else DOTTED
            axes.axhline(perplexity, color=model.color, linewidth=1.0, linestyle=dashes, zorder=1)
            names.append(Label(text, None, perplexity, model.color))
        elif 0 < costs.get(name, 0) < np.inf:
            weight = "bold" if model.trained else "normal"
            names.append(Label(text, costs[name], perplexity, model.color, weight))
            axes.plot(
                [costs[name]], [perplexity], model.marker, color=model.color, markersize=7,
                markerfacecolor=model.color if model.trained else "none",  # shows overlaps
            )  # fmt: skip
            reached[f"{model.label} ({costs[name]:,.0f} {unit})"] = perplexity
    axes.margins(0.07)
    number(axes.xaxis, (1, 2, 5))
    number(axes.yaxis, (1, 1.5, 2, 3, 5, 7))
    ruled(axes)
    heading = f"Perplexity on the {split_name(split)} text against {cost}"
    title(axes, heading, "Filled markers: trained models. Open markers: count models.")
    name_lines(axes, names)
    figure.set_label(lowest(f"perplexity on the {split_name(split)} text", reached, significant))
    return figure
