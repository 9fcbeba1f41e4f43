"""The pages: the report, and a text colored by its surprisal.

Layout and wording are in layout/report.html.jinja and layout/surprisal.html.jinja.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lmladder.data import CorpusFacts
from lmladder.evaluation import Score
from lmladder.evaluation.exact import LOG_2
from lmladder.reports.attention import LEVELS, Attention, maps_of
from lmladder.reports.page import drawings, render
from lmladder.reports.table import ladder_grid, models_of, whole
from lmladder.reports.text import MARKS, percent, printable, visible

import pandas as pd
from matplotlib.figure import Figure

STRONGEST = 8  # bits of the strongest color: one of 256 equally likely
UNITS = {"char": "1 character", "byte": "1 byte"}  # of a token, by the name of the tokenizer
UNFOLDED = 3  # samples, of the best models


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


def render_report(
    *,
    title: str,
    summary: str,
    table: pd.DataFrame,
    figures: Iterable[Figure],
    samples: Mapping[str, str],
    passage: Passage | None,
    attention: Attention | None,
    corpus: CorpusFacts,
    seeds: Iterable[int],
    config: str,
) -> str:
    """Return the page; the same arguments give the same bytes.

    Parameters
    ----------
    title, summary : the heading, and one sentence under it
    table : as of `ladder_table`
    figures : their labels are the captions
    samples : the text of each model
    passage : validation text under each model, by its name
    attention : of the first model that has attention
    corpus : content of corpus.json
    seeds : of the rungs
    config : the resolved configuration
    """
    models = models_of(table)
    # From best to worst; the oracle is last.
    order = [*models][::-1]
    order.sort(key=lambda name: models[name].is_oracle)
    # The oracle has the color of text, which differs on light and dark pages.
    bar_colors = {k: "currentColor" if m.is_oracle else m.color for k, m in models.items()}
    passage = passage or Passage((), {})
    readers = {name: passage.nats[name] for name in order if name in passage.nats}
    steps = table.dropna(subset="steps").set_index("label")["steps"].to_dict()
    last = table[table["split"] == table["split"].iloc[-1]]
    return render(
        "report.html.jinja",
        script="page.js",
        title=title,
        summary=summary,
        facts={
            "Text": corpus.name,
            "Unit": f"1 token = {_unit(corpus)}",
            "Seed": ", ".join(map(str, sorted(set(seeds)))),
            "Steps": ", ".join(f"{label} {whole(number)}" for label, number in steps.items()),
        },
        ladder=ladder_grid(table),
        bars=[
            (share, bar_colors[name])
            for name, share in zip(last["model"], _shares(last["bits_per_byte"]), strict=True)
        ],
        figures=drawings(figures),
        samples=[
            (models[each].label, printable(samples[each])) for each in order if each in samples
        ],
        unfolded=UNFOLDED,
        passage=[
            (_level(nats[0]), " ".join(f"{each:.4f}" for each in nats), _shown(text))
            for text, *nats in zip(passage.pieces, *readers.values(), strict=True)
        ],
        readers=[
            (models[name].label, f"{sum(nats) / len(nats) / LOG_2:.2f}", bar_colors[name])
            for name, nats in readers.items()
        ],
        strongest=STRONGEST,
        maps=[] if attention is None else maps_of(attention),
        attention=attention,
        levels=LEVELS,
        corpus=corpus,
        config=config,
    )


def render_surprisal(model: str, score: Score, pieces: Iterable[tuple[str, float]]) -> str:
    """Return the page; the same arguments give the same bytes.

    Parameters
    ----------
    model : its label
    score : of the whole text
    pieces : the text in order, with the nats of each piece, whose sum is that of the score
    """
    shown = [(_level(nats), _tooltip(nats), _shown(text)) for text, nats in pieces]
    return render(
        "surprisal.html.jinja", model=model, score=score, strongest=STRONGEST, pieces=shown
    )


def _unit(corpus: CorpusFacts) -> str:
    tokens = sum(each.tokens for each in corpus.splits.values())
    return UNITS.get(corpus.tokenizer) or f"{corpus.bytes / tokens:.2f} bytes on average"


def _shares(bits: pd.Series) -> list[str]:
    """Return the lengths of bars, as shares of the longest."""
    longest = bits.max() if 0 < bits.max() < math.inf else math.inf
    return [f"{each / longest:.4f}" for each in bits]


def _level(nats: float) -> int:
    """Return the whole bits, at most `STRONGEST`."""
    bits = max(nats, 0.0) / LOG_2
    return int(bits) if bits < STRONGEST else STRONGEST


def _tooltip(nats: float) -> str:
    return f"{percent(math.exp(-nats))} · {nats:.4f} nats · {nats / LOG_2:.2f} bits"


def _shown(text: str) -> str:
    """Return text with visible line ends and harmless control characters."""
    return (MARKS["\n"] + "\n").join(visible(line, space=" ") for line in text.split("\n"))
