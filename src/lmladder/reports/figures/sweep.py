"""A score against the setting that a sweep has varied, with its spread over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, pstdev, stdev

from lmladder.reports.figures.labels import Line, name_lines
from lmladder.reports.figures.style import picture, ruled, title
from lmladder.reports.table import COLORS, MARKERS

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)))  # of the second six curves, ...
NAME_LENGTH = 72  # characters; the picture is as wide as the longest name needs
LEFT, WIDTH, GAP, HEIGHT = 0.75, 5.2, 0.35, 4.2  # inches
SHORT = 16  # characters of a value, to stand beside others on the axis

Value = float | int | str


@dataclass(frozen=True)
class Swept:
    """One curve: runs that differ in the varied setting and in seeds.

    Attributes
    ----------
    name : what tells it from the other curves
    values : of the setting, in the order of the axis
    scores : for each value those of its seeds, one at least
    """

    name: str
    values: Sequence[Value]
    scores: Sequence[Sequence[float]]


@picture
def sweep_curves(curves: Sequence[Swept], *, setting: str, score: str) -> Figure:
    """The mean over seeds, a standard deviation on either side, and each seed as a small dot.

    The setting's axis is logarithmic where its values are spaced so; if any is no number, each
    value has a place of its own.

    Parameters
    ----------
    curves : at least one
    setting : name of the varied setting
    score : name of the score
    """
    figure = Figure(figsize=(LEFT + WIDTH, HEIGHT))
    axes = figure.add_axes((0, 0, 1, 1))
    places = _set_axis(axes, [value for curve in curves for value in curve.values])
    lines = [_draw(axes, curve, places, index) for index, curve in enumerate(curves)]
    # Wide enough for the longest name; until then no name has a place.
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    names = [axes.text(0, 0, line.text, fontweight=line.weight) for line in lines]
    longest = max(name.get_window_extent(renderer).width for name in names) / figure.dpi
    for name in names:
        name.remove()
    width = LEFT + WIDTH + GAP + longest
    figure.set_size_inches(width, HEIGHT)
    axes.set_position((LEFT / width, 0.13, WIDTH / width, 0.72))
    axes.set(xlabel=setting, ylabel=score)
    title(axes, f"{score[0].upper()}{score[1:]} against {setting}", _note(curves))
    axes.margins(y=0.12)
    ruled(axes)
    name_lines(axes, lines)
    return figure


def _set_axis(axes: Axes, values: Sequence[Value]) -> dict[Value, float]:
    """Choose the horizontal scale, put a number at each value, and tell where it stands."""
    distinct = list(dict.fromkeys(values))
    if all(isinstance(value, int | float) for value in distinct):
        places = {value: float(value) for value in distinct}
        if _spaced_by_factors(sorted(places.values())):
            axes.set_xscale("log")
    else:
        places = {value: float(index) for index, value in enumerate(distinct)}
    names = [f"{value:g}" if isinstance(value, int | float) else value for value in distinct]
    crowded = sum(map(len, names)) > 60
    axes.set_xticks(
        list(places.values()),
        [name if len(name) <= SHORT else f"{name[: SHORT - 1]}…" for name in names],
        rotation=30 if crowded else 0,
        ha="right" if crowded else "center",
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.06)
    return places


def _spaced_by_factors(ascending: Sequence[float]) -> bool:
    """Whether the steps between values are more alike as factors than as differences."""
    if ascending[0] <= 0 or len(ascending) < 2:
        return False
    if len(ascending) == 2:
        return ascending[1] >= 5 * ascending[0]
    differences = [high - low for low, high in pairwise(ascending)]
    factors = [math.log(high / low) for low, high in pairwise(ascending)]
    return pstdev(factors) / fmean(factors) < pstdev(differences) / fmean(differences)


def _draw(axes: Axes, curve: Swept, places: dict[Value, float], index: int) -> Line:
    color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
    x = [places[value] for value in curve.values]
    means = [fmean(scores) for scores in curve.scores]
    spread = [stdev(scores) if len(scores) > 1 else 0.0 for scores in curve.scores]
    seeds = [(place, one) for place, scores in zip(x, curve.scores, strict=True) for one in scores]
    axes.plot(*zip(*seeds, strict=True), "o", color=color, markersize=2.5, alpha=0.45, zorder=2)
    axes.errorbar(
        x, means, spread,
        color=color, marker=marker, markersize=5, linewidth=1.6, elinewidth=1.1, capsize=3,
        linestyle=DASHES[index // len(COLORS) % len(DASHES)], zorder=3,
    )  # fmt: skip
    name = curve.name if len(curve.name) <= NAME_LENGTH else f"{curve.name[: NAME_LENGTH - 1]}…"
    return Line(f"{name}\N{EM SPACE}{means[-1]:.3f}", x[-1], means[-1], color, "bold")


def _note(curves: Sequence[Swept]) -> str:
    counts = {len(scores) for curve in curves for scores in curve.scores}
    if counts == {1}:
        return "One seed each: how far another might be away is not known."
    least, most = min(counts), max(counts)
    seeds = f"{most} seeds" if least == most else f"{least} to {most} seeds"
    return f"Means over {seeds}, which are the small dots. Bars: one standard deviation."
