"""Names in the margin beside lines and points, placed so that they do not overlap."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

LABEL_GAP = 11.5  # points from a name in the margin to the next


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
    gap = LABEL_GAP / 72 * axes.figure.figure.dpi / axes.bbox.height
    for line, height in zip(lines, _apart(wanted, gap), strict=True):
        end = (1.0, line.y) if line.x is None else (line.x, line.y)
        axes.annotate(
            line.text, end, (1.045, height),
            xycoords=axes.get_yaxis_transform() if line.x is None else "data",
            textcoords="axes fraction", va="center", color=line.color,
            fontweight=line.weight, annotation_clip=False, parse_math=False,
            arrowprops={"arrowstyle": "-", "color": line.color, "linewidth": 0.5, "alpha": 0.6,
                        "shrinkA": 2, "shrinkB": 0, "relpos": (0, 0.5)},
        )  # fmt: skip


def _apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Return positions at least `gap` apart, nearest by least squares to ascending `wanted` ones.

    After subtraction of i * gap the positions must not descend: neighbors that would are pooled at
    their mean. All are between 0 and 1, the bottom and the top of the axes, where they fit.
    """
    pools: list[list[float]] = []
    for index, position in enumerate(wanted):
        pools.append([position - index * gap])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    levels = [float(np.mean(pool)) for pool in pools for _ in pool]
    highest = max(1 - (len(levels) - 1) * gap, 0.0)
    return [min(max(level, 0.0), highest) + index * gap for index, level in enumerate(levels)]
