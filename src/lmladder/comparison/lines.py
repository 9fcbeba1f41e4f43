"""Lines of a comparison: runs that differ only in seed, each held against the best line."""

import json
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from lmladder.arrays import FloatArray
from lmladder.comparison.bootstrap import (
    LEAST_BLOCKS,
    interval,
    other_seeds,
    resampled_nats,
)
from lmladder.comparison.runs import DIGEST, METRICS, Run, rung_of
from lmladder.errors import InputError

import numpy as np

DEFAULT_METRICS = ("bits_per_byte", "nats_per_token", "val_nats")  # the first that any run has
SAME = 1e-6  # to which scores are rounded


@dataclass(frozen=True)
class Line:
    """Runs of one model with the same settings, in the order of their seeds.

    Attributes
    ----------
    shown : those settings in which lines of the table differ, as text
    group : value of the key by which lines are grouped, if they are
    score : mean over the runs
    deviation : standard deviation over the runs; None of one
    difference : to the best line; None for that one, or where the two cannot be paired
    low, high : bounds of the difference, at 95 %; None as `difference`
    rank : place by score of the best line, and of lines whose difference is real; otherwise None
    """

    runs: tuple[Run, ...]
    score: float
    deviation: float | None
    shown: str = ""
    group: Any = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    rank: int | None = None

    @property
    def model(self) -> str:
        return self.runs[0].model

    def scores(self, metric: str) -> list[float]:
        return [run.scores[metric] for run in self.runs]

    @property
    def identity(self) -> str:
        """The same for the same model and settings, whatever else is compared."""
        return _identity(self.runs[0])


@dataclass(frozen=True)
class Comparison:
    """A table: its lines in order, which score they have, and what there is to say beside."""

    metric: str
    by: str | None
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


def compare(
    runs: Sequence[Run],
    *,
    metric: str | None = None,
    by: str | None = None,
    notes: Iterable[str] = (),
) -> Comparison:
    """Lines from best to worst, or by a setting and then so.

    Parameters
    ----------
    metric : of `METRICS`; None: the first of `DEFAULT_METRICS` that a run has
    by : dotted key of a setting; runs without it are left out
    notes : what was to say before

    Raises
    ------
    InputError
        If the metric is unknown, or no run has it or the setting.
    """
    metric = _known(metric, runs)
    notes = list(notes)
    scored = [run for run in runs if metric in run.scores]
    # A rung beside the ladder that scored it is no loss.
    there = {(run.path.parent, run.model) for run in scored}
    others = [
        run
        for run in runs
        if metric not in run.scores and (run.path.parent, run.model) not in there
    ]
    if others:
        names = ", ".join(sorted({name for run in others for name in run.scores}))
        notes.append(f"left out: {_count(others, 'run')} without {metric}, which have {names}")
    if by is not None:
        scored = _with_setting(by, scored, notes)
    lines = _against_best(_lines(scored, metric, notes), metric, notes)
    varied = _varied(lines)
    lines = [
        replace(line, shown=_told(line.runs[0], varied - {by}), group=_setting(line.runs[0], by))
        for line in lines
    ]
    if by is not None:
        lines.sort(key=lambda line: _natural(line.group))  # stable: by score within a group
    return Comparison(metric, by, tuple(lines), tuple(notes))


def _known(metric: str | None, runs: Sequence[Run]) -> str:
    available = [name for name in METRICS if any(name in run.scores for run in runs)]
    if metric is None:
        return next(name for name in DEFAULT_METRICS if name in available)
    if metric not in METRICS:
        raise InputError(f"unknown metric {metric!r}; choose from {', '.join(METRICS)}")
    if metric not in available:
        raise InputError(f"no run has {metric}; there is {', '.join(available)}")
    return metric


def _with_setting(key: str, runs: Sequence[Run], notes: list[str]) -> list[Run]:
    kept = [run for run in runs if run.settings is not None and key in run.settings]
    if not kept:
        keys = sorted({name for run in runs for name in run.settings or ()})
        leaf = key.rpartition(".")[2]
        near = [name for name in keys if leaf in name] or [name for name in keys if "." in name]
        known = f"; there is {', '.join(near[:5])}" if near else ""
        raise InputError(f"no run has a setting {key!r} that decides its score{known}")
    if len(kept) < len(runs):
        notes.append(f"left out: {_count(len(runs) - len(kept), 'run')} without {key}")
    return kept


def _lines(runs: Sequence[Run], metric: str, notes: list[str]) -> list[Line]:
    """One a model and setting, by score."""
    grouped: dict[str, list[Run]] = {}
    for run in runs:
        grouped.setdefault(_identity(run), []).append(run)
    unknown = sum(run.settings is None for run in runs)
    if unknown:
        notes.append(f"{_count(unknown, 'run')} without known settings, each a line of its own")
    lines = []
    for same in grouped.values():
        kept = _once_a_seed(same, metric, notes)
        scores = [run.scores[metric] for run in kept]
        deviation = statistics.stdev(scores) if len(scores) > 1 else None
        lines.append(Line(tuple(kept), statistics.fmean(scores), deviation))
    return sorted(lines, key=lambda line: (line.score, line.identity))


def _identity(run: Run) -> str:
    settings = {"folder": str(run.path)} if run.settings is None else run.settings
    return json.dumps([run.model, settings], sort_keys=True, default=str)


def _once_a_seed(runs: Sequence[Run], metric: str, notes: list[str]) -> list[Run]:
    """The same run in two folders counts once; that it gave two scores is worth a note."""
    by_seed: dict[int | None, Run] = {}
    for run in sorted(runs, key=lambda run: run.blocks is None):  # with blocks first
        kept = by_seed.setdefault(run.seed, run)
        if abs(kept.scores[metric] - run.scores[metric]) > SAME:
            notes.append(
                f"left out: {run.path}, as {kept.path} has the same {run.model}, settings and seed "
                f"({kept.scores[metric]:.6f}, not {run.scores[metric]:.6f})"
            )
    return [by_seed[seed] for seed in sorted(by_seed, key=lambda seed: (seed is None, seed))]


# --- Differences ----------------------------------------------------------------------------------


def _against_best(lines: Sequence[Line], metric: str, notes: list[str]) -> list[Line]:
    """Each line with its difference to the first, where both were scored on the same blocks."""
    best, *others = lines
    reasons: Counter[str] = Counter()
    paired = []
    for line in others:
        reason = _unpaired(best, line)
        if reason is None:
            paired.append(line)
        else:
            reasons[reason] += 1
    notes += [
        f"{_count(count, 'line')} without a difference: {why}" for why, count in reasons.items()
    ]
    if not paired:
        return [replace(best, rank=1), *others]
    resampled = _resampled([best, *paired], metric)
    of_best = resampled[best.identity]
    compared = [replace(best, rank=1)]
    for place, line in enumerate(others, 2):
        if line.identity in resampled:
            seeds = other_seeds(line.scores(metric), best.scores(metric), line.identity)
            low, high = interval(resampled[line.identity] - of_best + seeds)
            rank = place if low > 0 or high < 0 else None
            difference = line.score - best.score
            line = replace(line, difference=difference, low=low, high=high, rank=rank)
        compared.append(line)
    return compared


def _unpaired(best: Line, line: Line) -> str | None:
    """Why two lines cannot be paired; None if they can."""
    ours, theirs = ([run.blocks for run in each.runs] for each in (best, line))
    if None in ours:
        return "the best line has no scores of blocks"
    if None in theirs:
        return "no scores of blocks"
    texts = {blocks.text for blocks in (*ours, *theirs) if blocks is not None}
    if len({data for data, *_ in texts}) > 1:
        return "scored on other data than the best, or with another tokenizer"
    if len(texts) > 1:
        return "scored on other parts of the text than the best"
    if any(len(tokens) < LEAST_BLOCKS for _, _, tokens in texts):
        return f"the text has fewer than {LEAST_BLOCKS} blocks"
    return None


def _resampled(lines: Sequence[Line], metric: str) -> dict[str, FloatArray]:
    """The mean score of each line, by identity, in each resampled text."""
    runs = [run for line in lines for run in line.runs]
    blocks = [run.blocks for run in runs if run.blocks is not None]
    nats = np.array([each.nats[run.model] for each, run in zip(blocks, runs, strict=True)])
    scores = resampled_nats(nats, np.array(blocks[0].tokens, dtype=np.float64))
    scores = _from_nats(metric, runs[0].bits_per_nat)(scores)
    ends = np.cumsum([len(line.runs) for line in lines])
    return {
        line.identity: scores[:, end - len(line.runs) : end].mean(axis=1)
        for line, end in zip(lines, ends, strict=True)
    }


def _from_nats(metric: str, bits_per_nat: float | None) -> Callable[[FloatArray], FloatArray]:
    """From nats per token to the metric, on one and the same text."""
    if metric == "perplexity":
        return np.exp
    rate = bits_per_nat if metric == "bits_per_byte" and bits_per_nat else 1.0
    return lambda nats: nats * rate


# --- Words ----------------------------------------------------------------------------------------


def _varied(lines: Sequence[Line]) -> Set[str | None]:
    """The settings in which those lines differ that have them."""
    values: dict[str, set[Any]] = {}
    for line in lines:
        for key, value in (line.runs[0].settings or {}).items():
            values.setdefault(key, set()).add(value)
    varied = {key for key, found in values.items() if len(found) > 1}
    made = [key for key in varied if key.startswith(("data.", "tokenizer.")) and key != DIGEST]
    texts: dict[Any, set[Any]] = {}  # digests, by the settings that the texts were made with
    for settings in (line.runs[0].settings or {} for line in lines):
        texts.setdefault(tuple(map(settings.get, made)), set()).add(settings.get(DIGEST))
    if all(len(digests) == 1 for digests in texts.values()):
        varied.discard(DIGEST)  # as no file has changed under its name
    return varied


def _setting(run: Run, key: str | None) -> Any:
    return None if key is None or run.settings is None else run.settings[key]


def _told(run: Run, varied: Set[str | None]) -> str:
    """Those settings as overrides; without the name of the rung, as the model's tells it."""
    if run.settings is None:
        return str(run.path)
    rung = f"{rung_of(run.model)}."
    return " ".join(
        f"{key.removeprefix(rung)}={as_override(value)}"
        for key, value in run.settings.items()
        if key in varied
    )


def as_override(value: Any) -> str:
    """A setting as Hydra's overrides write it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _natural(value: Any) -> tuple[int, float, str]:
    """Numbers by size, then text."""
    if isinstance(value, int | float) and not math.isnan(value):
        return 0, float(value), ""
    return 1, 0.0, str(value)


def _count(things: int | Sequence[Any], noun: str) -> str:
    count = things if isinstance(things, int) else len(things)
    return f"{count} {noun}{'' if count == 1 else 's'}"
