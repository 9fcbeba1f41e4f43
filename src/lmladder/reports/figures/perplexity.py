"""The perplexity of the finished models over their size, the tokens read and the training time."""

from collections.abc import Mapping, Sequence

from lmladder.reports.figures.labels import Label, name_lines, name_points
from lmladder.reports.figures.style import DOTTED, number, ruled, styled, title, wide_figure
from lmladder.reports.table import INK, by_model, models_of, significant, split_name

import numpy as np
import pandas as pd
from matplotlib.figure import Figure


def perplexity_by_parameters(table: pd.DataFrame, split: str) -> Figure:
    """Draw the perplexity of each model on a split over its parameters, or n-grams counted."""
    parameters = by_model(table, split, "parameters")
    xlabel = "number of parameters; of a count model, number of n-grams"
    return _over(parameters, table, split, cost="parameters", xlabel=xlabel)


def perplexity_by_time(table: pd.DataFrame, split: str, seconds: Mapping[str, float]) -> Figure:
    """Draw the perplexity of each model on a split over the seconds of the stage that made it.

    Seconds depend on the machine and the run: this figure is not a result of the pipeline.
    """
    xlabel = "seconds of the stage on this machine; one stage fits all count models"
    return _over(seconds, table, split, cost="training time", xlabel=xlabel)


def perplexity_by_tokens(
    table: pd.DataFrame,
    split: str,
    histories: Mapping[str, pd.DataFrame],
    train_tokens: int,
) -> Figure:
    """Draw the perplexity of each model on a split over the tokens that it has read in training.

    Parameters
    ----------
    histories : the history.csv of each trained model; its course is drawn too
    train_tokens : number of tokens of the training text, which count models read once
    """
    models = models_of(table)
    read = {name: float(train_tokens) for name, each in models.items() if each.counted}
    curves = {}
    for model, history in histories.items():
        seen = history[history["tokens"] > 0]
        if model in models and not seen.empty:
            read[model] = float(seen["tokens"].iloc[-1])
            curves[model] = seen["tokens"], np.exp(seen["val_loss"])
    return _over(
        read,
        table,
        split,
        cost="tokens read",
        xlabel="tokens read in training; count models read the training text once",
        note="Points: the whole text. Curves: validation sequences, which begin without context.",
        curves=curves,
    )


@styled()
def _over(
    costs: Mapping[str, float],
    table: pd.DataFrame,
    split: str,
    *,
    cost: str,
    xlabel: str,
    note: str = "",
    curves: Mapping[str, tuple[pd.Series, pd.Series]] | None = None,
) -> Figure:
    """Draw each model that has a cost as a point, uniform and oracle as lines, on log scales.

    Models without a finite perplexity are left out.
    """
    models, perplexities = models_of(table), by_model(table, split, "perplexity")
    perplexities = {name: each for name, each in perplexities.items() if 0 < each < np.inf}
    curves = curves or {}
    figure, axes = wide_figure(width=0.735, height=0.735 if note else 0.765)
    for name, (tokens, course) in curves.items():
        axes.plot(tokens, course, color=models[name].color, linewidth=0.8, alpha=0.7)
    lines, points = [], []
    drawn = [float(tokens.iloc[0]) for tokens, _ in curves.values()]  # the extent of the x axis
    for name, perplexity in perplexities.items():
        model, cost_of_model = models[name], costs.get(name, 0)
        text = f"{model.label}\N{EM SPACE}{significant(perplexity)}"
        if not model.trained and not model.counted:
            dashes = "-" if model.is_oracle else DOTTED
            axes.axhline(perplexity, color=model.color, linewidth=1.0, linestyle=dashes, zorder=1)
            lines.append(Label(text, None, perplexity, model.color))
        elif 0 < cost_of_model < np.inf:
            drawn.append(cost_of_model)
            color, weight = (model.color, "bold") if model.trained else (INK, "normal")
            points.append(Label(text, cost_of_model, perplexity, color, weight))
            axes.plot(
                [cost_of_model], [perplexity], model.marker, color=model.color, markersize=7,
                markerfacecolor=model.color if model.trained else "none",  # shows overlaps
            )  # fmt: skip
    axes.set(xscale="log", yscale="log")
    axes.set_xlim(_limits(drawn, 1.4))
    axes.set_ylim(_limits([*perplexities.values()], 1.02))
    number(axes.xaxis, (1, 2, 5))
    number(axes.yaxis, (1, 1.5, 2, 3, 5, 7))
    ruled(axes)
    axes.set(xlabel=xlabel, ylabel="perplexity")
    title(axes, f"Perplexity on the {split_name(split)} text against {cost}", note)
    name_lines(axes, lines)
    name_points(axes, points)
    return figure


def _limits(values: Sequence[float], room: float) -> tuple[float, float] | None:
    """Return the limits of a logarithmic axis, with room on both sides; None without values."""
    if not values:
        return None
    low, high = min(values), max(values)
    room *= (high / low) ** 0.05
    return low / room, high * room
