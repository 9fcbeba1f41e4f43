"""The loss curves of the neural rungs, between the lines that counting and the truth draw.

Every line is named where it ends, so there is no legend to look up.
"""

from collections.abc import Mapping

from lmladder.reports.figures.labels import Line, name_lines
from lmladder.reports.figures.style import (
    DASHED,
    DOTTED,
    GREY,
    number,
    picture,
    scale_losses,
    title,
)
from lmladder.reports.table import INK, Model

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure


@picture
def loss_curves(
    models: Mapping[str, Model],
    histories: Mapping[str, pd.DataFrame],
    baselines: Mapping[str, float],
    *,
    unit: str = "nats per token",
) -> Figure:
    """The losses over the tokens seen in training.

    Parameters
    ----------
    models : of the table
    histories : the history.csv of each trained model
    baselines : nats per token of models on the validation text; drawn are count models and the
        oracle
    unit : of the vertical axis
    """
    figure = Figure(figsize=(8, 4.5))
    axes = figure.add_axes((0.075, 0.125, 0.7, 0.735))
    lines = []
    oracle = [name for name in baselines if models[name].is_oracle]
    for name in (*worth_a_line(models, baselines), *oracle):
        nats, model = baselines[name], models[name]
        color, weight = (INK, "bold") if model.is_oracle else (GREY, "normal")
        width, dashes = (1.1, "-") if model.is_oracle else (0.8, DOTTED)
        axes.axhline(nats, color=color, linewidth=width, linestyle=dashes, zorder=1)
        lines.append(Line(named(model, nats), None, nats, color, weight))
    lines += _draw_histories(axes, models, histories)
    lines = [line for line in lines if 0 <= line.y < np.inf]
    axes.margins(x=0.02)
    axes.set(xscale="log")
    number(axes.xaxis, (1, 2, 5))
    scale_losses(axes, [line.y for line in lines], room=1.06)
    axes.set(xlabel="tokens seen in training", ylabel=unit)
    title(
        axes,
        "Loss on validation sequences (solid) and on training sequences (dashed)",
        "Sequences begin without context. Dotted lines and the oracle: the whole validation text.",
    )
    name_lines(axes, lines)
    return figure


def worth_a_line(models: Mapping[str, Model], losses: Mapping[str, float]) -> list[str]:
    """The count models worth a line: of those that differ in a number, the best only."""
    best: dict[str, str] = {}
    for name in losses:
        if models[name].counted:
            alike = name.rstrip("0123456789")
            rival = best.setdefault(alike, name)
            if losses[name] < losses[rival]:
                best[alike] = name
    return list(best.values())


def _draw_histories(
    axes: Axes, models: Mapping[str, Model], histories: Mapping[str, pd.DataFrame]
) -> list[Line]:
    lines = []
    for name, history in histories.items():
        model = models[name]
        seen = history[history["tokens"] > 0]  # the axis is logarithmic
        if seen.empty:
            continue
        train = seen.dropna(subset="train_loss")
        axes.plot(
            train["tokens"], train["train_loss"],
            color=model.color, linewidth=0.9, linestyle=DASHED, alpha=0.75,
        )  # fmt: skip
        axes.plot(
            seen["tokens"], seen["val_loss"], color=model.color, linewidth=2.0,
            marker=model.marker, markersize=4.5, markevery=(0.0, 0.1),
        )  # fmt: skip
        tokens, nats = float(seen["tokens"].iloc[-1]), float(seen["val_loss"].iloc[-1])
        axes.plot([tokens], [nats], model.marker, color=model.color, markersize=4.5)
        lines.append(Line(named(model, nats), tokens, nats, model.color, "bold"))
    return lines


def named(model: Model, value: float) -> str:
    """A model's label with its number, as they are in a margin."""
    return f"{model.label}\N{EM SPACE}{value:.3f}"
