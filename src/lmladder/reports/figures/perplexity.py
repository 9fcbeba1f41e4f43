"""What a perplexity costs: the finished models against their size, their reading and their time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmladder.reports.figures.labels import Line, Point, name_lines, name_points
from lmladder.reports.figures.style import (
    DOTTED,
    GREY,
    INK,
    look,
    number,
    picture,
    ruled,
    title,
)
from lmladder.reports.table import (
    ORACLE,
    UNIFORM,
    is_count_model,
    is_fitted,
    label,
    significant,
    split_name,
)

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure


@dataclass(frozen=True)
class _Cost:
    """What a model took, and what it reached with it."""

    model: str
    cost: float
    perplexity: float


def perplexity_by_parameters(table: pd.DataFrame, split: str) -> Figure:
    """The perplexity of each model on a split over the numbers it has learnt or counted."""
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
    models = set(table["model"])
    read = {model: float(train_tokens) for model in models if is_count_model(model)}
    curves = {}
    for model, history in histories.items():
        seen = history[history["tokens"] > 0]
        if model in models and not seen.empty:
            read[model] = float(seen["tokens"].iloc[-1])
            curves[model] = seen["tokens"], np.exp(seen["val_nats"])
    return _against(
        read,
        table,
        split,
        cost="tokens read",
        xlabel="tokens read in training; count models read the training text once",
        note="Points: the whole text. Thin curves: validation rows, which begin without a past.",
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
    perplexities = {
        model: value
        for model, value in zip(of_split["model"], of_split["perplexity"], strict=True)
        if 0 < value < np.inf
    }
    figure = Figure(figsize=(8, 4.5))
    axes = figure.add_axes((0.075, 0.125, 0.735, 0.735 if note else 0.765))
    lines = []
    for model, style in ((UNIFORM, DOTTED), (ORACLE, "-")):
        if model in perplexities:
            color, _ = look(model)
            axes.axhline(perplexities[model], color=color, linewidth=1.0, linestyle=style, zorder=1)
            name = f"{label(model)}\N{EM SPACE}{significant(perplexities[model])}"
            lines.append(Line(name, None, perplexities[model], color))
    found = [
        _Cost(model, costs[model], perplexity)
        for model, perplexity in perplexities.items()
        if is_fitted(model) and 0 < costs.get(model, 0) < np.inf
    ]
    _draw_curves(axes, curves or {})
    begins = [float(tokens.iloc[0]) for tokens, _ in (curves or {}).values()]
    _scale(axes, [*begins, *(each.cost for each in found)], list(perplexities.values()))
    axes.set(xlabel=xlabel, ylabel="perplexity")
    title(axes, f"Perplexity on the {split_name(split)} text against {cost}", note)
    name_lines(axes, lines)
    name_points(axes, [_draw_point(axes, each) for each in found])
    return figure


def _draw_curves(axes: Axes, curves: Mapping[str, tuple[pd.Series, pd.Series]]) -> None:
    for model, (tokens, perplexity) in curves.items():
        axes.plot(tokens, perplexity, color=look(model)[0], linewidth=0.8, alpha=0.7)


def _draw_point(axes: Axes, each: _Cost) -> Point:
    color, marker = look(each.model)
    # Hollow, so that two in one place are still two.
    inside = "none" if color == GREY else color
    axes.plot(
        [each.cost], [each.perplexity], marker, color=color, markersize=7, markerfacecolor=inside
    )
    name = f"{label(each.model)}\N{EM SPACE}{significant(each.perplexity)}"
    weight = "normal" if color == GREY else "bold"
    return Point(name, each.cost, each.perplexity, INK if color == GREY else color, weight)


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
