"""Names beside lines and points, placed so that they overlap as little as possible."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from lmladder.reports.figures.style import legible
from lmladder.system.arrays import FloatArray

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

LABEL_GAP = 0.052  # between two names in the margin, as a fraction of the height
MARKER_SIZE = 10.0  # points that are kept free around a marker
STEP = 4.0  # pixels
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))  # across, up


@dataclass(frozen=True)
class Label:
    """The name of the point (x, y), or of a line that ends there; x is None at the right edge."""

    text: str
    x: float | None
    y: float
    color: str
    weight: str = "normal"


def name_lines(axes: Axes, lines: Sequence[Label]) -> None:
    """Write the names into the right margin, near the ends of the lines, without overlaps.

    The scales must be final.
    """
    to_fraction = axes.transData + axes.transAxes.inverted()
    edge = axes.get_xlim()[1]
    lines = sorted(lines, key=lambda line: line.y)
    wanted = [float(to_fraction.transform((edge, line.y))[1]) for line in lines]
    for line, height in zip(lines, _apart(wanted, LABEL_GAP), strict=True):
        end = (1.0, line.y) if line.x is None else (line.x, line.y)
        axes.annotate(
            line.text, end, (1.045, height),
            xycoords=axes.get_yaxis_transform() if line.x is None else "data",
            textcoords="axes fraction", va="center", color=legible(line.color),
            fontweight=line.weight, annotation_clip=False, parse_math=False,
            arrowprops={"arrowstyle": "-", "color": line.color, "linewidth": 0.5, "alpha": 0.6,
                        "shrinkA": 2, "shrinkB": 0, "relpos": (0, 0.5)},
        )  # fmt: skip


def name_points(axes: Axes, points: Sequence[Label]) -> None:
    """Write each name on the side of its point where it overlaps least.

    Call this function last: it uses the scales, lines and names that are in the axes.
    """
    renderer = FigureCanvasAgg(axes.figure.figure).get_renderer()  # type: ignore[no-untyped-call]
    half = MARKER_SIZE / 2 * axes.figure.dpi / 72
    centers = [axes.transData.transform(np.array((point.x, point.y), float)) for point in points]
    taken = [Bbox([center - half, center + half]) for center in centers]
    taken += [text.get_window_extent(renderer) for text in axes.texts]
    strokes = np.concatenate([np.empty((0, 2)), *map(_stroke, axes.lines)])
    page, frame = axes.figure.bbox, axes.bbox
    inside = Bbox([[frame.x0, frame.y0], [page.x1, frame.y1]])
    for index, point in enumerate(points):
        others = taken[:index] + taken[index + 1 :]
        costs = []
        for side in SIDES:
            name = _beside(axes, point, side)
            box = name.get_window_extent(renderer)
            name.remove()
            overlap = sum(_area(Bbox.intersection(box, other)) for other in others)
            outside = _area(box) - _area(Bbox.intersection(box, inside))
            costs.append((overlap + outside + STEP**2 * box.count_contains(strokes), box))
        best = min(range(len(SIDES)), key=lambda side: costs[side][0])  # the first of the best
        _beside(axes, point, SIDES[best])
        taken.append(costs[best][1])


def _stroke(line: Line2D) -> FloatArray:
    """Return points along a line, `STEP` pixels apart: (points, 2)."""
    corners = line.get_transform().transform(line.get_xydata())
    steps = [
        np.linspace(start, end, 2 + int(np.hypot(*(end - start)) / STEP))
        for start, end in pairwise(corners)
    ]
    return np.concatenate([corners, *steps])


def _beside(axes: Axes, point: Label, side: tuple[int, int]) -> Annotation:
    across, up = side
    return axes.annotate(
        point.text, (point.x, point.y), (7 * across, (4 if across else 7) * up),
        textcoords="offset points", ha={1: "left", -1: "right", 0: "center"}[across],
        va={1: "bottom", -1: "top", 0: "center"}[up] if not across or up else "center",
        color=legible(point.color), fontweight=point.weight, fontsize=8, annotation_clip=False,
        parse_math=False,
    )  # fmt: skip


def _area(box: Bbox | None) -> float:
    return 0.0 if box is None else float(box.width * box.height)


def _apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Return positions at least `gap` apart, nearest by least squares to ascending `wanted` ones.

    After subtraction of i * gap the positions must not descend: neighbors that would are pooled at
    their mean. No position is below 0, the bottom of the axes.
    """
    pools: list[list[float]] = []
    for index, position in enumerate(wanted):
        pools.append([position - index * gap])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    levels = [float(np.mean(pool)) for pool in pools for _ in pool]
    return [max(level, 0.0) + index * gap for index, level in enumerate(levels)]
