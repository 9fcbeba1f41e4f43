"""Pictures of one model at one prompt: its attention, and what it expects next.

Dark means much, so that they are read alike in colour, in grey and by the colour-blind.
"""

from collections.abc import Sequence

from lmladder.reports.figures.style import COLORS, GREY, INK, picture
from lmladder.reports.tokens import percent, visible
from lmladder.system.arrays import FloatArray

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, PowerNorm
from matplotlib.figure import Figure

PROMPT_SHOWN = 48  # characters of a prompt's end, in a title
CELL = 0.13  # inches a token takes on an axis of a map
MARGIN = 1.2  # inches for the names of both axes and the scale


@picture
def attention_picture(maps: FloatArray, labels: Sequence[str]) -> Figure:
    """A map for each head, a row of maps for each layer.

    The square at row i and column j is dark where the token i looks at token j. Colours follow the
    root of the weight, or all but the largest would be white; the scale is that of all maps.

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
    # Without its palest end, so that no attention is still darker than what cannot be seen.
    colors = ListedColormap(mpl.colormaps["Blues"](np.linspace(0.08, 1, 256)))
    hidden = ~np.tri(time, dtype=bool)
    for layer, row in enumerate(grid):
        for head, axes in enumerate(row):
            image = axes.imshow(
                np.ma.array(maps[layer, head], mask=hidden),
                cmap=colors, norm=PowerNorm(0.5, 0, 1), interpolation="none",
            )  # fmt: skip
            axes.set_title(f"Layer {layer + 1}, head {head + 1}", fontsize=8, pad=4)
            _name_tokens(axes, labels)
    scale = figure.colorbar(
        image, ax=grid, ticks=(0, 0.05, 0.25, 0.5, 1), shrink=min(1, 3 / height), aspect=25
    )
    scale.ax.set_yticklabels(("0", "5%", "25%", "50%", "100%"))
    scale.set_label("attention")
    figure.supxlabel("token that is looked at", fontsize=9)
    figure.supylabel("token that looks", fontsize=9)
    return figure


def _name_tokens(axes: Axes, labels: Sequence[str]) -> None:
    places = range(len(labels))
    axes.set_xticks(places, labels, fontsize=7, rotation=90 if max(map(len, labels)) > 1 else 0)
    axes.set_yticks(places, labels, fontsize=7)
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_visible(False)


@picture
def next_picture(
    prompt: str, labels: Sequence[str], probabilities: FloatArray, *, others: int
) -> Figure:
    """A bar for the probability of each of the likeliest next tokens, and the others'.

    Parameters
    ----------
    prompt : the text that they may follow
    labels, probabilities : of the likeliest, in the order of the bars
    others : how many tokens more there are
    """
    names = [*labels, *([f"{others:,} others"] if others else [])]
    values = [*map(float, probabilities), max(0.0, 1 - float(probabilities.sum()))][: len(names)]
    figure = Figure(figsize=(6, 0.9 + 0.25 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = range(len(names))
    axes.barh(places, values, color=[COLORS[0]] * len(labels) + [GREY], height=0.7)
    for place, value in zip(places, values, strict=True):
        axes.annotate(
            percent(value), (value, place), (4, 0), textcoords="offset points",
            va="center", fontsize=8, color=INK,
        )  # fmt: skip
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlim(0, max(values) * 1.12)  # room for the number behind the longest bar
    axes.xaxis.set_visible(False)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    figure.suptitle(f"What follows “{_end_of(prompt)}”", x=0.01, ha="left", fontsize=10)
    return figure


def _end_of(prompt: str) -> str:
    shown = visible(prompt[-PROMPT_SHOWN:], space=" ")
    return shown if len(prompt) <= PROMPT_SHOWN else f"…{shown}"
