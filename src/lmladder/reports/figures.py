"""The loss curves of the neural rungs, between the lines that counting and the truth draw.

Every line is named where it ends, so there is no legend to look up. Colours are Okabe and Ito's
(2008), which the colour-blind can tell apart; dashes and labels tell the same without colour.
"""

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lmladder.errors import InputError
from lmladder.reports.margin import Line, name_lines
from lmladder.reports.table import ORACLE, is_count_model, label

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator

MARKERS = "osD^vP"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK, GREY, PALE = "#24292f", "#6e7781", "#d8dee4"
LAYOUT_FONT = "DejaVu Sans"  # comes with Matplotlib, so that all machines place the text alike
PAGE_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
METADATA = ("Date", "Creator", "Format", "Type")  # none of it, as it names times and versions

STYLE = {
    "svg.hashsalt": "lmladder", "svg.fonttype": "none", "font.family": LAYOUT_FONT, "font.size": 9,
    "text.color": INK, "text.parse_math": False, "axes.edgecolor": GREY, "axes.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7,
    "xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.titlelocation": "left", "axes.titlesize": 10, "axes.titlepad": 12,
}  # fmt: skip


def read_history(path: Path) -> pd.DataFrame:
    """A rung's history.csv; InputError if it is missing or is no such table."""
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise InputError(f"cannot read {path}: {error}") from error


def loss_curves(
    histories: Mapping[str, pd.DataFrame],
    baselines: Mapping[str, float],
    *,
    oracle: float | None,
    unit: str = "nats per token",
) -> str:
    """An SVG of the losses over the tokens seen in training.

    Parameters
    ----------
    histories : the history.csv of each neural rung
    baselines : nats of any models on the validation text; drawn are unigram, bigram, trigram and
        the best Kneser-Ney
    oracle : nats of the true distribution, where it is known
    unit : of the vertical axis
    """
    with drawing():
        figure = Figure(figsize=(8, 4.5))
        axes = figure.add_axes((0.075, 0.125, 0.7, 0.765))
        lines = _draw_baselines(axes, _chosen(baselines))
        if oracle is not None:
            axes.axhline(oracle, color=INK, linewidth=1.1, zorder=1)
            lines.append(Line(_named(ORACLE, oracle), None, oracle, INK, "bold"))
        lines += _draw_histories(axes, histories)
        lines = [line for line in lines if 0 < line.nats < np.inf]
        _scale(axes, [line.nats for line in lines])
        axes.set(xlabel="tokens seen in training", ylabel=unit)
        axes.set_title("Loss on validation text (solid) and on training text (dashed)")
        name_lines(axes, lines)
        return as_svg(figure)


@contextmanager
def drawing() -> Iterator[None]:
    """Within it figures look as ours do, whatever the user's matplotlibrc says."""
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        # Only the layout wants the glyph; who looks at the picture has fonts of their own.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def as_svg(figure: Figure) -> str:
    """The figure as an <svg> element; within `drawing`, the same figure gives the same bytes."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(METADATA))
    svg = file.getvalue().replace(f"'{LAYOUT_FONT}'", PAGE_FONTS)
    return svg[svg.index("<svg") :]


def _chosen(baselines: Mapping[str, float]) -> dict[str, float]:
    """The baselines worth a line: of several Kneser-Ney orders the best only."""
    counted = {model: nats for model, nats in baselines.items() if is_count_model(model)}
    smoothed = [model for model in counted if model.startswith("kneser_ney_")]
    beaten = set(smoothed) - {min(smoothed, key=counted.__getitem__, default=None)}
    return {model: nats for model, nats in counted.items() if model not in beaten}


def _draw_baselines(axes: Axes, baselines: Mapping[str, float]) -> list[Line]:
    for nats in baselines.values():
        axes.axhline(nats, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    return [
        Line(_named(model, nats), None, nats, GREY, "normal") for model, nats in baselines.items()
    ]


def _draw_histories(axes: Axes, histories: Mapping[str, pd.DataFrame]) -> list[Line]:
    lines = []
    for index, (model, history) in enumerate(histories.items()):
        color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
        seen = history[history["tokens"] > 0]  # the axis is logarithmic
        if seen.empty:
            continue
        train = seen.dropna(subset="train_nats")
        axes.plot(
            train["tokens"], train["train_nats"],
            color=color, linewidth=0.9, linestyle=(0, (4, 2)), alpha=0.75,
        )  # fmt: skip
        axes.plot(
            seen["tokens"], seen["val_nats"],
            color=color, linewidth=2.0, marker=marker, markersize=4.5, markevery=(0.0, 0.1),
        )  # fmt: skip
        tokens, nats = float(seen["tokens"].iloc[-1]), float(seen["val_nats"].iloc[-1])
        axes.plot([tokens], [nats], marker, color=color, markersize=4.5)
        lines.append(Line(_named(model, nats), tokens, nats, color, "bold"))
    return lines


def _named(model: str, nats: float) -> str:
    return f"{label(model)}\N{EM SPACE}{nats:.3f}"


def _scale(axes: Axes, ends: Sequence[float]) -> None:
    """Logarithmic, and so high as the lines end: a curve may come in from above."""
    axes.set(xscale="log", yscale="log")
    axes.margins(x=0.02)
    if ends:
        axes.set_ylim(min(ends) / 1.06, max(ends) * 1.08)
    axes.xaxis.set_major_locator(_ticks(axes.get_xlim(), (1, 2, 5)))
    axes.yaxis.set_major_locator(_ticks(axes.get_ylim(), (1, 1.5, 2, 3, 4, 5, 6, 7, 8)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: _short(tokens)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda nats, _: f"{nats:g}"))
    axes.minorticks_off()
    axes.grid(axis="y", color=PALE, linewidth=0.5)
    axes.set_axisbelow(True)


def _ticks(limits: tuple[float, float], of_a_decade: Sequence[float]) -> Locator:
    low, high = limits
    return LogLocator(subs=of_a_decade) if high > 4 * low else MaxNLocator(6)


def _short(tokens: float) -> str:
    """1000000 as 1 M."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if tokens >= size:
            return f"{tokens / size:g}{letter}"
    return f"{tokens:g}"
