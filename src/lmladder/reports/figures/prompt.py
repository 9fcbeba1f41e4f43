"""Figures of one model at one prompt: its attention and its next-token probabilities.

Larger weights are darker: the maps are legible in color, in gray and to color-blind readers.
"""

from collections.abc import Sequence

from lmladder.reports.colors import COLORS, GRAY, INK
from lmladder.reports.figures.style import styled
from lmladder.reports.text import percent, visible
from lmladder.system.arrays import FloatArray

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap, PowerNorm
from matplotlib.figure import Figure

PROMPT_SHOWN = 48  # characters from the end of a prompt, in a title
CELL = 0.13  # inches per token on an axis of a map
MARGIN = 1.2  # inches for the labels of an axis and the color bar


@styled()
def attention_figure(maps: FloatArray, labels: Sequence[str]) -> Figure:
    """Draw one map per head, in one row of maps per layer.

    The cell at row i and column j shows the attention of token i to token j. Colors are those of
    the square root of the weight, as otherwise only the largest would be visible.

    Parameters
    ----------
    maps : (layers, heads, time, time)
    labels : of each token
    """
    n_layer, n_head, time, _ = maps.shape
    size = max(time * CELL, 1.2)
    width, height = n_head * (size + 0.25) + MARGIN, n_layer * (size + 0.4) + MARGIN
    figure = Figure(figsize=(max(width, 4.5), height), layout="constrained")
    grid = figure.subplots(n_layer, n_head, squeeze=False)
    # Without its palest end, so that zero attention is darker than a masked cell.
    colors = ListedColormap(mpl.colormaps["Blues"](np.linspace(0.08, 1, 256)))
    hidden = ~np.tri(time, dtype=bool)
    ticks, rotation = range(time), 90 if max(map(len, labels)) > 1 else 0
    for layer, row in enumerate(grid):
        for head, axes in enumerate(row):
            image = axes.imshow(
                np.ma.array(maps[layer, head], mask=hidden),
                cmap=colors, norm=PowerNorm(0.5, 0, 1), interpolation="none",
            )  # fmt: skip
            axes.set_title(f"Layer {layer + 1}, head {head + 1}", fontsize=8, pad=4)
            axes.set_xticks(ticks, labels, fontsize=7, rotation=rotation)
            axes.set_yticks(ticks, labels, fontsize=7)
            axes.tick_params(length=0, pad=2)
            axes.spines[:].set_visible(False)
    scale = figure.colorbar(
        image, ax=grid, ticks=(0, 0.05, 0.25, 0.5, 1), shrink=min(1, 3 / height), aspect=25
    )
    scale.ax.set_yticklabels(("0", "5%", "25%", "50%", "100%"))
    scale.set_label("attention")
    figure.supxlabel("token attended to (key)", fontsize=9)
    figure.supylabel("attending token (query)", fontsize=9)
    figure.set_label(f"Attention of {n_layer} x {n_head} heads over {time} tokens")
    return figure


@styled()
def next_token_figure(
    prompt: str, labels: Sequence[str], probabilities: FloatArray, *, others: int
) -> Figure:
    """Draw a bar for the probability of each of the most likely next tokens, and of all others.

    Parameters
    ----------
    prompt : the text before the next token
    labels, probabilities : of the most likely tokens, in the order of the bars
    others : number of all other tokens
    """
    names = [*labels, *([f"{others:,} others"] if others else [])]
    values = [*map(float, probabilities), max(0.0, 1 - float(probabilities.sum()))][: len(names)]
    figure = Figure(figsize=(6, 0.9 + 0.25 * len(names)), layout="constrained")
    axes = figure.subplots()
    colors = [COLORS[0]] * len(labels) + [GRAY]
    bars = axes.barh(range(len(names)), values, color=colors, height=0.7)
    axes.bar_label(bars, [percent(value) for value in values], padding=4, fontsize=8, color=INK)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, max(values) * 1.12)  # room for the number after the longest bar
    axes.xaxis.set_visible(False)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    title = f"Most likely tokens after “{_end_of(prompt)}”"
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    figure.set_label(title)
    return figure


def _end_of(prompt: str) -> str:
    end = visible(prompt[-PROMPT_SHOWN:], space=" ")
    return end if len(prompt) <= PROMPT_SHOWN else f"…{end}"
