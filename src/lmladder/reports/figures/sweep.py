"""A score over the setting that a sweep varies, with its standard deviation over seeds."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TypeAlias

from lmladder.reports.figures.labels import Label, name_lines
from lmladder.reports.figures.style import ruled, styled, title
from lmladder.reports.table import COLORS, MARKERS

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)))  # one per six curves
NAME_LENGTH = 72  # characters; the longest name determines the width of the figure
LEFT, WIDTH, GAP, HEIGHT, CHARACTER = 0.65, 2.8, 0.2, 4.0, 0.09  # inches
SHORT = 16  # characters of a value on the axis

Value: TypeAlias = float | int | str
Curve: TypeAlias = Mapping[Value, Sequence[float]]  # the scores of all seeds, by the setting


@styled()
def sweep_curves(curves: Mapping[str, Curve], *, setting: str, score: str, caption: str) -> Figure:
    """Draw the mean over seeds with a standard deviation on either side, and each seed as a dot.

    The x axis is logarithmic if the values are spaced so. If any value is not a number, the values
    are equally spaced.

    Parameters
    ----------
    curves : by name, at least one; the values are in the order of the axis
    setting : name of the varied setting
    score : name of the score
    caption : what the scores show
    """
    names = [
        f"{_cut(name, NAME_LENGTH)}\N{EM SPACE}{fmean([*curve.values()][-1]):.3f}"
        for name, curve in curves.items()
    ]
    width = LEFT + WIDTH + GAP + max(map(len, names)) * CHARACTER
    figure = Figure(figsize=(width, HEIGHT))
    axes = figure.add_axes((LEFT / width, 0.13, WIDTH / width, 0.7))
    positions = _set_axis(axes, [value for curve in curves.values() for value in curve])
    lines = [
        _draw(axes, name, curve, positions, index)
        for index, (name, curve) in enumerate(zip(names, curves.values(), strict=True))
    ]
    axes.set(xlabel=setting, ylabel=score)
    counts = {len(scores) for curve in curves.values() for scores in curve.values()}
    seeds = " to ".join(map(str, sorted({min(counts), max(counts)})))
    note = f"Means over {seeds} seeds. Small dots: single seeds. Bars: one standard deviation."
    if counts == {1}:
        note = "One seed each, so the deviation over seeds is unknown."
    title(axes, f"{score[0].upper()}{score[1:]} against {setting}", note)
    axes.margins(y=0.12)
    ruled(axes)
    name_lines(axes, lines)
    figure.set_label(caption)
    return figure


def _set_axis(axes: Axes, values: Sequence[Value]) -> dict[Value, float]:
    """Scale and label the x axis; return the position of each value."""
    distinct = list(dict.fromkeys(values))
    if all(isinstance(value, int | float) for value in distinct):
        positions = {value: float(value) for value in distinct}
        if _spaced_by_factors(sorted(positions.values())):
            axes.set_xscale("log")
    else:
        positions = {value: float(index) for index, value in enumerate(distinct)}
    names = [f"{value:g}" if isinstance(value, int | float) else value for value in distinct]
    rotation, side = (30, "right") if sum(map(len, names)) > 30 else (0, "center")
    shown = [_cut(name, SHORT) for name in names]
    axes.set_xticks([*positions.values()], shown, rotation=rotation, ha=side)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.06)
    return positions


def _spaced_by_factors(ascending: Sequence[float]) -> bool:
    """Return whether the ratios of neighboring values vary less than their differences."""
    if ascending[0] <= 0 or ascending[-1] < 5 * ascending[0]:
        return False
    low, high = np.array(ascending[:-1]), np.array(ascending[1:])
    ratios, differences = high / low, high - low
    return bool(ratios.std() / ratios.mean() <= differences.std() / differences.mean())


def _draw(
    axes: Axes, name: str, curve: Curve, positions: Mapping[Value, float], index: int
) -> Label:
    color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
    x, means = [positions[value] for value in curve], [*map(fmean, curve.values())]
    spread = [stdev(scores) if len(scores) > 1 else 0.0 for scores in curve.values()]
    seeds = [(positions[value], score) for value, scores in curve.items() for score in scores]
    axes.plot(*zip(*seeds, strict=True), "o", color=color, markersize=2.5, alpha=0.45, zorder=2)
    axes.errorbar(
        x, means, spread,
        color=color, marker=marker, markersize=5, linewidth=1.6, elinewidth=1.1, capsize=3,
        linestyle=DASHES[index // len(COLORS) % len(DASHES)], zorder=3,
    )  # fmt: skip
    return Label(name, x[-1], means[-1], color, "bold")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
