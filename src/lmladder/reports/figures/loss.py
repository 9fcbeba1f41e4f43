"""Losses during training, with those of count models and the oracle as horizontal lines."""

from collections.abc import Mapping

from lmladder.reports.figures.labels import Label, name_lines
from lmladder.reports.figures.style import (
    DASHED,
    DOTTED,
    number,
    scale_losses,
    styled,
    title,
    wide_figure,
)
from lmladder.reports.table import Model

import numpy as np
import pandas as pd
from matplotlib.figure import Figure


@styled()
def loss_curves(
    models: Mapping[str, Model],
    histories: Mapping[str, pd.DataFrame],
    baselines: Mapping[str, float],
) -> Figure:
    """Draw the losses over the tokens read in training; each line is named at its end.

    Parameters
    ----------
    models : of the table
    histories : that of each model that is trained by steps, as in history.csv
    baselines : nats per token of models on the validation text; count models and the oracle are
        drawn
    """
    figure, axes = wide_figure()
    lines, gaps, crossed = [], [], []
    counted = sorted(best_of_orders(models, baselines), key=baselines.__getitem__)
    best = baselines[counted[0]] if counted else 0.0
    oracle = [name for name in baselines if models[name].is_oracle]
    for name in (*counted, *oracle):
        loss, model = baselines[name], models[name]
        width, dashes, weight = (1.1, "-", "bold") if model.is_oracle else (0.8, DOTTED, "normal")
        axes.axhline(loss, color=model.color, linewidth=width, linestyle=dashes, zorder=1)
        lines.append(Label(named(model, loss), None, loss, model.color, weight))
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
        tokens, loss = float(seen["tokens"].iloc[-1]), float(seen["val_loss"].iloc[-1])
        axes.plot([tokens], [loss], model.marker, color=model.color, markersize=4.5)
        lines.append(Label(named(model, loss), tokens, loss, model.color, "bold"))
        gaps += [f"{model.label} {loss - each:+.3f}" for each in train["train_loss"].iloc[-1:]]
        below = seen.loc[seen["val_loss"] < best, "tokens"]
        when = f"after {min(below):,.0f} tokens" if len(below) else "never"
        crossed.append(f"{model.label} {when}")
    lines = [line for line in lines if 0 <= line.y < np.inf]
    axes.margins(x=0.02)
    axes.set(xscale="log")
    number(axes.xaxis, (1, 2, 5))
    scale_losses(axes, [line.y for line in lines], room=1.06)
    axes.set(xlabel="tokens read in training", ylabel="nats per token")
    title(
        axes,
        "Loss on validation sequences (solid) and on training sequences (dashed)",
        "Sequences begin without context. Dotted lines and the oracle: the whole validation text.",
    )
    name_lines(axes, lines)
    caption = f"Validation minus training loss at the end: {', '.join(gaps)}." if gaps else ""
    if crossed and counted:
        rival = f"{models[counted[0]].label}, the best count model ({best:.3f})"
        caption = f"Below {rival}: {', '.join(crossed)}. {caption}"
    figure.set_label(caption)
    return figure


def best_of_orders(models: Mapping[str, Model], losses: Mapping[str, float]) -> list[str]:
    """Return the count models to draw: of those that differ in their order only the best."""
    best: dict[str, str] = {}
    for name in sorted((each for each in losses if models[each].counted), key=losses.__getitem__):
        best.setdefault(name.rstrip("0123456789"), name)
    return [name for name in losses if name in best.values()]


def named(model: Model, value: float) -> str:
    """Return a model's label with its value, for a margin."""
    return f"{model.label}\N{EM SPACE}{value:.3f}"
