"""One self-contained HTML page: a text in which what surprised a model is coloured.

As the report, it loads nothing and runs no script; layout and wording are in surprisal.html.jinja.
"""

import math
from collections.abc import Iterable

from lmladder.reports.html import template
from lmladder.reports.table import label
from lmladder.reports.tokens import MARKS, percent, visible
from lmladder.scoring import Score
from lmladder.scoring.exact import LOG_2

STRONGEST = 8  # bits, from which on colours are alike: one of 256 equally likely


def render_surprisal(model: str, score: Score, pieces: Iterable[tuple[str, float]]) -> str:
    """The page; the same arguments give the same bytes.

    Parameters
    ----------
    model : its name in the table
    score : of the whole text
    pieces : the text in order, with the nats of each piece, which add up to those of the score
    """
    return template("surprisal.html.jinja").render(
        model=label(model),
        score=score,
        strongest=STRONGEST,
        pieces=[(_level(nats), _told(nats), _shown(text)) for text, nats in pieces],
    )


def _level(nats: float) -> int:
    """The whole bits, up to the strongest colour."""
    return min(int(max(nats, 0.0) / LOG_2), STRONGEST)


def _told(nats: float) -> str:
    return f"{percent(math.exp(-nats))} · {nats:.4f} nats · {nats / LOG_2:.2f} bits"


def _shown(text: str) -> str:
    """Text whose line ends can be seen, and whose controls cannot act."""
    return "".join(
        f"{MARKS[each]}\n" if each == "\n" else visible(each, space=" ") for each in text
    )
