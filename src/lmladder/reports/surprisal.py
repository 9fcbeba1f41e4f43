"""Text coloured by how much it surprised models: a page of one, or a passage under several."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lmladder.evaluation import Score
from lmladder.evaluation.exact import LOG_2
from lmladder.reports.page import render
from lmladder.reports.tokens import MARKS, percent, visible

STRONGEST = 8  # bits, from which on colours are alike: one of 256 equally likely


@dataclass(frozen=True)
class Passage:
    """A short text in pieces, and how surprising each was to several models.

    Attributes
    ----------
    pieces : the text in order
    nats : of each piece, by the label of a model
    """

    pieces: Sequence[str]
    nats: Mapping[str, Sequence[float]]


def render_surprisal(model: str, score: Score, pieces: Iterable[tuple[str, float]]) -> str:
    """The page; the same arguments give the same bytes.

    Parameters
    ----------
    model : its label
    score : of the whole text
    pieces : the text in order, with the nats of each piece, which add up to those of the score
    """
    return render(
        "surprisal.html.jinja",
        sorts=False,
        model=model,
        score=score,
        strongest=STRONGEST,
        pieces=[(_level(nats), _told(nats), _shown(text)) for text, nats in pieces],
    )


def coloured(passage: Passage) -> list[tuple[str, str, str]]:
    """(classes, what to tell, text) of each piece; class s2-5 is 5 bits under the third model."""
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
    """Bits per piece of each model."""
    return {model: sum(nats) / len(nats) / LOG_2 for model, nats in passage.nats.items()}


def _level(nats: float) -> int:
    """The whole bits, up to the strongest colour."""
    bits = max(nats, 0.0) / LOG_2
    return int(bits) if bits < STRONGEST else STRONGEST


def _told(nats: float) -> str:
    return f"{percent(math.exp(-nats))} · {nats:.4f} nats · {nats / LOG_2:.2f} bits"


def _shown(text: str) -> str:
    """Text whose line ends can be seen, and whose controls cannot act."""
    return "".join(
        f"{MARKS[each]}\n" if each == "\n" else visible(each, space=" ") for each in text
    )
