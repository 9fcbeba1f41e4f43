"""The loss curves of the neural rungs, between the lines that counting and the truth draw.

Every line is named where it ends, so there is no legend to look up.
"""

from collections.abc import Mapping, Sequence

from lmladder.reports.figures.labels import Line, name_lines
from lmladder.reports.figures.style import (
    DASHED,
    DOTTED,
    GREY,
    INK,
    look,
    number,
    picture,
    ruled,
    title,
)
from lmladder.reports.table import ORACLE, is_count_model, label

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure


@picture
def loss_curves(
    histories: Mapping[str, pd.DataFrame],
    baselines: Mapping[str, float],
    *,
    oracle: float | None,
    unit: str = "nats per token",
) -> Figure:
    """The losses over the tokens seen in training.

    Parameters
    ----------
    histories : the history.csv of each neural rung
    baselines : nats of any models on the validation text; drawn are unigram, bigram, trigram and
        the best Kneser-Ney
    oracle : nats of the true distribution, where it is known
    unit : of the vertical axis
    """
    figure = Figure(figsize=(8, 4.5))
    axes = figure.add_axes((0.075, 0.125, 0.7, 0.735))
    lines = _draw_baselines(axes, worth_a_line(baselines))
    if oracle is not None:
        axes.axhline(oracle, color=INK, linewidth=1.1, zorder=1)
        lines.append(Line(named(ORACLE, oracle), None, oracle, INK, "bold"))
    lines += _draw_histories(axes, histories)
    lines = [line for line in lines if 0 < line.y < np.inf]
    _scale(axes, [line.y for line in lines])
    axes.set(xlabel="tokens seen in training", ylabel=unit)
    title(
        axes,
        "Loss on validation rows (solid) and on training rows (dashed)",
        "Rows begin without a past. Dotted lines and the oracle: the whole validation text.",
    )
    name_lines(axes, lines)
    return figure


def worth_a_line(baselines: Mapping[str, float]) -> dict[str, float]:
    """The count models worth a line: of several Kneser-Ney orders the best only."""
    counted = {model: nats for model, nats in baselines.items() if is_count_model(model)}
    smoothed = [model for model in counted if model.startswith("kneser_ney_")]
    beaten = set(smoothed) - {min(smoothed, key=counted.__getitem__, default=None)}
    return {model: nats for model, nats in counted.items() if model not in beaten}


def _draw_baselines(axes: Axes, baselines: Mapping[str, float]) -> list[Line]:
    for nats in baselines.values():
        axes.axhline(nats, color=GREY, linewidth=0.8, linestyle=DOTTED, zorder=1)
    return [Line(named(model, nats), None, nats, GREY) for model, nats in baselines.items()]


def _draw_histories(axes: Axes, histories: Mapping[str, pd.DataFrame]) -> list[Line]:
    lines = []
    for place, (model, history) in enumerate(histories.items()):
        color, marker = look(model, place)
        seen = history[history["tokens"] > 0]  # the axis is logarithmic
        if seen.empty:
            continue
        train = seen.dropna(subset="train_nats")
        axes.plot(
            train["tokens"], train["train_nats"],
            color=color, linewidth=0.9, linestyle=DASHED, alpha=0.75,
        )  # fmt: skip
        axes.plot(
            seen["tokens"], seen["val_nats"],
            color=color, linewidth=2.0, marker=marker, markersize=4.5, markevery=(0.0, 0.1),
        )  # fmt: skip
        tokens, nats = float(seen["tokens"].iloc[-1]), float(seen["val_nats"].iloc[-1])
        axes.plot([tokens], [nats], marker, color=color, markersize=4.5)
        lines.append(Line(named(model, nats), tokens, nats, color, "bold"))
    return lines


def named(model: str, value: float) -> str:
    """A model's name with its number, as they stand in a margin."""
    return f"{label(model)}\N{EM SPACE}{value:.3f}"


def _scale(axes: Axes, ends: Sequence[float]) -> None:
    """Logarithmic, and so high as the lines end: a curve may come in from above."""
    axes.set(xscale="log", yscale="log")
    axes.margins(x=0.02)
    if ends:
        axes.set_ylim(min(ends) / 1.06, max(ends) * 1.08)
    number(axes.xaxis, (1, 2, 5))
    number(axes.yaxis, (1, 1.5, 2, 3, 4, 5, 6, 7, 8))
    ruled(axes)
