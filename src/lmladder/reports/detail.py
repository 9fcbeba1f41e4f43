"""What pictures are drawn from, beside the perplexity table.

position.csv and calibration.csv have a row a range and columns for each model. Their numbers are
rounded once, when a table is made. history.csv and performance.json are what other stages leave.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from lmladder.evaluation import BINS, ContextLosses, Reliability
from lmladder.experiments.jobs import PERFORMANCE
from lmladder.reports.table import DECIMALS, models_of
from lmladder.system.arrays import Array
from lmladder.system.errors import InputError
from lmladder.training.history import DIGEST

import numpy as np
import pandas as pd

ERROR = "_standard_error"
TOKENS, CONFIDENCE, ACCURACY = "_tokens", "_confidence", "_accuracy"


def position_table(losses: Mapping[str, ContextLosses]) -> pd.DataFrame:
    """Nats per token of each model by how many tokens stood before.

    The ranges are those of the longest context. A model that reads less has no numbers beyond; nor
    has it one for its last range, where that ends within one of the table's.
    """
    longest = max(losses.values(), key=lambda each: int(each.last[-1]))
    columns: dict[str, Array] = {"first": longest.first, "last": longest.last}
    for model, each in losses.items():
        for name, values in ((model, each.nats), (model + ERROR, each.standard_error)):
            columns[name] = pd.Series(values, each.last).reindex(longest.last).to_numpy()
    return pd.DataFrame(columns).round(DECIMALS)


def calibration_table(models: Mapping[str, Reliability]) -> pd.DataFrame:
    """Of each model's predictions, by how sure they were, how many there are and came true."""
    edges = np.linspace(0, 1, BINS + 1)
    columns: dict[str, Array] = {"low": edges[:-1], "high": edges[1:]}
    for model, each in models.items():
        columns[model + TOKENS] = each.tokens
        columns[model + CONFIDENCE] = each.confidence
        columns[model + ACCURACY] = each.accuracy
    return pd.DataFrame(columns).round(DECIMALS)


def calibration_errors(table: pd.DataFrame) -> dict[str, float]:
    """The expected calibration error of each model in a `calibration_table`."""
    found = reliabilities(table)
    return {name: round(each.expected_calibration_error, DECIMALS) for name, each in found.items()}


def position_models(table: pd.DataFrame) -> list[str]:
    """The models that a table of `position_table` tells of."""
    return [name.removesuffix(ERROR) for name in table.columns if name.endswith(ERROR)]


def calibration_models(table: pd.DataFrame) -> list[str]:
    """The models that a table of `calibration_table` tells of."""
    return [name.removesuffix(ACCURACY) for name in table.columns if name.endswith(ACCURACY)]


def reliabilities(table: pd.DataFrame) -> dict[str, Reliability]:
    """What a table of `calibration_table` tells of each model."""
    return {
        model: Reliability(
            table[model + TOKENS].to_numpy(),
            table[model + CONFIDENCE].to_numpy(),
            table[model + ACCURACY].to_numpy(),
        )
        for model in calibration_models(table)
    }


def read_positions(path: Path) -> pd.DataFrame:
    """The table of `position_table` in a file; InputError if there is none, or it is another."""
    table = _read(path, ("first", "last")).round(DECIMALS)  # pandas may read a float one bit off
    for model in position_models(table):
        _require(path, table, [model])
        if not (table[model].max() < math.inf and table[model].min() >= 0):
            raise InputError(f"{path} tells no nats of {model}")
    if not table["first"].between(1, table["last"]).all():
        raise InputError(f"{path} has ranges of context that cannot be")
    return table


def read_calibration(path: Path) -> pd.DataFrame:
    """The table of `calibration_table` in a file; InputError if there is none, or it is another."""
    table = _read(path, ("low", "high")).round(DECIMALS)
    if len(table) != BINS:
        raise InputError(f"{path} has {len(table)} rows, expected {BINS}")
    for model in calibration_models(table):
        _require(path, table, [model + TOKENS, model + CONFIDENCE])
        tokens = table[model + TOKENS]
        known = table.loc[tokens > 0, [model + CONFIDENCE, model + ACCURACY]]
        rates = ((known >= 0) & (known <= 1)).all(axis=None)
        if not (rates and tokens.min() >= 0 and 0 < tokens.sum() < math.inf):
            raise InputError(f"{path} tells no predictions of {model}")
    return table


def read_history(path: Path) -> pd.DataFrame:
    """A rung's history.csv; InputError if it is missing or is no such table."""
    return _read(path, ("tokens", "train_loss", "val_loss"), words=(DIGEST,))


def read_histories(table: pd.DataFrame, ladder: Path) -> dict[str, pd.DataFrame]:
    """The history.csv of each trained model of a perplexity table, in the folder of its ladder."""
    return {
        name: read_history(ladder / each.rung / "history.csv")
        for name, each in models_of(table).items()
        if each.trained
    }


def read_performance(folder: Path) -> dict[str, float | None]:
    """What a stage's last run took on this machine; nothing where that is missing or damaged."""
    try:
        facts = json.loads((folder / PERFORMANCE).read_bytes())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _read(path: Path, columns: Sequence[str], words: Sequence[str] = ()) -> pd.DataFrame:
    """A table with these columns and others; all but `words` are of numbers."""
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(words, str))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:  # pandas' own errors are ValueErrors
        raise InputError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
    _require(path, table, columns)
    for name in table.select_dtypes(exclude="number"):
        if name not in words:
            raise InputError(f"{path} has no numbers in its column {name!r}")
    return table


def _require(path: Path, table: pd.DataFrame, columns: Sequence[str]) -> None:
    if missing := [name for name in columns if name not in table]:
        raise InputError(f"{path} has no column {missing[0]!r}")
