"""The course of a run, as history.csv tells it: a line before the first step, one an evaluation."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from lmladder.training.settings import TrainingSettings

DIGEST = "weights_digest"  # of the parameters after that step, to tell where two runs part
COLUMNS = (
    "step", "tokens", "train_loss", "val_loss", "learning_rate_factor", "gradient_norm", DIGEST
)  # fmt: skip
WAITED = "evaluations_without_improvement"  # a column more where there is patience

Row: TypeAlias = dict[str, Any]
Measured: TypeAlias = dict[str, float]  # in one step


def columns(training: TrainingSettings, groups: Iterable[str]) -> tuple[str, ...]:
    """Those of every run, and what these settings ask for: norms of groups, patience."""
    norms = (f"{of_group(group)}.{kind}" for group in groups for kind in ("mean", "max"))
    return (*COLUMNS, *norms, *([] if training.patience is None else [WAITED]))


def of_group(group: str) -> str:
    """What the gradient norm of a group of parameters is called."""
    return f"gradient_norm.{group}"


def summary(steps: Sequence[Measured]) -> Row:
    """What a line tells of the steps since the last one.

    train_loss is their mean, gradient_norm their maximum. Of each group of parameters there are
    mean and maximum over those steps in which it was monitored.
    """
    series: dict[str, list[float]] = {}
    for measured in steps:
        for name, value in measured.items():
            series.setdefault(name, []).append(value)
    losses, norms = series.pop("train_loss"), series.pop("gradient_norm")
    row: Row = {"train_loss": mean(losses), "gradient_norm": max(norms)}
    for name, values in series.items():
        row |= {f"{name}.mean": mean(values), f"{name}.max": max(values)}
    return row


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def waited(scores: Iterable[float], min_improvement: float) -> int:
    """How many scores ago the last one was that improved on the best before it.

    An improvement is less by at least min_improvement, and the first score is one.
    """
    best, count = math.inf, 0
    for score in scores:
        if score < best and best - score >= min_improvement:
            best, count = score, 0
        else:
            count += 1
    return count


def as_csv(history: Iterable[Row], names: Sequence[str]) -> str:
    """The lines, with a head of column names; what a line does not know is empty."""
    lines = [",".join(names)]
    for row in history:
        lines.append(",".join(_cell(row.get(name)) for name in names))
    return "\n".join(lines) + "\n"


def _cell(value: float | str | None) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
