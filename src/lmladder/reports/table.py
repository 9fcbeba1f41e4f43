"""The perplexity table: one row a model and split, worst to best, so that one reads it downwards.

Numbers are rounded once, when the table is made; CSV, Markdown, metrics and HTML show the same.
"""

import html
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmladder.errors import InputError
from lmladder.scoring import Score
from lmladder.text import SPLITS

import pandas as pd

COLUMNS = (
    "model", "split", "tokens", "bytes", "nats_per_token", "perplexity", "bits_per_byte",
    "parameters", "steps", "standard_error",
)  # fmt: skip
TITLES = ("Model", "Perplexity", "Bits/byte", "Nats/token", "Parameters", "Steps")
DECIMALS = 6
UNIFORM, ORACLE = "uniform", "oracle"

_LABELS = {"mlp": "MLP", "rnn": "RNN", "gru": "GRU"}
_SPLIT_NAMES = {"train": "training", "val": "validation"}
_TYPES: dict[Any, Any] = dict.fromkeys(("tokens", "bytes", "parameters", "steps"), "Int64")
_TYPES |= dict.fromkeys(
    ("nats_per_token", "perplexity", "bits_per_byte", "standard_error"), "float64"
)
_OPTIONAL = ("parameters", "steps", "standard_error")


@dataclass(frozen=True)
class Row:
    """The score of one model on one split.

    Attributes
    ----------
    model : "uniform", "kneser_ney_5", "transformer", ...; "oracle" for the true distribution
    split : "val" or "test"
    parameters : None for what was not fitted
    steps : None for what was not trained by steps
    standard_error : of the nats per token, as an estimate for other text of the same kind
    """

    model: str
    split: str
    score: Score
    parameters: int | None
    steps: int | None
    standard_error: float | None = None


def ladder_table(rows: Iterable[Row]) -> pd.DataFrame:
    """The table of `COLUMNS`: by split, then worst to best by nats per token, the oracle last.

    Raises
    ------
    ValueError
        If a split is unknown, a model stands twice, or two rows of a split are of different text.
    """
    table = pd.DataFrame([_cells(row) for row in rows], columns=list(COLUMNS)).astype(_TYPES)
    if unknown := set(table["split"]) - set(SPLITS):
        raise ValueError(f"unknown split {sorted(unknown)}; choose from {SPLITS}")
    if table.duplicated(["model", "split"]).any():
        raise ValueError("a model stands twice in one split")
    if len(table[["split", "tokens", "bytes"]].drop_duplicates()) != table["split"].nunique():
        raise ValueError("the rows of a split must be scores of the same text")
    table = table.round(DECIMALS)
    order = pd.DataFrame(
        {
            "split": table["split"].map(SPLITS.index),
            "oracle": table["model"] == ORACLE,
            "gain": -table["nats_per_token"],
            "model": table["model"],
        }
    )
    return table.loc[order.sort_values(list(order.columns)).index].reset_index(drop=True)


def _cells(row: Row) -> tuple[object, ...]:
    score = row.score
    return (
        row.model, row.split, score.tokens, score.bytes, score.nats_per_token, score.perplexity,
        score.bits_per_byte, row.parameters, row.steps, row.standard_error,
    )  # fmt: skip


def nats_by_model(table: pd.DataFrame, split: str) -> dict[str, float]:
    """Nats per token of each model on one split, worst first; nothing if it is not in the table."""
    rows = table[table["split"] == split]
    return dict(zip(rows["model"], rows["nats_per_token"], strict=True))


def to_csv(table: pd.DataFrame) -> str:
    """A table as it stands in a file, such as perplexity.csv; what is missing is empty."""
    return table.to_csv(index=False, float_format=f"%.{DECIMALS}f", lineterminator="\n")


def read_csv(path: Path) -> pd.DataFrame:
    """The table that `to_csv` wrote; InputError if there is none, or it is another."""
    try:
        table: pd.DataFrame = pd.read_csv(
            path, dtype={**_TYPES, "model": str, "split": str},
            keep_default_na=False, na_values=[""],
        )  # fmt: skip
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, TypeError) as error:  # also what is not UTF-8
        raise InputError(f"{path} is no perplexity table: {str(error).splitlines()[0]}") from error
    if tuple(table.columns) != COLUMNS or not set(table["split"]) <= set(SPLITS):
        raise InputError(f"{path} is no perplexity table: its columns or splits are others")
    if table.drop(columns=list(_OPTIONAL)).isna().any(axis=None):
        raise InputError(f"{path} is no perplexity table: a value is missing")
    return table.round(DECIMALS)  # pandas may read a float one bit off


def by_split(table: pd.DataFrame) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The heading and the rows of each split."""
    for split in dict.fromkeys(table["split"]):
        rows: list[dict[str, Any]] = table[table["split"] == split].to_dict("records")
        name, first = split_name(split).capitalize(), rows[0]
        yield f"{name} text: {first['tokens']:,} tokens, {first['bytes']:,} bytes", rows


def shown(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row as people read it, under `TITLES`."""
    nats = f"{row['nats_per_token']:.4f}"
    if not pd.isna(row["standard_error"]):
        nats += f" ± {row['standard_error']:.4f}"
    return (
        label(row["model"]), significant(row["perplexity"]), f"{row['bits_per_byte']:.4f}", nats,
        whole(row["parameters"]), whole(row["steps"]),
    )  # fmt: skip


def label(model: str) -> str:
    """A model's name as people write it."""
    if model.startswith("kneser_ney_"):
        return f"Kneser-Ney {model.removeprefix('kneser_ney_')}"
    return _LABELS.get(model, model[:1].upper() + model[1:])


def split_name(split: str) -> str:
    """What people call the text of a split."""
    return _SPLIT_NAMES.get(split, split)


def is_fitted(model: str) -> bool:
    """Whether the model has learnt or counted, rather than being given."""
    return model not in (UNIFORM, ORACLE)


def is_count_model(model: str) -> bool:
    """Whether the model counts n-grams, rather than being learnt, or given."""
    return model in ("unigram", "bigram", "trigram") or model.startswith("kneser_ney_")


def significant(value: float) -> str:
    """Four significant digits, and all of them before the point."""
    return f"{value:#.4g}" if value < 999.95 else f"{value:,.0f}"


def whole(value: float | None) -> str:
    """A number without its fraction; nothing for what is missing."""
    return "" if value is None or pd.isna(value) else f"{value:,.0f}"


def to_markdown(table: pd.DataFrame) -> str:
    """One GitHub table a split, under a line that names the split and its size."""
    return "\n".join(f"**{heading}**\n\n{_markdown(rows)}" for heading, rows in by_split(table))


def _markdown(rows: list[dict[str, Any]]) -> str:
    lines = [TITLES, *(tuple(map(escaped, shown(row))) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [
        [cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])] for cells in lines
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [padded[0], rule, *padded[1:]])


def escaped(cell: str) -> str:
    """Text as Markdown shows it, in one line, whatever it holds."""
    return html.escape(" ".join(cell.split()), quote=False).replace("|", "\\|")


def metrics(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """{split: {"perplexity": {model: value}, "bits_per_byte": {...}}}, as metrics.json."""
    nested = {}
    for split in dict.fromkeys(table["split"]):
        rows = table[table["split"] == split]
        nested[split] = {
            name: dict(zip(rows["model"], map(float, rows[name]), strict=True))
            for name in ("perplexity", "bits_per_byte")
        }
    return nested
