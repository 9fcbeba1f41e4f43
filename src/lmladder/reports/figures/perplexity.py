"""What a perplexity costs: the finished models against their size, their reading and their time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmladder.reports.figures.labels import Line, Point, name_lines, name_points
from lmladder.reports.figures.style import (
    DOTTED,
    number,
    picture,
    ruled,
    title,
)
from lmladder.reports.table import INK, Model, models_of, significant, split_name

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure


@dataclass(frozen=True)
class _Cost:
    """What a model took, and what it reached with it."""

    model: Model
    cost: float
    perplexity: float


def perplexity_by_parameters(table: pd.DataFrame, split: str) -> Figure:
    """The perplexity of each model on a split over its parameters, or n-grams counted."""
    rows = table[(table["split"] == split) & (table["parameters"].fillna(0) > 0)]
    parameters = dict(zip(rows["model"], map(float, rows["parameters"]), strict=True))
    return _against(
        parameters,
        table,
        split,
        cost="parameters",
        xlabel="parameters: numbers learnt, or n-grams counted",
    )


def perplexity_by_time(table: pd.DataFrame, split: str, seconds: Mapping[str, float]) -> Figure:
    """The perplexity of each model on a split over the seconds of the stage that made it.

    Seconds are a fact of one machine and one run: this picture is no result of the pipeline.
    """
    return _against(
        seconds,
        table,
        split,
        cost="training time",
        xlabel="seconds of the stage on this machine; one stage counts for all count models",
    )


def perplexity_by_tokens(
    table: pd.DataFrame,
    split: str,
    histories: Mapping[str, pd.DataFrame],
    train_tokens: int,
) -> Figure:
    """The perplexity of each model on a split over the tokens it has read in training.

    Parameters
    ----------
    histories : the history.csv of each neural rung; how it came there is drawn too
    train_tokens : of the training text, which count models read once
    """
    models = models_of(table)
    read = {name: float(train_tokens) for name, each in models.items() if each.counted}
    curves = {}
    for model, history in histories.items():
        seen = history[history["tokens"] > 0]
        if model in models and not seen.empty:
            read[model] = float(seen["tokens"].iloc[-1])
            curves[model] = seen["tokens"], np.exp(seen["val_loss"])
    return _against(
        read,
        table,
        split,
        cost="tokens read",
        xlabel="tokens read in training; count models read the training text once",
        note="Points: the whole text. Curves: validation sequences, which begin without context.",
        curves=curves,
    )


@picture
def _against(
    costs: Mapping[str, float],
    table: pd.DataFrame,
    split: str,
    *,
    cost: str,
    xlabel: str,
    note: str = "",
    curves: Mapping[str, tuple[pd.Series, pd.Series]] | None = None,
) -> Figure:
    """Each model that has a cost as a point, uniform and oracle as lines; both scales logarithmic.

    Models without a finite perplexity are left out.
    """
    of_split = table[table["split"] == split]
    models = models_of(table)
    perplexities = {
        model: value
        for model, value in zip(of_split["model"], of_split["perplexity"], strict=True)
        if 0 < value < np.inf
    }
    figure = Figure(figsize=(8, 4.5))
    axes = figure.add_axes((0.075, 0.125, 0.735, 0.735 if note else 0.765))
    lines = []
    found = []
    for name, perplexity in perplexities.items():
        model = models[name]
        if model.trained or model.counted:
            if 0 < costs.get(name, 0) < np.inf:
                found.append(_Cost(model, costs[name], perplexity))
        else:
            dashes = "-" if model.is_oracle else DOTTED
            axes.axhline(perplexity, color=model.color, linewidth=1.0, linestyle=dashes, zorder=1)
            text = f"{model.label}\N{EM SPACE}{significant(perplexity)}"
            lines.append(Line(text, None, perplexity, model.color))
    for name, (tokens, perplexity_then) in (curves or {}).items():
        axes.plot(tokens, perplexity_then, color=models[name].color, linewidth=0.8, alpha=0.7)
    begins = [float(tokens.iloc[0]) for tokens, _ in (curves or {}).values()]
    _scale(axes, [*begins, *(each.cost for each in found)], list(perplexities.values()))
    axes.set(xlabel=xlabel, ylabel="perplexity")
    title(axes, f"Perplexity on the {split_name(split)} text against {cost}", note)
    name_lines(axes, lines)
    name_points(axes, [_draw_point(axes, each) for each in found])
    return figure


def _draw_point(axes: Axes, each: _Cost) -> Point:
    model, color = each.model, each.model.color
    axes.plot(
        [each.cost], [each.perplexity], model.marker, color=color, markersize=7,
        markerfacecolor=color if model.trained else "none",  # so that two at one place are seen
    )  # fmt: skip
    name = f"{model.label}\N{EM SPACE}{significant(each.perplexity)}"
    weight = "bold" if model.trained else "normal"
    return Point(name, each.cost, each.perplexity, color if model.trained else INK, weight)


def _scale(axes: Axes, costs: Sequence[float], perplexities: Sequence[float]) -> None:
    axes.set(xscale="log", yscale="log")
    if costs:
        room = (max(costs) / min(costs)) ** 0.05 * 1.4
        axes.set_xlim(min(costs) / room, max(costs) * room)
    if perplexities:
        room = (max(perplexities) / min(perplexities)) ** 0.05 * 1.02
        axes.set_ylim(min(perplexities) / room, max(perplexities) * room)
    number(axes.xaxis, (1, 2, 5))
    number(axes.yaxis, (1, 1.5, 2, 3, 5, 7))
    ruled(axes)
