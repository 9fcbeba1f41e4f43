"""Where the heads of a Transformer look, as maps that a page draws."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lmladder.reports.tokens import percent
from lmladder.system.arrays import FloatArray, IntArray

import numpy as np

LEVELS = 10  # of darkness, by the root of the weight, or all but the largest would be pale
MAX_MAPS = 24  # in a page; of a larger model those of its last layers
TOLD = 3  # tokens, of each that looks
LONGEST_LABEL = 8  # characters beside a map


@dataclass(frozen=True)
class Attention:
    """How every head of a model spreads its attention over a text.

    Attributes
    ----------
    labels : of each token
    maps : (layers, heads, time, time); row t sums to 1 over the positions up to t
    """

    labels: Sequence[str]
    maps: FloatArray


@dataclass(frozen=True)
class HeadMap:
    """One map in cells of size 1, as paths of SVG.

    Attributes
    ----------
    head : its number, from 1
    shades : (level, path of all cells of that level), but for level 0
    rows : for each token what it looks at most, in words
    """

    head: int
    shades: Sequence[tuple[int, str]]
    rows: Sequence[str]


def head_maps(attention: Attention) -> list[tuple[int, list[HeadMap]]]:
    """(number of the layer, the maps of its heads) of so many last layers as are drawn."""
    n_layer, n_head, _, _ = attention.maps.shape
    shown = max(1, MAX_MAPS // n_head)
    return [
        (
            layer + 1,
            [
                HeadMap(head + 1, list(_shades(weights)), list(_told(attention.labels, weights)))
                for head, weights in enumerate(attention.maps[layer, :MAX_MAPS])
            ],
        )
        for layer in range(max(0, n_layer - shown), n_layer)
    ]


def short_labels(labels: Sequence[str]) -> list[str]:
    """The labels as they fit beside a map."""
    return [
        label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"
        for label in labels
    ]


def _shades(weights: FloatArray) -> Iterator[tuple[int, str]]:
    levels = np.rint(np.sqrt(weights) * LEVELS).astype(int)
    for level in range(1, LEVELS + 1):
        if path := "".join(_runs(levels == level)):
            yield level, path


def _runs(cells: IntArray) -> Iterator[str]:
    """A rectangle for each run of cells in a row."""
    for y, row in enumerate(cells):
        x = 0
        for inside, run in itertools.groupby(row):
            length = len(list(run))
            if inside:
                yield f"M{x} {y}h{length}v1h-{length}z"
            x += length


def _told(labels: Sequence[str], weights: FloatArray) -> Iterator[str]:
    for place, row in enumerate(weights):
        most = np.argsort(-row[: place + 1], kind="stable")[:TOLD]
        looks = ", ".join(
            f"{labels[at]} {percent(float(row[at]))} ({place - at} back)" for at in most
        )
        yield f"{labels[place]} looks at {looks}"
