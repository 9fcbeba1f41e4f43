"""The perplexity table: one row per model and split, from the worst model to the best.

Values are rounded once, when the table is made, so that CSV, Markdown, metrics and HTML agree.
"""

import html
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from lmladder.data import SPLITS
from lmladder.evaluation import Score
from lmladder.models.registry import INK, KINDS, label
from lmladder.system.errors import InputError

import pandas as pd

DECIMALS = 6
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe & Ito 2008
MARKERS = "osD^vP"
# The columns of perplexity.csv with their pandas dtypes; a reader ignores unknown columns.
COLUMNS: dict[Any, Any] = {
    **dict.fromkeys(("model", "label", "kind", "rung", "split"), "str"),
    **dict.fromkeys(("tokens", "bytes"), "Int64"),
    **dict.fromkeys(("perplexity", "bits_per_byte", "nats_per_token"), "float64"),
    **dict.fromkeys(("parameters", "steps"), "Int64"),
    **dict.fromkeys(("standard_error", "crop_nats_per_token"), "float64"),
    **dict.fromkeys(("excess_nats_per_token", "excess_standard_error"), "float64"),
}
CROPS, EXCESS, EXCESS_ERROR = [*COLUMNS][-3:]
LATER = (CROPS, EXCESS, EXCESS_ERROR)  # older tables do not have them
OPTIONAL = ["kind", "rung", "parameters", "steps", "standard_error", *LATER]  # may be empty
SCORES = ("tokens", "bytes", "perplexity", "bits_per_byte", "nats_per_token")  # of a `Score`


@dataclass(frozen=True)
class Row:
    """The score of one model on one split.

    Attributes
    ----------
    model : "uniform", "kneser_ney_5", "transformer", ...; "oracle" for the true distribution
    split : "val" or "test"
    parameters : None for an oracle that knows the probabilities of whole stories only
    steps : training steps; None for a model that is not trained in steps
    standard_error : of the nats per token, as an estimate for other text of the same kind
    crop_nats_per_token : of windows that do not overlap; None for the oracle
    kind, rung : kind of the rung, and its folder within a ladder; empty for such an oracle
    excess_nats_per_token, excess_standard_error : see `Excess`; None where the truth is not known
    """

    model: str
    split: str
    score: Score
    parameters: int | None
    steps: int | None
    standard_error: float | None = None
    crop_nats_per_token: float | None = None
    kind: str = ""
    rung: str = ""
    excess_nats_per_token: float | None = None
    excess_standard_error: float | None = None


def significant(value: float) -> str:
    """Format a value with four significant digits, or with all digits before the point."""
    return f"{value:#.4g}" if value < 999.95 else f"{value:,.0f}"


def whole(value: float | None) -> str:
    """Format a value without its fraction; an empty string for a missing value."""
    return "" if value is None or pd.isna(value) else f"{value:,.0f}"


def nats_with_error(nats: float, error: float) -> str:
    """Format a loss with its standard error, each if it is not missing."""
    if pd.isna(nats):
        return ""
    return f"{nats:.4f}" if pd.isna(error) else f"{nats:.4f} ± {error:.4f}"


# The columns that are shown to people: their titles, and how a row's cell is formatted.
_SHOWN: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "Model": lambda row: str(row["label"]),
    "Perplexity": lambda row: significant(row["perplexity"]),
    "Bits/byte": lambda row: f"{row['bits_per_byte']:.4f}",
    "Nats/token": lambda row: nats_with_error(row["nats_per_token"], row["standard_error"]),
    "Excess": lambda row: nats_with_error(row[EXCESS], row[EXCESS_ERROR]),
    "Parameters": lambda row: whole(row["parameters"]),
    "Steps": lambda row: whole(row["steps"]),
    "Nats/token on crops": lambda row: nats_with_error(row[CROPS], math.nan),
}
EXCESS_NOTE = (
    "Excess: the mean divergence from the true distribution in nats per token, on stories that the "
    "grammar generates for it. It depends on the model and the grammar, and on no split."
)
WIDE = ("Excess", "Nats/token on crops")  # for which a terminal of 80 columns has no room


def ladder_table(rows: Iterable[Row]) -> pd.DataFrame:
    """Return the table of `COLUMNS`, by split, then from worst to best; the oracle is last.

    Raises
    ------
    ValueError
        If a split is unknown, a model occurs twice, or two rows of a split are of different text.
    """
    rows = list(rows)
    cells = [vars(row) | {name: getattr(row.score, name) for name in SCORES} for row in rows]
    table = pd.DataFrame(cells, columns=list(COLUMNS))
    table["label"] = [label(row.model, row.kind) for row in rows]
    table = table.astype(COLUMNS)
    if unknown := set(table["split"]) - set(SPLITS):
        raise ValueError(f"unknown split {sorted(unknown)}; choose from {SPLITS}")
    if table.duplicated(["model", "split"]).any():
        raise ValueError("a model occurs twice in one split")
    if len(table[["split", "tokens", "bytes"]].drop_duplicates()) != table["split"].nunique():
        raise ValueError("the rows of a split must be scores of the same text")
    return in_order(table.round(DECIMALS))


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table by split, then from worst to best; the oracle is last."""
    splits, is_oracle = map(SPLITS.index, table["split"]), map(_is_truth, table["kind"])
    keys = list(zip(splits, is_oracle, -table["nats_per_token"], table["model"], strict=True))
    return table.iloc[sorted(range(len(keys)), key=keys.__getitem__)].reset_index(drop=True)


@dataclass(frozen=True)
class Model:
    """A model of the table, as figures and pages show it.

    Attributes
    ----------
    label, rung : of the table
    color, marker : the same in all figures
    trained : whether the seed has an effect on the model: it was trained, or mixes trained ones
    counted : whether it was fitted by counting; neither is true of the uniform model and the oracle
    is_oracle : whether it is the true distribution
    """

    label: str
    rung: str
    color: str
    marker: str
    trained: bool
    counted: bool
    is_oracle: bool


def models_of(table: pd.DataFrame) -> dict[str, Model]:
    """Return the models of a table by name, from worst to best on its last split.

    Each kind has its own color. Further models of a kind, and those of a kind without a color, take
    the colors that are left.
    """
    rows = table.drop_duplicates("model", keep="last").fillna({"parameters": 0}).to_dict("records")
    trained = [row["model"] for row in rows if _is_trained(row["kind"])]
    markers = dict(zip(trained, cycle(MARKERS), strict=False))
    colors: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: ("/" in row["rung"], row["model"])):
        color = KINDS[row["kind"]].color if row["kind"] else INK
        if row["model"] in trained and color in (None, *colors.values()):
            color = next((each for each in COLORS if each not in colors.values()), None)
        colors[row["model"]] = color or COLORS[-1]
    return {
        name: Model(
            label=row["label"],
            rung=row["rung"],
            color=colors[name],
            marker=markers.get(name, "*" if _is_truth(row["kind"]) else "o"),
            trained=name in trained,
            counted=name not in trained and row["parameters"] > 0,
            is_oracle=_is_truth(row["kind"]),
        )
        for row in rows
        for name in [row["model"]]
    }


def _is_trained(kind: str) -> bool:
    return bool(kind) and not KINDS[kind].fit.deterministic


def _is_truth(kind: str) -> bool:
    return not kind or KINDS[kind].is_truth


def by_model(table: pd.DataFrame, split: str, column: str) -> dict[str, float]:
    """Return a column of one split by model, in the order of the table, without missing values."""
    rows = table[(table["split"] == split) & table[column].notna()]
    return dict(zip(rows["model"], map(float, rows[column]), strict=True))


def to_csv(table: pd.DataFrame) -> str:
    """Return the content of a CSV file; missing values are empty."""
    return table.to_csv(index=False, float_format=f"%.{DECIMALS}f", lineterminator="\n")


def read_columns(path: Path, names: Iterable[str], **options: Any) -> pd.DataFrame:
    """Read a CSV file with `options` of pandas.

    Raises
    ------
    InputError
        If the file cannot be read, or one of the columns `names` is missing.
    """
    try:
        table = pd.read_csv(path, **options)
    except (OSError, ValueError, TypeError) as error:  # also UnicodeError and pandas' own errors
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise InputError(f"cannot read {path}: {reason}") from error
    require_columns(path, table, names)
    return table


def require_columns(path: Path, table: pd.DataFrame, names: Iterable[str]) -> None:
    """Raise InputError if a column is missing from the table that was read from `path`."""
    if missing := [name for name in names if name not in table]:
        old = "; files of lmladder 0.1 must be made again" if missing[0] in COLUMNS else ""
        raise InputError(f"{path}: column {missing[0]!r} is missing{old}")


def read_csv(path: Path) -> pd.DataFrame:
    """Read a table that `to_csv` wrote; InputError if the file is missing or not such a table."""
    required = [name for name in COLUMNS if name not in LATER]
    table = read_columns(path, required, dtype=COLUMNS, keep_default_na=False, na_values=[""])
    table = table.reindex(columns=list(COLUMNS))
    if table.drop(columns=OPTIONAL).isna().any(axis=None):
        raise InputError(f"{path}: a value is missing")
    if unknown := set(table["split"]) - set(SPLITS):
        raise InputError(f"{path}: unknown split {min(unknown)!r}; choose from {', '.join(SPLITS)}")
    table = table.fillna({"kind": "", "rung": ""})
    return table.round(DECIMALS)  # pandas may read a float one bit off


def by_split(table: pd.DataFrame) -> Iterator[tuple[str, list[dict[Any, Any]]]]:
    """Yield the heading and the rows of each split."""
    for split, rows in table.groupby("split", sort=False):
        tokens, n_bytes = rows[["tokens", "bytes"]].iloc[0]
        name = split_name(str(split)).capitalize()
        yield f"{name} text: {tokens:,} tokens, {n_bytes:,} bytes", rows.to_dict("records")


def titles_of(table: pd.DataFrame) -> tuple[str, ...]:
    """Return the titles of the columns that are shown: no excess where the truth is not known."""
    known = table[EXCESS].notna().any()
    return tuple(title for title in _SHOWN if title != "Excess" or known)


def shown(row: Mapping[str, Any], titles: Iterable[str]) -> tuple[str, ...]:
    """Return the cells of a row under some of the titles."""
    return tuple(_SHOWN[title](row) for title in titles)


def split_name(split: str) -> str:
    """Return the name of a split in a sentence."""
    return {"train": "training", "val": "validation"}.get(split, split)


def to_markdown(table: pd.DataFrame) -> str:
    """Return one GitHub table per split, each under a line with the split and its size.

    A note explains the excess, which stands in the table of the last split.
    """
    parts = []
    for heading, rows in by_split(table):
        titles = titles_of(pd.DataFrame(rows))
        cells = [titles, *(shown(row, titles) for row in rows)]
        parts.append(f"**{heading}**\n\n{markdown(cells)}")
    return "\n".join([*parts, f"{EXCESS_NOTE}\n"] if "Excess" in titles_of(table) else parts)


def markdown(rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """Return a GitHub table of cells, the titles first; columns after `words` are right-aligned."""
    lines = [[*map(escaped, cells)] for cells in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width if i < words else f"{'-' * (width - 1)}:" for i, width in enumerate(widths)]
    padded = [
        [*map(str.ljust, cells[:words], widths), *map(str.rjust, cells[words:], widths[words:])]
        for cells in lines
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [padded[0], rule, *padded[1:]])


def escaped(cell: str) -> str:
    """Escape a text so that Markdown shows it literally, in one line."""
    return html.escape(" ".join(cell.split()), quote=False).replace("|", "\\|")


def metrics(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """Return {split: {"perplexity": {model: value}, "bits_per_byte": {...}}} for metrics.json.

    The excess is among them where the truth is known.
    """
    names = ("perplexity", "bits_per_byte", EXCESS)
    return {
        split: {name: found for name in names if (found := by_model(table, split, name))}
        for split in dict.fromkeys(table["split"])
    }
