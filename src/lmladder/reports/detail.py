"""The tables from which figures are drawn, besides the perplexity table.

position.csv and calibration.csv have one row per range and several columns per model. Their values
are rounded once, when a table is made.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields

from lmladder.evaluation import BINS, ContextLosses, Reliability
from lmladder.evaluation.truth import Excess
from lmladder.reports.table import DECIMALS
from lmladder.system.arrays import Array

import numpy as np
import pandas as pd

ERROR = "_standard_error"


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
        columns |= {f"{model}_{name}": values for name, values in vars(each).items()}
    return pd.DataFrame(columns).round(DECIMALS)


def reliabilities(table: pd.DataFrame) -> dict[str, Reliability]:
    """Return the predictions of each model in a `calibration_table`."""
    parts = [each.name for each in fields(Reliability)]
    end = f"_{parts[-1]}"
    names = [name.removesuffix(end) for name in table.columns if name.endswith(end)]
    return {
        name: Reliability(*(table[f"{name}_{part}"].to_numpy() for part in parts)) for name in names
    }


def calibration_errors(table: pd.DataFrame) -> dict[str, float]:
    """Return the expected calibration error of each model in a `calibration_table`."""
    found = reliabilities(table)
    return {name: round(each.expected_calibration_error, DECIMALS) for name, each in found.items()}


def excess_table(rows: Iterable[Excess]) -> pd.DataFrame:
    """Return the distance of each model from the truth, one row for each group of tokens."""
    table = pd.DataFrame(map(vars, rows), columns=[each.name for each in fields(Excess)])
    return table.astype(dict.fromkeys(("first", "last"), "float64")).round(DECIMALS)


def excess_of(table: pd.DataFrame, by: str, column: str = "excess") -> dict[str, float]:
    """Return a column of an `excess_table` by model, for a group of tokens without a range."""
    rows = table[table["by"] == by]
    return dict(zip(rows["model"], map(float, rows[column]), strict=True))


def true_calibration(table: pd.DataFrame) -> dict[str, Reliability]:
    """Return the calibration of each model in an `excess_table` against true probabilities."""
    found = {}
    for name, rows in table[table["by"] == "confidence"].groupby("model", sort=False):
        bins = np.rint(rows["first"] * BINS).astype(int)
        rows = rows.set_index(bins).reindex(range(BINS)).fillna({"tokens": 0})
        parts = ("tokens", "confidence", "probability")
        found[str(name)] = Reliability(*(rows[part].to_numpy() for part in parts))
    return found


def position_models(table: pd.DataFrame) -> list[str]:
    """Return the models of a `position_table`."""
    return [name.removesuffix(ERROR) for name in table.columns if name.endswith(ERROR)]
