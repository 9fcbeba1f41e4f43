"""Where the loss of each model is, compared with the true distribution of the text."""

from collections.abc import Mapping

from lmladder.evaluation.truth import KINDS
from lmladder.reports.detail import excess_of
from lmladder.reports.figures.labels import name_lines
from lmladder.reports.figures.loss import best_of_orders
from lmladder.reports.figures.position import draw_curve, scale_octaves
from lmladder.reports.figures.style import (
    GRAY,
    PALE,
    scale_losses,
    styled,
    title,
    wide_figure,
)
from lmladder.reports.table import COLORS, Model, split_name

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

MEANINGS = dict(zip(KINDS, ("one of several is possible", "only one", "named before"), strict=True))
SHADES = dict(zip(KINDS, (PALE, GRAY, COLORS[1]), strict=True))


@styled()
def excess_bars(models: Mapping[str, Model], table: pd.DataFrame) -> Figure:
    """Draw the excess of each model as a bar of the shares of all kinds of tokens.

    Parameters
    ----------
    models : of the perplexity table
    table : as of `excess_table`
    """
    totals, tokens = excess_of(table, "all"), excess_of(table, "all", "tokens")
    names = [name for name in models if name in totals]
    figure = Figure(figsize=(8, 1.5 + 0.3 * len(names)))
    axes = figure.subplots()
    bottom, top = 0.55 / figure.get_figheight(), 1 - 0.45 / figure.get_figheight()
    figure.subplots_adjust(left=0.14, right=0.86, bottom=bottom, top=top)
    height = range(len(names) - 1, -1, -1)  # the worst model is the first
    left = np.zeros(len(names))
    for kind in KINDS:
        found, count = excess_of(table, kind), excess_of(table, kind, "tokens")
        part = [found.get(each, 0) * count.get(each, 0) / tokens[each] for each in names]
        axes.barh(
            height, part, left=left, height=0.7, color=SHADES[kind],
            label=f"{kind}: {MEANINGS[kind]}",
        )  # fmt: skip
        left += part
    for y, name, end, recalled in zip(height, names, left, part, strict=True):
        axes.annotate(
            f"{totals[name]:.3f}, {recalled / max(end, 1e-9):.0%} of it recall", (end, y), (4, 0),
            textcoords="offset points", va="center", fontsize=8, annotation_clip=False,
        )  # fmt: skip
    axes.set_yticks(list(height), [models[name].label for name in names])
    axes.set_xlabel("nats per token above the truth")
    axes.spines["left"].set_visible(False)
    axes.tick_params(left=False)
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    split = split_name(table["split"].iloc[0])
    axes.set_title(f"Where the loss is, on the {split} text")
    return figure


@styled()
def recall_curves(models: Mapping[str, Model], table: pd.DataFrame) -> Figure:
    """Draw the excess at recalled tokens over the distance to the latest mention, by model.

    Parameters
    ----------
    models : of the perplexity table
    table : as of `excess_table`
    """
    figure, axes = wide_figure()
    recalled = table[(table["by"] == "distance") & (table["excess"] > 0)]
    overall = excess_of(table, "recall")
    counted = best_of_orders(models, overall)
    drawn = [name for name in overall if not models[name].counted or name in counted]
    recalled = recalled[recalled["model"].isin(drawn)]
    axes.set(xscale="log")
    scale_losses(axes, recalled["excess"].tolist(), room=1.15)
    lines = []
    for name, rows in recalled.groupby("model"):
        model, error = models[str(name)], rows["standard_error"].fillna(0)
        lines.append(draw_curve(axes, model, rows, rows["excess"], error, overall[str(name)]))
    least, longest = (recalled["first"].min(), recalled["last"].max()) if lines else (1, 2)
    scale_octaves(axes, least, int(longest))
    axes.set(xlabel="tokens back to the latest mention", ylabel="nats per token above the truth")
    title(
        axes,
        "Loss of what is named again, over the distance to its latest mention",
        "Tokens that the story so far determines. Numbers: mean over all distances. Bands: two "
        "standard errors.",
    )
    name_lines(axes, lines)
    return figure
