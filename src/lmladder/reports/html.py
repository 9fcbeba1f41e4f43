"""The report: table, figures, samples, a passage, attention, facts of the text, configuration.

Layout and wording are in layout/report.html.jinja.
"""

import math
from collections.abc import Mapping, Sequence

from lmladder.data import CorpusFacts
from lmladder.reports.attention import LEVELS, Attention, head_maps
from lmladder.reports.page import Grid, inlined, render
from lmladder.reports.samples import printable
from lmladder.reports.surprisal import STRONGEST, Passage, colored, mean_bits
from lmladder.reports.table import by_split, models_of, shown, titles_of

import pandas as pd

PROTOCOL = (
    "Every token of a split is scored exactly once, as the continuation of the text before it. "
    "A model with a limited context reads overlapping windows, so that every token, including the "
    "first, has context. On crops, windows do not overlap, and each begins with one token of "
    "context, as in the random crops of nanoGPT."
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
    seeds: Sequence[Grid] = (),
    environment: Sequence[Grid] = (),
) -> str:
    """Return the page; the same arguments give the same bytes.

    Parameters
    ----------
    title, summary : the heading, and one sentence under it
    table : as of `ladder_table`
    figures : SVGs by their captions, the only argument that is trusted to be markup
    samples : the text of each model; shown in the order of the table
    passage : validation text under each model, by its name
    attention : of the first model that has attention
    corpus : content of corpus.json
    config : the resolved configuration
    seeds : tables of the ladders in `results/`
    environment : machine, versions and times
    """
    models = models_of(table)
    passage = passage or Passage((), {})
    # The last one is shown first: the best model, not the oracle.
    order = sorted(models, key=lambda name: not models[name].is_oracle)
    nats = {models[name].label: passage.nats[name] for name in order if name in passage.nats}
    passage = Passage(passage.pieces, nats)
    return render(
        "report.html.jinja",
        script="sort.js",
        title=title,
        summary=summary,
        titles=titles_of(table),
        splits=[
            (heading, [(shown(row, titles_of(table)), _share(row, rows)) for row in rows])
            for heading, rows in by_split(table)
        ],
        figures=inlined(figures),
        samples=[
            (each.label, printable(samples[name]))
            for name, each in models.items()
            if name in samples
        ],
        passage=colored(passage),
        passage_models=[(label, f"{bits:.2f}") for label, bits in mean_bits(passage).items()],
        strongest=STRONGEST,
        heads=None if attention is None else head_maps(attention),
        attention=attention,
        levels=LEVELS,
        corpus=corpus,
        config=config,
        seeds=seeds,
        environment=environment,
        protocol=PROTOCOL,
    )


def _share(row: Mapping[str, float], rows: list[dict[str, float]]) -> str:
    """Return the length of a row's bar: its bits per byte, as a share of the largest."""
    largest = max(other["bits_per_byte"] for other in rows)
    return f"{row['bits_per_byte'] / largest:.4f}" if 0 < largest < math.inf else "0"
