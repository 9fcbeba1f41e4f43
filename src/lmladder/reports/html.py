"""One self-contained HTML page: ladder, curves, samples, the text's facts and the configuration.

It loads nothing, runs no script, and its content policy forbids both, should a text that a model
made up ever look like one. Layout and wording are in report.html.jinja.
"""

import math
from collections.abc import Mapping
from importlib.resources import files

from lmladder.reports.samples import by_ladder, printable
from lmladder.reports.table import TITLES, by_split, label, shown
from lmladder.text import CorpusFacts

import pandas as pd
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

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
    figure: str | None,
    samples: Mapping[str, str],
    corpus: CorpusFacts,
    config: str,
    protocol: str = CONTEXT_PROTOCOL,
) -> str:
    """The page; the same arguments give the same bytes.

    Parameters
    ----------
    title, summary : the heading, and one sentence under it
    table : of `ladder_table`
    figure : the SVG of `loss_curves`, the only argument that is trusted to be markup
    samples : the text of each model; shown in the order of the ladder
    corpus : what corpus.json tells
    config : the resolved configuration as YAML
    protocol : how was scored, in a sentence or two
    """
    ladders = [
        (heading, [(shown(row), _share(row, rows)) for row in rows])
        for heading, rows in by_split(table)
    ]
    ordered = by_ladder(samples, list(dict.fromkeys(table["model"])))
    return template("report.html.jinja").render(
        title=title,
        summary=summary,
        titles=TITLES,
        ladders=ladders,
        figure=None if figure is None else Markup(figure),
        samples=[(label(model), printable(text)) for model, text in ordered.items()],
        corpus=corpus,
        config=config,
        protocol=protocol,
    )


def template(name: str) -> Template:
    """The page layout of that name beside this module; what it is given is escaped."""
    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(files(__package__).joinpath(name).read_text(encoding="utf-8"))


def _share(row: Mapping[str, float], rows: list[dict[str, float]]) -> str:
    """The length of a row's bar: its bits per byte, as a share of the worst row's."""
    worst = max(other["bits_per_byte"] for other in rows)
    return f"{row['bits_per_byte'] / worst:.4f}" if 0 < worst < math.inf else "0"
