"""The tables from which figures are drawn, besides the perplexity table.

position.csv and calibration.csv have one row per range and several columns per model. Their values
are rounded once, when a table is made. history.csv and machine.json are written by the stages.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from lmladder.evaluation import BINS, ContextLosses, Reliability
from lmladder.evaluation.truth import Excess
from lmladder.experiments.jobs import MACHINE, read_facts
from lmladder.reports.table import DECIMALS, models_of, read_columns, require_columns
from lmladder.system.arrays import Array
from lmladder.system.errors import InputError
from lmladder.training.history import DIGEST

import numpy as np
import pandas as pd

EXCESS_COLUMNS = {
    each.name: "float64" if each.name not in ("model", "by") else "str" for each in fields(Excess)
}
ERROR = "_standard_error"
TOKENS, CONFIDENCE, ACCURACY = "_tokens", "_confidence", "_accuracy"


def position_table(losses: Mapping[str, ContextLosses]) -> pd.DataFrame:
    """Return the nats per token of each model by the number of tokens of context.

    The ranges are those of the longest context. A model with a shorter context has no values beyond
    it, nor for its last range if that ends within a range of the table.
    """
    longest = max(losses.values(), key=lambda each: int(each.last[-1]))
    columns: dict[str, Array] = {"first": longest.first, "last": longest.last}
    for model, each in losses.items():
        for name, values in ((model, each.nats), (model + ERROR, each.standard_error)):
            columns[name] = pd.Series(values, each.last).reindex(longest.last).to_numpy()
    return pd.DataFrame(columns).round(DECIMALS)


def calibration_table(models: Mapping[str, Reliability]) -> pd.DataFrame:
    """Return the number and the accuracy of each model's predictions by their confidence."""
    edges = np.linspace(0, 1, BINS + 1)
    columns: dict[str, Array] = {"low": edges[:-1], "high": edges[1:]}
    for model, each in models.items():
        columns[model + TOKENS] = each.tokens
        columns[model + CONFIDENCE] = each.confidence
        columns[model + ACCURACY] = each.accuracy
    return pd.DataFrame(columns).round(DECIMALS)


def excess_table(rows: Iterable[Excess]) -> pd.DataFrame:
    """Return the distance of each model from the truth, one row for each group of tokens."""
    table = pd.DataFrame(map(vars, rows), columns=[*EXCESS_COLUMNS]).astype(EXCESS_COLUMNS)
    return table.astype({"tokens": "int64"}).round(DECIMALS)


def excess_of(table: pd.DataFrame, by: str, column: str = "excess") -> dict[str, float]:
    """Return a column of an `excess_table` by model, for a group of tokens without a range."""
    rows = table[table["by"] == by]
    return dict(zip(rows["model"], map(float, rows[column]), strict=True))


def true_calibration(table: pd.DataFrame) -> dict[str, Reliability]:
    """Return the calibration of each model in an `excess_table` against true probabilities."""
    found = {}
    for name, rows in table[table["by"] == "confidence"].groupby("model", sort=False):
        index = np.rint(rows["first"].to_numpy() * BINS).astype(int)
        tokens, confidence, probability = np.zeros(BINS, int), *np.full((2, BINS), np.nan)
        tokens[index], confidence[index] = rows["tokens"], rows["confidence"]
        probability[index] = rows["probability"]
        found[str(name)] = Reliability(tokens, confidence, probability)
    return found


def calibration_errors(table: pd.DataFrame) -> dict[str, float]:
    """Return the expected calibration error of each model in a `calibration_table`."""
    found = reliabilities(table)
    return {name: round(each.expected_calibration_error, DECIMALS) for name, each in found.items()}


def position_models(table: pd.DataFrame) -> list[str]:
    """Return the models of a `position_table`."""
    return [name.removesuffix(ERROR) for name in table.columns if name.endswith(ERROR)]


def reliabilities(table: pd.DataFrame) -> dict[str, Reliability]:
    """Return the predictions of each model in a `calibration_table`."""
    names = [name.removesuffix(ACCURACY) for name in table.columns if name.endswith(ACCURACY)]
    parts = (TOKENS, CONFIDENCE, ACCURACY)
    return {name: Reliability(*(table[name + part].to_numpy() for part in parts)) for name in names}


def read_positions(path: Path) -> pd.DataFrame:
    """Read a `position_table`; InputError if the file is missing or not such a table."""
    table = _read(path, ("first", "last")).round(DECIMALS)  # pandas may read a float one bit off
    for model in position_models(table):
        require_columns(path, table, [model])
    return table


def read_calibration(path: Path) -> pd.DataFrame:
    """Read a `calibration_table`; InputError if the file is missing or not such a table."""
    table = _read(path, ("low", "high")).round(DECIMALS)
    if len(table) != BINS:
        raise InputError(f"{path} must have {BINS} rows, got {len(table)}")
    for name in table.columns[table.columns.str.endswith(ACCURACY)]:
        model = name.removesuffix(ACCURACY)
        require_columns(path, table, [model + TOKENS, model + CONFIDENCE])
    return table


def read_excess(path: Path) -> pd.DataFrame:
    """Read an `excess_table`; InputError if the file is not such a table, or missing."""
    table = read_columns(path, EXCESS_COLUMNS, dtype=EXCESS_COLUMNS)
    if table.drop(columns=["first", "last", "standard_error"]).isna().any(axis=None):
        raise InputError(f"{path}: a value is missing")
    if not table["tokens"].between(1, 2**53).all() or not np.isfinite(table["excess"]).all():
        raise InputError(f"{path}: a number is out of range")
    return table.astype({"tokens": "int64"}).round(DECIMALS)


def read_history(path: Path) -> pd.DataFrame:
    """Read the history.csv of a rung; InputError if it is missing or not such a table."""
    return _read(path, ("tokens", "train_loss", "val_loss"))


def read_histories(table: pd.DataFrame, ladder: Path) -> dict[str, pd.DataFrame]:
    """Read the history.csv of each model of a table that was trained in steps, from a ladder."""
    by_steps = set(table.dropna(subset="steps")["model"])
    return {
        name: read_history(ladder / each.rung / "history.csv")
        for name, each in models_of(table).items()
        if name in by_steps
    }


def read_performance(folder: Path) -> dict[str, float | None]:
    """Read a stage's machine.json; an empty mapping if it is missing or damaged."""
    return read_facts(folder / MACHINE)


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a table that has these columns; all columns but digests must contain numbers."""
    table = read_columns(path, columns, dtype={DIGEST: str})
    for name in table.select_dtypes(exclude="number"):
        if name != DIGEST:
            raise InputError(f"{path}: column {name!r} must contain numbers only")
    return table
