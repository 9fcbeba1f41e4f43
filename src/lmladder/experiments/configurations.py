"""Configurations: runs that differ only in seed, each compared with the best or with a base."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from lmladder.experiments import intervals
from lmladder.experiments.runs import DIGEST, METRICS, Run
from lmladder.system.arrays import FloatArray
from lmladder.system.errors import InputError
from lmladder.system.settings import as_override, did_you_mean

import numpy as np

SAME = 1e-6  # the precision to which scores are rounded


@dataclass(eq=False)
class Configuration:
    """Runs of one model with the same settings, in the order of their seeds.

    Attributes
    ----------
    score : mean over the runs
    standard_deviation : over the runs; None for one run
    shown : the settings in which configurations of the table differ, as text
    names : its settings, and what was given to Hydra for any run of it, as "key=value"
    group : value of the setting by which configurations are grouped
    difference : to the configuration with the best score, or to the base; None for that one, and on
        other data
    low, high : bounds of the difference to the best of the other configurations, or to the base;
        all bounds of a table hold simultaneously with 95% confidence; None if they are unknown
    p : adjusted p-value of the difference to the base
    rank : one more than the number of configurations that are significantly better; None without
        bounds, if that is none but others may be as good, and in a table whose lowest score has no
        bounds, as it may be better than all
    """

    runs: tuple[Run, ...]
    score: float
    standard_deviation: float | None
    shown: str = ""
    names: frozenset[str] = frozenset()
    group: Any = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    rank: int | None = None

    @property
    def model(self) -> str:
        return self.runs[0].model

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.runs[0].settings)


@dataclass(frozen=True)
class Comparison:
    """A table of configurations.

    Attributes
    ----------
    metric : name of the scores, of `METRICS`
    by : key of the setting by which configurations are grouped
    against : names the base, with which all others are compared; None: they are with the best
    configurations : in the order of the table
    notes : lines about runs that are left out or not comparable
    common : the settings that are the same in all configurations that have them, as text
    """

    metric: str
    by: str | None
    configurations: tuple[Configuration, ...]
    notes: tuple[str, ...]
    common: Mapping[str, str]
    against: str | None = None


def compare(
    runs: Sequence[Run],
    *,
    metric: str | None = None,
    by: str | None = None,
    notes: Iterable[str] = (),
    against: str | None = None,
) -> Comparison:
    """Return configurations from best to worst, or ordered by a setting first.

    Parameters
    ----------
    metric : of `METRICS`; None for the first of them that a run has
    by : dotted key of a setting; runs without it are left out
    notes : previous notes
    against : a setting or an override, such as "recipe=base", of the configuration with which those
        of the same model are compared; the table has no others

    Raises
    ------
    InputError
        If no run has the metric or the setting, or `against` is not the name of one configuration.
    """
    available = [name for name in METRICS if any(name in run.scores for run in runs)]
    metric = available[0] if metric is None else metric
    if metric not in available:
        raise InputError(f"no run has a metric {metric!r}; choose from {', '.join(available)}")
    notes = list(notes)
    scored = [run for run in runs if metric in run.scores]
    # A rung that was scored with the ladder beside it is not missing.
    known = {(run.path.parent, run.model) for run in scored}
    others = [
        each
        for each in runs
        if metric not in each.scores
        and not known & {(above, each.model) for above in each.path.parents[:2]}
    ]
    if others:
        names = ", ".join(sorted({name for run in others for name in run.scores}))
        notes.append(f"left out: {_count(len(others), 'run')} without {metric}, which have {names}")
    if by is not None:
        scored = _with_setting(by, scored, notes)
    made = _configurations(scored, metric, notes)
    base = None
    if against is not None:
        base = _base(made, against)
        made = [each for each in made if each.model == base.model]
    _set_differences(made, metric, notes, base)
    common = _label(made, by, against)
    if by is not None:
        made.sort(key=lambda each: _natural(each.group))  # stable: by score within a group
    return Comparison(metric, by, tuple(made), tuple(notes), common, against)


def _with_setting(key: str, runs: Sequence[Run], notes: list[str]) -> list[Run]:
    """Return the runs that have a setting; InputError if there are none."""
    chosen = [run for run in runs if key in run.settings]
    if not chosen:
        hint = did_you_mean(key, sorted({name for run in runs for name in run.settings}))
        raise InputError(f"no run has a setting {key!r} that affects its score; {hint}")
    if len(chosen) < len(runs):
        notes.append(f"left out: {_count(len(runs) - len(chosen), 'run')} without {key}")
    return chosen


def _configurations(runs: Sequence[Run], metric: str, notes: list[str]) -> list[Configuration]:
    """Return one configuration per model and settings, ordered by score."""
    grouped: dict[str, list[Run]] = {}
    for run in runs:
        identity = json.dumps([run.model, run.settings], sort_keys=True)
        grouped.setdefault(identity, []).append(run)
    made = []
    for identity, same in grouped.items():
        distinct = _one_per_seed(same, metric, notes)
        scores = [run.scores[metric] for run in distinct]
        deviation = stdev(scores) if len(scores) > 1 else None
        each = Configuration(tuple(distinct), fmean(scores), deviation)
        each.names = frozenset().union(*(run.overrides for run in same))
        each.names |= {f"{key}={as_override(value)}" for key, value in each.settings.items()}
        made.append((identity, each))
    return [each for _, each in sorted(made, key=lambda pair: (pair[1].score, pair[0]))]


def _one_per_seed(runs: Sequence[Run], metric: str, notes: list[str]) -> list[Run]:
    """Return one run per seed, with blocks if possible; note those of a seed with other scores."""
    by_seed: dict[int, Run] = {}
    for run in sorted(runs, key=lambda run: not run.losses):
        kept = by_seed.setdefault(run.seed, run)
        score, other = kept.scores[metric], run.scores[metric]
        if abs(score - other) > SAME:
            notes.append(
                f"left out: {run.path}, as {kept.path} has the same {run.model}, settings and seed "
                f"({score:.6f}, not {other:.6f})"
            )
    return [by_seed[seed] for seed in sorted(by_seed)]


# --- Differences ----------------------------------------------------------------------------------


def _base(made: Sequence[Configuration], against: str) -> Configuration:
    """Return the configuration with this name that others can be compared with.

    Models with one configuration, such as count models in a sweep of another rung, do not count.
    """
    counts = Counter(each.model for each in made)
    several = [each for each in made if counts[each.model] > 1]
    found = [each for each in several if against in each.names]
    if len(found) == 1:
        return found[0]
    if found:
        reason = f"{len(found)} configurations; name folders of one text and model"
    else:
        key = f"{against.partition('=')[0]}="
        names = {name for each in several for name in each.names if name.startswith(key)}
        choices = ", ".join(sorted(names)) or "settings and overrides of the sweep, as KEY=VALUE"
        reason = f"no configuration; choose from {choices}"
    raise InputError(f"--against {against!r} is the name of {reason}")


def _set_differences(
    made: Sequence[Configuration], metric: str, notes: list[str], base: Configuration | None
) -> None:
    """Set differences to the base or the best, bounds, ranks and p-values, if they are known."""
    judged = [each for each in made if _reason_without_interval(each, each) is None]
    best = base or (judged[0] if judged else made[0])
    judged = [each for each in judged if _text(each) == _text(best)]
    if len(judged) < 2 or best not in judged:
        best, judged = base or made[0], []
    reasons = Counter(_reason_without_interval(best, each) for each in made if each not in judged)
    notes += [
        f"{_count(count, 'configuration')} without an interval and a rank: {reason}"
        for reason, count in reasons.items()
        if reason is not None and len(made) > 1
    ]
    if base is None and judged and best is not made[0]:
        notes.append(
            f"as the lowest score has no interval, there are no ranks, and differences are to "
            f"{best.model}"
        )
    for each in made:
        if each is not best and None is not _text(each) == _text(best):
            each.difference = each.score - best.score
    scores = np.array([each.score for each in judged])
    seeds = np.array([float(len(each.runs)) for each in judged])
    variances, shared = _over_seeds(judged, metric)
    if not judged:
        return
    drawn, blocks = _resampled(judged, metric)
    to_base = base is not None
    draws, errors = intervals.draw_errors(drawn, blocks, variances, seeds, shared, to_base=to_base)
    if base is not None:
        margins, p_values = intervals.against_base(scores, judged.index(base), draws, errors)
        for each, margin, p in zip(judged, margins.tolist(), p_values.tolist(), strict=True):
            if each is not base:
                difference, margin = each.score - base.score, max(margin, SAME)
                each.low, each.high, each.p = difference - margin, difference + margin, p
    else:
        margins = intervals.critical_value(draws, errors) * errors
        bounds = intervals.against_best(scores, np.maximum(margins, SAME))
        certain = (bounds[2] == 0).sum() == 1 and len(judged) == len(made)
        for each, low, high, better in zip(judged, *map(np.ndarray.tolist, bounds), strict=True):
            if made[0] in judged:
                each.rank = better + 1 if better or certain else None
            if each is not best:
                each.low, each.high = low, high


def _over_seeds(judged: Sequence[Configuration], metric: str) -> tuple[FloatArray, float]:
    """Return the variances over seeds, of each and of what all with the same seeds share."""
    variances = np.array([each.standard_deviation or 0.0 for each in judged]) ** 2
    variances[variances < SAME**2] = 0  # rounding
    random = [each for each, variance in zip(judged, variances, strict=True) if variance]
    seeds = {tuple(run.seed for run in each.runs) for each in random}
    if len(random) < 2 or len(seeds) > 1:
        return variances, 0.0
    scores = [[run.scores[metric] for run in each.runs] for each in random]
    own, shared = intervals.over_seeds(np.array(scores))
    variances[variances > 0] = np.maximum(own, SAME**2)
    return variances, shared


def _text(each: Configuration) -> tuple[str, tuple[int, ...], tuple[int, ...]] | None:
    """Return the blocks on which all runs were scored; None if they differ or are unknown."""
    texts = {run.text if run.losses else None for run in each.runs}
    return texts.pop() if len(texts) == 1 else None


def _reason_without_interval(best: Configuration, each: Configuration) -> str | None:
    """Return why there is no interval of the difference between the two; None if there is one."""
    text, other = _text(each), _text(best)
    if text is None or other is None:
        return "no scores of the same blocks"
    if text[0] != other[0]:
        return "scored on other data than the best, or with another tokenizer"
    if text != other:
        return "scored on other parts of the text than the best"
    if len(text[2]) < intervals.MIN_BLOCKS:
        return f"the text has fewer than {intervals.MIN_BLOCKS} blocks"
    if len(each.runs) == 1 and not each.runs[0].deterministic:
        return "one seed, so the variance over seeds is unknown; run at least three"
    return None


def _resampled(judged: Sequence[Configuration], metric: str) -> tuple[FloatArray, int]:
    """Return the mean score of each in each resampled text, and the number of blocks."""
    runs = [run for each in judged for run in each.runs]
    counts = np.array([len(each.runs) for each in judged])

    def means(of_runs: FloatArray) -> FloatArray:
        return np.add.reduceat(of_runs, np.cumsum(counts) - counts) / counts[:, None]

    lengths = np.array(runs[0].text[2], np.float64)
    losses = np.array([run.losses for run in runs])
    if metric == "perplexity":  # the mean of perplexities is not the perplexity of means
        return means(np.exp(intervals.resampled_nats(losses, lengths)).T).T, len(lengths)
    scores = intervals.resampled_nats(means(losses), lengths)
    if metric == "bits_per_byte":  # on one text
        largest = max((run.scores for run in runs), key=lambda each: each[metric])
        scores *= largest[metric] / (largest["nats_per_token"] or 1)
    return scores, len(lengths)


# --- Text -----------------------------------------------------------------------------------------


def _label(made: Sequence[Configuration], by: str | None, against: str | None) -> dict[str, str]:
    """Set the values of `by` and the settings that differ; return the settings in common.

    Where the base is named by an override that is not a setting, that override is shown instead.
    """
    values: dict[str, set[str]] = {}
    for each in made:
        each.group = each.settings.get(by or "")
        for key, value in each.settings.items():
            values.setdefault(key, set()).add(as_override(value))
    varied = {key for key, found in values.items() if len(found) > 1} - {by}
    for keys in (varied - {DIGEST}, varied):  # the digest only where it is needed
        for each in made:
            each.shown = _shown(each.runs[0], keys)
        if len({(each.model, str(each.group), each.shown) for each in made}) == len(made):
            break
    key = (against or "").partition("=")[0]
    for each in made if against and key not in values else []:
        each.shown = " ".join(sorted(name for name in each.names if name.startswith(f"{key}=")))
    return {key: min(found) for key, found in values.items() if len(found) == 1}


def _shown(run: Run, varied: Set[str]) -> str:
    """Return settings as overrides, without the section of the rung, which the model implies."""
    return " ".join(
        f"{key.removeprefix(f'{run.section}.')}={as_override(value)}"
        for key, value in run.settings.items()
        if key in varied
    )


def _natural(value: Any) -> tuple[bool, float, str]:
    """Return a key that sorts numbers by size, then text."""
    number = isinstance(value, int | float) and not math.isnan(value)
    return not number, value if number else 0, "" if number else str(value)


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
