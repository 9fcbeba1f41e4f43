"""Where the loss of each model is, compared with the true distribution of the text."""

from collections.abc import Mapping

from lmladder.evaluation.truth import KINDS
from lmladder.reports.detail import excess_of
from lmladder.reports.figures.labels import name_lines
from lmladder.reports.figures.position import draw_curve, scale_octaves
from lmladder.reports.figures.style import GRAY, WIDTH, scale_losses, styled, title, wide_figure
from lmladder.reports.findings import contenders
from lmladder.reports.table import Model

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

MEANINGS = ("one of several is possible", "only one is possible", "only one, and named before")
SHADES = (0.25, 0.5, 1.0)  # opacity of each of `KINDS`


@styled()
def excess_bars(models: Mapping[str, Model], table: pd.DataFrame) -> Figure:
    """Draw the shares of all kinds of tokens in the excess of each model, the worst model first.

    Parameters
    ----------
    models : of the perplexity table
    table : as of `excess_table`
    """
    whole = table[table["by"] == "all"].set_index("model")
    names = [name for name in models if name in whole.index][::-1]
    figure = Figure(figsize=(WIDTH, 1.6 + 0.3 * len(names)), layout="constrained")
    axes = figure.subplots()
    left, y, parts = np.zeros(len(names)), range(len(names)), []
    colors = [models[name].color for name in names]
    for kind, shade in zip(KINDS, SHADES, strict=True):
        part = table[table["by"] == kind].set_index("model").reindex(whole.index)
        shares = part["excess"] * part["tokens"] / whole["tokens"] / whole["excess"]
        parts.append(share := shares[names].fillna(0).to_numpy())
        axes.barh(y, share, left=left, color=colors, alpha=shade, height=0.7)
        for row in np.flatnonzero(share >= 0.05):
            middle, color = left[row] + share[row] / 2, "white" if shade == 1 else "black"
            text = f"{share[row]:.0%}"
            axes.annotate(text, (middle, row), ha="center", va="center", color=color)
        left += share
    for index, name in enumerate(names):
        text = f"{whole['excess'][name]:.4f}"
        axes.annotate(text, (1.02, index), va="center", annotation_clip=False)
    axes.set_yticks(y, [models[name].label for name in names])
    axes.set(xlim=(0, 1), xlabel="share of the excess; at the right, its nats per token")
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.spines["left"].set_visible(False)
    axes.tick_params(left=False)
    pairs = zip(KINDS, MEANINGS, SHADES, strict=True)
    handles = [Patch(color=GRAY, alpha=shade, label=f"{a}: {b}") for a, b, shade in pairs]
    figure.legend(handles=handles, loc="outside lower left", frameon=False, fontsize=8)
    figure.suptitle("Where the loss is: the excess by kind of token", x=0.012, ha="left")
    largest = {name: max(zip(share, MEANINGS, strict=True))
               for name, share in zip(names, np.transpose(parts), strict=True)}  # fmt: skip
    found = [f"{models[name].label} where {largest[name][1]} ({largest[name][0]:.0%})"
             for name in contenders(models, excess_of(table, "all"))]  # fmt: skip
    figure.set_label(f"The largest part of the excess: {'; '.join(found)}." if found else "")
    return figure


@styled()
def recall_curves(models: Mapping[str, Model], table: pd.DataFrame) -> Figure:
    """Draw the excess at recalled tokens over the distance to the latest mention, by model.

    Parameters
    ----------
    models : of the perplexity table
    table : as of `excess_table`
    """
    figure, axes = wide_figure(left=0.16)  # for numbers as long as 0.0001
    recalled = table[(table["by"] == "distance") & (table["excess"] > 0)]
    overall = excess_of(table, "recall")
    axes.set(xscale="log")
    scale_losses(axes, recalled["excess"].tolist(), room=1.15)
    lines = []
    for name, rows in recalled.groupby("model", sort=False):
        error = rows["standard_error"].fillna(0)
        value = overall[str(name)]
        lines.append(draw_curve(axes, models[str(name)], rows, rows["excess"], error, value))
    least, longest = (recalled["first"].min(), recalled["last"].max()) if lines else (1, 2)
    scale_octaves(axes, least, int(longest))
    axes.set(xlabel="tokens back to the latest mention", ylabel="nats per token above the truth")
    title(
        axes,
        "Recall: the loss where a story names something again",
        "Only one token is possible. Numbers: mean over all distances. Bands: two standard errors.",
    )
    name_lines(axes, lines)
    found = [f"{np.exp(-value):.1%} under {models[name].label}"
             for name, value in contenders(models, overall).items()]  # fmt: skip
    if found:
        figure.set_label(
            "Where a story names something again, the only possible token has a probability of "
            f"{', '.join(found)} (geometric means)."
        )
    return figure
