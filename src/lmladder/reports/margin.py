"""Names of lines in a figure's right margin, where they cannot hide a line or one another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

LABEL_GAP = 0.052  # between two labels, as a fraction of the height


@dataclass(frozen=True)
class Line:
    """What ends at (tokens, nats) and is named in the margin; tokens None: at the right edge."""

    text: str
    tokens: float | None
    nats: float
    color: str
    weight: str


def name_lines(axes: Axes, lines: Sequence[Line]) -> None:
    """Write the names into the right margin, as near to the lines' ends as they do not overlap."""
    low, high = np.log(axes.get_ylim())
    lines = sorted(lines, key=lambda line: line.nats)
    places = _apart([(np.log(line.nats) - low) / (high - low) for line in lines], LABEL_GAP)
    for line, place in zip(lines, places, strict=True):
        end = (1.0, line.nats) if line.tokens is None else (line.tokens, line.nats)
        axes.annotate(
            line.text, end, (1.045, place),
            xycoords=axes.get_yaxis_transform() if line.tokens is None else "data",
            textcoords="axes fraction", va="center", color=line.color, fontweight=line.weight,
            annotation_clip=False, parse_math=False,
            arrowprops={"arrowstyle": "-", "color": line.color, "linewidth": 0.5, "alpha": 0.6,
                        "shrinkA": 2, "shrinkB": 0, "relpos": (0, 0.5)},
        )  # fmt: skip


def _apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Places at least `gap` apart, nearest by least squares to the `wanted` ones, which ascend.

    Less i * gap, places need only not descend; so neighbours that would are pooled at their mean.
    None is below 0, the foot of the figure.
    """
    pools: list[list[float]] = []
    for index, place in enumerate(wanted):
        pools.append([place - index * gap])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    levels = [float(np.mean(pool)) for pool in pools for _ in pool]
    return [max(level, 0.0) + index * gap for index, level in enumerate(levels)]
