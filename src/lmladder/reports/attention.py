"""Attention of the heads of a Transformer, as maps for a page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lmladder.reports.text import percent
from lmladder.system.arrays import FloatArray

import numpy as np

LEVELS = 10  # of darkness, by the square root of the weight, so that small weights are visible
MAX_MAPS = 24  # in a page; a larger model shows its last layers
MAX_KEYS = 3  # tokens that are named for each attending token


@dataclass(frozen=True)
class Attention:
    """The attention of every head of a model over a text.

    Attributes
    ----------
    labels : of each token
    maps : (layers, heads, time, time); row t sums to 1 over the positions up to t
    """

    labels: Sequence[str]
    maps: FloatArray


@dataclass(frozen=True)
class HeadMap:
    """One map in cells of size 1, as SVG paths.

    Attributes
    ----------
    layer, head : numbers, from 1
    shades : (level, path of all cells of that level), without level 0
    rows : for each token a description of the tokens with the largest weights
    """

    layer: int
    head: int
    shades: Sequence[tuple[int, str]]
    rows: Sequence[str]


def head_maps(attention: Attention) -> list[HeadMap]:
    """Return the maps of the last layers; at most `MAX_MAPS`."""
    n_layer, n_head = attention.maps.shape[:2]
    drawn = max(1, MAX_MAPS // n_head)
    return [
        HeadMap(layer + 1, head + 1, [*_shades(weights)], [*_rows(attention.labels, weights)])
        for layer in range(max(0, n_layer - drawn), n_layer)
        for head, weights in enumerate(attention.maps[layer, :MAX_MAPS])
    ]


def _shades(weights: FloatArray) -> Iterator[tuple[int, str]]:
    levels = np.rint(np.sqrt(weights) * LEVELS).astype(int)
    for level in range(1, LEVELS + 1):
        if path := "".join(f"M{x} {y}h1v1h-1z" for y, x in np.argwhere(levels == level)):
            yield level, path


def _rows(labels: Sequence[str], weights: FloatArray) -> Iterator[str]:
    for position, row in enumerate(weights):
        keys = np.argsort(-row[: position + 1], kind="stable")[:MAX_KEYS]
        parts = [
            f"{labels[key]} {percent(float(row[key]))} ({position - key} back)" for key in keys
        ]
        yield f"{labels[position]} attends to {', '.join(parts)}"
