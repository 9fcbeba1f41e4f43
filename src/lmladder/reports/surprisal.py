"""Text colored by its surprisal: a page for one model, or a passage for several models."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lmladder.evaluation import Score
from lmladder.evaluation.exact import LOG_2
from lmladder.reports.page import render
from lmladder.reports.tokens import MARKS, percent, visible

STRONGEST = 8  # bits of the strongest color: one of 256 equally likely


@dataclass(frozen=True)
class Passage:
    """A short text in pieces, and the surprisal of each piece under several models.

    Attributes
    ----------
    pieces : the text in order
    nats : of each piece, by model
    """

    pieces: Sequence[str]
    nats: Mapping[str, Sequence[float]]


def render_surprisal(model: str, score: Score, pieces: Iterable[tuple[str, float]]) -> str:
    """Return the page; the same arguments give the same bytes.

    Parameters
    ----------
    model : its label
    score : of the whole text
    pieces : the text in order, with the nats of each piece, whose sum is that of the score
    """
    return render(
        "surprisal.html.jinja",
        model=model,
        score=score,
        strongest=STRONGEST,
        pieces=[(_level(nats), _tooltip(nats), _shown(text)) for text, nats in pieces],
    )


def colored(passage: Passage) -> list[tuple[str, str, str]]:
    """Return (classes, tooltip, text) of each piece; class s2-5 is 5 bits under the third model."""
    names = list(passage.nats)
    width = max(map(len, names), default=0)
    return [
        (
            " ".join(f"s{model}-{_level(nats)}" for model, nats in enumerate(each) if _level(nats)),
            "\n".join(
                f"{name:{width}} {percent(math.exp(-nats)):>7}"
                for name, nats in zip(names, each, strict=True)
            ),
            _shown(text),
        )
        for text, *each in zip(passage.pieces, *passage.nats.values(), strict=True)
    ]


def mean_bits(passage: Passage) -> dict[str, float]:
    """Return the bits per piece of each model."""
    return {model: sum(nats) / len(nats) / LOG_2 for model, nats in passage.nats.items()}


def _level(nats: float) -> int:
    """Return the whole bits, at most `STRONGEST`."""
    bits = max(nats, 0.0) / LOG_2
    return int(bits) if bits < STRONGEST else STRONGEST


def _tooltip(nats: float) -> str:
    return f"{percent(math.exp(-nats))} · {nats:.4f} nats · {nats / LOG_2:.2f} bits"


def _shown(text: str) -> str:
    """Return text with visible line ends and harmless control characters."""
    return (MARKS["\n"] + "\n").join(visible(line, space=" ") for line in text.split("\n"))
