"""What `lmladder compare` prints: a comparison of runs as a table or as JSON.

It imports neither pandas nor Matplotlib, which take longer than the comparison itself.
"""

import csv
import io
import json
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from lmladder.experiments import METRICS, Comparison, Configuration
from lmladder.reports.grid import Grid, as_text
from lmladder.system.errors import printable
from lmladder.system.messages import say
from lmladder.system.settings import as_override, dotted

MAX_NAMED = 5  # configurations in a sentence
MEASURED = ("score", "standard_deviation", "difference", "low", "high", "p")


def as_grid(comparison: Comparison) -> Grid:
    """Return the table for people; unknown values are empty."""
    metric, by = METRICS[comparison.metric].capitalize(), comparison.by or ""
    rows = [
        {
            by: by and as_override(each.group),
            "Model": each.model,
            "Settings": each.shown,
            "Rank": _text("{}", each.rank),
            "p": _text("{:.4f}", each.p),
            "Runs": str(len(each.runs)),
            metric.partition(" of ")[0]: _text("{:.4f}", each.score)
            + _text(" ± {:.4f}", each.standard_deviation),
            f"To {comparison.against or 'the best'}": _text("{:+.4f}", each.difference)
            + _text(" [{:+.4f}, {:+.4f}]", each.low, each.high),
        }
        for each in comparison.configurations
    ]
    optional = ("", "Settings", "Rank", "p")
    titles = [each for each in rows[0] if each not in optional or any(row[each] for row in rows)]
    caption = f"{metric}; differences with simultaneous 95% intervals"
    words = sum(title in (by, "Model", "Settings") for title in titles)
    return Grid(caption, titles, [[row[each] for each in titles] for row in rows], words)


def _text(form: str, *values: float | None) -> str:
    """Format values; an empty string if they are unknown."""
    return "" if None in values else form.format(*values)


def finding(comparison: Comparison) -> str:
    """Return a sentence on the lowest score, and what the intervals show of the others."""
    lowest, *others = sorted(comparison.configurations, key=lambda each: each.score)
    judged = [each for each in others if each.low is not None]
    ranked = any(each.rank for each in others)
    if comparison.against is not None:
        lower = [each for each in (lowest, *others) if each.high is not None and each.high < 0]
        end = f"; significantly lower than {comparison.against}: {_names(lower, comparison)}"
    elif lowest.rank == 1:
        end = "; all others are significantly higher"
    elif not judged or (not ranked and any((each.low or 0) > 0 for each in judged)):
        end = "; whether the others are higher by chance cannot be judged" if others else ""
    else:
        equal = [each for each in others if each.rank is None]
        end = f", but these may be as low: {_names(equal, comparison)}"
    metric = METRICS[comparison.metric].partition(",")[0]
    return f"{_names([lowest], comparison)} has the lowest score, {lowest.score:.4f} {metric}{end}."


def _names(several: Sequence[Configuration], comparison: Comparison) -> str:
    """Return the names of configurations in a sentence."""
    if len(several) > MAX_NAMED:
        return f"{len(several)} configurations"
    names = [f"{each.model} {each.shown}".rstrip() for each in several]
    if comparison.by:
        pairs = zip(names, several, strict=True)
        names = [f"{name} {comparison.by}={as_override(each.group)}" for name, each in pairs]
    return ", ".join(names) or "none"


def print_comparison(comparison: Comparison, wanted: str = "text") -> None:
    """Print in one of `FORMATS`, by default for a terminal; notes go to standard error."""
    print(FORMATS[wanted](comparison))
    for note in comparison.notes:
        say(f"note: {note}")


def to_csv(comparison: Comparison) -> str:
    """Return the fields of `to_json`; each setting is a column, unknown values are empty."""
    rows = [dotted(_fields(each)) for each in comparison.configurations]
    file = io.StringIO()
    table = csv.DictWriter(file, dict.fromkeys(chain(*rows)), lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({k: printable(v) if isinstance(v, str) else v for k, v in row.items()})
    return file.getvalue().rstrip("\n")


def to_json(comparison: Comparison) -> str:
    """Return all that the other formats contain, and seeds, folders and settings."""
    configurations = [_fields(each) for each in comparison.configurations]
    table = {**vars(comparison), "of": METRICS[comparison.metric], "configurations": configurations}
    return json.dumps(table, indent=2, default=str)


def _fields(each: Configuration) -> dict[str, Any]:
    """Return a configuration for programs, with rounded values."""
    values = {"model": each.model, **vars(each)}
    del values["runs"], values["names"]
    for name in MEASURED:
        values[name] = None if values[name] is None else round(values[name], 6)
    seeds, folders = [run.seed for run in each.runs], [str(run.path) for run in each.runs]
    return {**values, "seeds": seeds, "folders": folders, "settings": each.settings}


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "text": lambda comparison: as_text(as_grid(comparison), ["Settings"]),
    "csv": to_csv,
    "markdown": lambda comparison: as_grid(comparison).to_markdown().rstrip("\n"),
    "json": to_json,
}
