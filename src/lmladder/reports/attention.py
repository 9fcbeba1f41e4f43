"""Attention of a Transformer to a text, as colors of its tokens."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from lmladder.reports.text import percent
from lmladder.system.arrays import FloatArray

import numpy as np

LEVELS = 10  # of color, by the square root of the weight, so that small weights are visible
MAX_MAPS = 25  # in a page; of a larger model the first and the last
MAX_KEYS = 3  # tokens that are named for each map
LEAST = 0.005  # weight of such a token, but for the first
AROUND = 8  # tokens before a named one, which show where it is


@dataclass(frozen=True)
class Attention:
    """What a model attends to when it predicts the last token of a text.

    Attributes
    ----------
    model : its label
    labels : of each token, the predicted one last
    maps : by name, the weights of the tokens before it, which sum to 1
    added : by how much the pointer increases the probability of the predicted token
    """

    model: str
    labels: Sequence[str]
    maps: Mapping[str, FloatArray]
    added: float


def maps_of(attention: Attention) -> list[tuple[str, list[tuple[int, str]], str]]:
    """Return (name, runs, largest) of the first map and the last ones; at most `MAX_MAPS`.

    A run is (level, text) of neighboring tokens with the same level; `largest` describes the tokens
    with the largest weights.
    """
    labels, names = attention.labels, [*attention.maps]
    return [
        (name, [*_runs(labels, attention.maps[name])], _largest(labels, attention.maps[name]))
        for name in names[:1] + names[1:][1 - MAX_MAPS :]
    ]


def _runs(labels: Sequence[str], weights: FloatArray) -> Iterator[tuple[int, str]]:
    levels = np.rint(np.sqrt(weights) * LEVELS).astype(int).tolist()
    for level, run in groupby(zip(levels, labels, strict=False), key=lambda each: each[0]):
        yield level, text_of(label for _, label in run)


def text_of(labels: Iterable[str]) -> str:
    """Return tokens as running text."""
    return "".join(labels).replace("␣", " ")


def _largest(labels: Sequence[str], weights: FloatArray) -> str:
    ranked = np.argsort(-weights, kind="stable")[:MAX_KEYS]
    keys = [key for key in ranked if weights[key] >= LEAST or key == ranked[0]]
    return "; ".join(
        f"{percent(float(weights[key]))} to {labels[key]} of "
        f"“{text_of(labels[max(key - AROUND, 0) : key + 1]).strip()}”, {len(weights) - key} back"
        for key in keys
    )
