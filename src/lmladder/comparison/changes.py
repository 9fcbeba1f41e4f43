"""What is other in one run of the pipeline than in an earlier one, as tables of a page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from lmladder.comparison.bootstrap import LEAST_BLOCKS, interval, resampled_nats
from lmladder.comparison.lines import as_override
from lmladder.comparison.runs import Settings, find_runs
from lmladder.reports import Grid, read_csv
from lmladder.reports.table import by_split, label
from lmladder.scoring.exact import LOG_2

import numpy as np

_Rows: TypeAlias = list[dict[str, Any]]
_Intervals: TypeAlias = Mapping[str, tuple[float, float]]  # nats per token, by model


def changed_settings(before: Settings | None, now: Settings | None) -> Grid:
    """Settings that differ, or that only one of the runs has."""
    if before is None or now is None:
        run = "the other run" if before is None else "this run"
        return Grid(f"Settings: those of {run} are unknown, as no dvc.lock tells them", (), ())
    told = [{key: as_override(value) for key, value in each.items()} for each in (before, now)]
    return changed_facts("Settings", *told)


def changed_facts(what: str, before: Mapping[str, str], now: Mapping[str, str]) -> Grid:
    """Facts that differ, by name; what only one run has is empty in the other."""
    names = [name for name in {**now, **before} if before.get(name) != now.get(name)]
    if not names:
        return Grid(f"{what}: nothing has changed", (), ())
    rows = [(name, before.get(name, ""), now.get(name, "")) for name in names]
    return Grid(what, ("Name", "Before", "Now"), rows, words=3)


def changed_scores(before: Path, now: Path) -> list[Grid]:
    """Bits per byte of each model in two folders of the stage evaluate, a table a split.

    Raises
    ------
    InputError
        If a folder has no perplexity table, or a damaged one.
    """
    tables = [
        {rows[0]["split"]: (heading, rows) for heading, rows in by_split(read_csv(path))}
        for path in (before / "perplexity.csv", now / "perplexity.csv")
    ]
    before_by_split, now_by_split = tables
    intervals = _intervals(before, now)
    return [
        _changed_split(
            heading, rows, *before_by_split.get(split, ("no such split", [])),
            intervals if split == "val" else {},
        )
        for split, (heading, rows) in now_by_split.items()
    ]  # fmt: skip


def _changed_split(
    heading: str, rows: _Rows, old_heading: str, old_rows: _Rows, intervals: _Intervals
) -> Grid:
    """The models whose scores differ; the caption names the others."""
    old, new = ({row["model"]: row["bits_per_byte"] for row in each} for each in (old_rows, rows))
    rate = rows[0]["tokens"] / rows[0]["bytes"] / LOG_2
    caption = f"Bits per byte. {heading}"
    if old_heading != heading:
        caption += f"; before: {old_heading}"
    same = [label(model) for model in new if old.get(model) == new[model]]
    if same:
        caption += f". The same: {', '.join(same)}"
    cells = [
        (
            label(model),
            _told(old.get(model), ".4f"),
            _told(new.get(model), ".4f"),
            _told(new[model] - old[model], "+.4f") if model in old and model in new else "",
            _between(*intervals[model], rate) if model in intervals else "",
        )
        for model in {**new, **old}
        if old.get(model) != new.get(model)
    ]
    titles = ["Model", "Before", "Now", "Difference", "95 % interval"]
    shown = len(titles) if any(row[-1] for row in cells) else -1
    return Grid(caption, titles[:shown], [row[:shown] for row in cells])


def _intervals(before: Path, now: Path) -> _Intervals:
    """Of the difference in nats per token, of models that were scored on the same blocks."""
    old, new = ({run.model: run for run in find_runs([each]).runs} for each in (before, now))
    found = {}
    for model in new.keys() & old.keys():
        theirs, ours = old[model].blocks, new[model].blocks
        if theirs is None or ours is None or theirs.text != ours.text:
            continue
        if len(ours.tokens) >= LEAST_BLOCKS:
            nats = np.array([theirs.nats[model], ours.nats[model]])
            scores = resampled_nats(nats, np.array(ours.tokens, dtype=np.float64))
            found[model] = interval(scores[:, 1] - scores[:, 0])
    return found


def _told(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _between(low: float, high: float, rate: float) -> str:
    return f"[{low * rate:+.4f}, {high * rate:+.4f}]"
