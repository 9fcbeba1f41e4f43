"""The history of a run, as in history.csv: a row before the first step, then one per evaluation."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any, TypeAlias

from lmladder.training.settings import TrainingSettings

DIGEST = "weights_digest"  # of the parameters after that step, to find where two runs diverge
COLUMNS = (
    "step", "tokens", "train_loss", "val_loss", "learning_rate_factor", "gradient_norm", DIGEST
)  # fmt: skip
PATIENCE = "evaluations_without_improvement"  # an additional column if there is patience
GROUP_NORM = "gradient_norm."  # followed by the name of a group of parameters

Row: TypeAlias = dict[str, Any]
Measured: TypeAlias = dict[str, float]  # in one step


def columns(training: TrainingSettings, groups: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of a run: those of every run, norms of groups, patience."""
    norms = (f"{GROUP_NORM}{group}.{kind}" for group in groups for kind in ("mean", "max"))
    return (*COLUMNS, *norms, *([] if training.patience is None else [PATIENCE]))


def summary(steps: Iterable[Measured]) -> Row:
    """Return the columns of a row that describe the steps since the row before it.

    train_loss is their mean, gradient_norm their maximum. Each group of parameters has the mean and
    the maximum over the steps in which it was monitored.
    """
    series: dict[str, list[float]] = {}
    for measured in steps:
        for name, value in measured.items():
            series.setdefault(name, []).append(value)
    losses, norms = series.pop("train_loss"), series.pop("gradient_norm")
    row: Row = {"train_loss": fmean(losses), "gradient_norm": max(norms)}
    for name, values in series.items():
        row |= {f"{name}.mean": fmean(values), f"{name}.max": max(values)}
    return row


def evaluations_without_improvement(losses: Iterable[float], min_improvement: float) -> int:
    """Return the number of losses since the last one that improved on the best before it.

    An improvement is less by at least `min_improvement`. The first loss is one.
    """
    best, count = math.inf, 0
    for loss in losses:
        if loss < best and best - loss >= min_improvement:
            best, count = loss, 0
        else:
            count += 1
    return count


def as_csv(history: Iterable[Row], names: Sequence[str]) -> str:
    """Return the rows as CSV with a header; a value that a row does not have is empty."""
    rows = ([_cell(row.get(name)) for name in names] for row in history)
    return "".join(",".join(cells) + "\n" for cells in [names, *rows])


def _cell(value: float | str | None) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
