"""A score over the setting that a sweep varies, with its standard deviation over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, pstdev, stdev

from lmladder.reports.figures.labels import Label, name_lines
from lmladder.reports.figures.style import ruled, styled, title
from lmladder.reports.table import COLORS, MARKERS

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)))  # one per six curves
NAME_LENGTH = 72  # characters; the longest name determines the width of the figure
LEFT, WIDTH, GAP, HEIGHT, CHARACTER = 0.65, 2.8, 0.2, 4.0, 0.09  # inches
SHORT = 16  # characters of a value on the axis

Value = float | int | str


@dataclass(frozen=True)
class Swept:
    """One curve: runs that differ only in the varied setting and in the seed.

    Attributes
    ----------
    name : of the curve
    values : of the setting, in the order of the axis
    scores : for each value the scores of its seeds, at least one
    """

    name: str
    values: Sequence[Value]
    scores: Sequence[Sequence[float]]


@styled()
def sweep_curves(curves: Sequence[Swept], *, setting: str, score: str, caption: str) -> Figure:
    """Draw the mean over seeds with a standard deviation on either side, and each seed as a dot.

    The x axis is logarithmic if the values are spaced so. If any value is not a number, the values
    are equally spaced.

    Parameters
    ----------
    curves : at least one
    setting : name of the varied setting
    score : name of the score
    caption : what the scores show
    """
    longest = max(len(_named(curve)) for curve in curves) * CHARACTER
    width = LEFT + WIDTH + GAP + longest
    figure = Figure(figsize=(width, HEIGHT))
    axes = figure.add_axes((LEFT / width, 0.13, WIDTH / width, 0.7))
    positions = _set_axis(axes, [value for curve in curves for value in curve.values])
    lines = [_draw(axes, curve, positions, index) for index, curve in enumerate(curves)]
    axes.set(xlabel=setting, ylabel=score)
    title(axes, f"{score[0].upper()}{score[1:]} against {setting}", _note(curves))
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
    crowded = sum(map(len, names)) > 30
    axes.set_xticks(
        list(positions.values()),
        [name if len(name) <= SHORT else f"{name[: SHORT - 1]}…" for name in names],
        rotation=30 if crowded else 0,
        ha="right" if crowded else "center",
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.06)
    return positions


def _spaced_by_factors(ascending: Sequence[float]) -> bool:
    """Return whether the ratios of neighboring values vary less than their differences."""
    if ascending[0] <= 0 or ascending[-1] < 5 * ascending[0]:
        return False
    pairs = [*pairwise(ascending)]
    differences, ratios = [high - low for low, high in pairs], [high / low for low, high in pairs]
    return pstdev(ratios) / fmean(ratios) <= pstdev(differences) / fmean(differences)


def _draw(axes: Axes, curve: Swept, positions: dict[Value, float], index: int) -> Label:
    color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
    x = [positions[value] for value in curve.values]
    means = [fmean(scores) for scores in curve.scores]
    spread = [stdev(scores) if len(scores) > 1 else 0.0 for scores in curve.scores]
    seeds = [(at, score) for at, scores in zip(x, curve.scores, strict=True) for score in scores]
    axes.plot(*zip(*seeds, strict=True), "o", color=color, markersize=2.5, alpha=0.45, zorder=2)
    axes.errorbar(
        x, means, spread,
        color=color, marker=marker, markersize=5, linewidth=1.6, elinewidth=1.1, capsize=3,
        linestyle=DASHES[index // len(COLORS) % len(DASHES)], zorder=3,
    )  # fmt: skip
    return Label(_named(curve), x[-1], means[-1], color, "bold")


def _named(curve: Swept) -> str:
    name = curve.name if len(curve.name) <= NAME_LENGTH else f"{curve.name[: NAME_LENGTH - 1]}…"
    return f"{name}\N{EM SPACE}{fmean(curve.scores[-1]):.3f}"


def _note(curves: Sequence[Swept]) -> str:
    counts = {len(scores) for curve in curves for scores in curve.scores}
    if counts == {1}:
        return "One seed each, so the deviation over seeds is unknown."
    low, high = min(counts), max(counts)
    seeds = f"{high} seeds" if low == high else f"{low} to {high} seeds"
    return f"Means over {seeds}. Small dots: single seeds. Bars: one standard deviation."
