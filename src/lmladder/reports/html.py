"""The report: ladder, curves, samples, a passage, attention, the text's facts, the configuration.

Layout and wording are in layout/report.html.jinja.
"""

import math
from collections.abc import Mapping, Sequence

from lmladder.data import CorpusFacts
from lmladder.reports.attention import LEVELS, Attention, head_maps, short_labels
from lmladder.reports.page import Grid, inlined, render
from lmladder.reports.samples import printable
from lmladder.reports.surprisal import STRONGEST, Passage, coloured, mean_bits
from lmladder.reports.table import TITLES, by_split, models_of, shown

import pandas as pd

CONTEXT_PROTOCOL = (
    "Every token of a split is scored exactly once, as the continuation of the text before it. "
    "A model with a limited context reads in overlapping windows, so that no token, not even the "
    "first, is predicted without its past."
)


def render_report(
    *,
    title: str,
    summary: str,
    table: pd.DataFrame,
    figures: Mapping[str, str],
    samples: Mapping[str, str],
    passage: Passage | None,
    attention: Attention | None,
    corpus: CorpusFacts,
    config: str,
    environment: Sequence[Grid] = (),
    protocol: str = CONTEXT_PROTOCOL,
) -> str:
    """The page; the same arguments give the same bytes.

    Parameters
    ----------
    title, summary : the heading, and one sentence under it
    table : of `ladder_table`
    figures : SVGs by their captions, the only argument that is trusted to be markup
    samples : the text of each model; shown in the order of the ladder
    passage : validation text under each model, by its name
    attention : of the Transformer, at a prompt
    corpus : what corpus.json tells
    config : the resolved configuration
    environment : the machine, versions and times
    protocol : how was scored, in a sentence or two
    """
    ladders = [
        (heading, [(shown(row), _share(row, rows)) for row in rows])
        for heading, rows in by_split(table)
    ]
    models = models_of(table)
    if passage is not None:
        nats = passage.nats
        passage = Passage(
            passage.pieces, {m.label: nats[name] for name, m in models.items() if name in nats}
        )
    return render(
        "report.html.jinja",
        sorts=True,
        title=title,
        summary=summary,
        titles=TITLES,
        ladders=ladders,
        figures=inlined(figures),
        samples=[
            (each.label, printable(samples[name]))
            for name, each in models.items()
            if name in samples
        ],
        passage=None if passage is None else coloured(passage),
        passage_models=[]
        if passage is None
        else [(label, f"{bits:.2f}") for label, bits in mean_bits(passage).items()],
        strongest=STRONGEST,
        heads=None if attention is None else head_maps(attention),
        n_layer=0 if attention is None else len(attention.maps),
        tokens=[] if attention is None else short_labels(attention.labels),
        levels=LEVELS,
        corpus=corpus,
        config=config,
        environment=environment,
        protocol=protocol,
    )


def _share(row: Mapping[str, float], rows: list[dict[str, float]]) -> str:
    """The length of a row's bar: its bits per byte, as a share of the worst row's."""
    worst = max(other["bits_per_byte"] for other in rows)
    return f"{row['bits_per_byte'] / worst:.4f}" if 0 < worst < math.inf else "0"
