"""The perplexity table: one row a model and split, worst to best, so that one reads it downwards.

Numbers are rounded once, when the table is made; CSV, Markdown, metrics and HTML show the same. A
column is declared in `COLUMNS` and nowhere else; a reader ignores columns that it does not know.
"""

import html
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmladder.data import SPLITS
from lmladder.evaluation import Score
from lmladder.models.registry import KINDS, label
from lmladder.system.errors import InputError

import pandas as pd

DECIMALS = 6
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe & Ito 2008
MARKERS = "osD^vP"
INK = "#24292f"
_SPLIT_NAMES = {"train": "training", "val": "validation"}


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
    kind, rung : of the rung, and its folder within a ladder; empty for the oracle
    label : what to call it, if not as its kind does
    """

    model: str
    split: str
    score: Score
    parameters: int | None
    steps: int | None
    standard_error: float | None = None
    kind: str = ""
    rung: str = ""
    label: str = ""


@dataclass(frozen=True)
class Column:
    """A column of perplexity.csv.

    Attributes
    ----------
    name, dtype : of pandas
    value : of a row
    required : whether each row has one
    title, shown : the head for people, and a row's cell under it; empty: not shown to people
    """

    name: str
    dtype: str
    value: Callable[[Row], Any]
    required: bool = True
    title: str = ""
    shown: Callable[[Mapping[str, Any]], str] = lambda row: ""


def significant(value: float) -> str:
    """Four significant digits, and all of them before the point."""
    return f"{value:#.4g}" if value < 999.95 else f"{value:,.0f}"


def whole(value: float | None) -> str:
    """A number without its fraction; nothing for what is missing."""
    return "" if value is None or pd.isna(value) else f"{value:,.0f}"


def _shown_nats(row: Mapping[str, Any]) -> str:
    nats, error = f"{row['nats_per_token']:.4f}", row.get("standard_error")
    return nats if error is None or pd.isna(error) else f"{nats} ± {error:.4f}"


COLUMNS = (
    Column(
        "model", "str", lambda row: row.model, title="Model", shown=lambda row: str(row["label"])
    ),
    Column("label", "str", lambda row: row.label or label(row.model, row.kind)),
    Column("kind", "str", lambda row: row.kind, required=False),
    Column("rung", "str", lambda row: row.rung, required=False),
    Column("split", "str", lambda row: row.split),
    Column("tokens", "Int64", lambda row: row.score.tokens),
    Column("bytes", "Int64", lambda row: row.score.bytes),
    Column(
        "perplexity", "float64", lambda row: row.score.perplexity,
        title="Perplexity", shown=lambda row: significant(row["perplexity"]),
    ),
    Column(
        "bits_per_byte", "float64", lambda row: row.score.bits_per_byte,
        title="Bits/byte", shown=lambda row: f"{row['bits_per_byte']:.4f}",
    ),
    Column(
        "nats_per_token", "float64", lambda row: row.score.nats_per_token,
        title="Nats/token", shown=_shown_nats,
    ),
    Column(
        "parameters", "Int64", lambda row: row.parameters, required=False,
        title="Parameters", shown=lambda row: whole(row["parameters"]),
    ),
    Column(
        "steps", "Int64", lambda row: row.steps, required=False,
        title="Steps", shown=lambda row: whole(row["steps"]),
    ),
    Column("standard_error", "float64", lambda row: row.standard_error, required=False),
)  # fmt: skip
TITLES = tuple(each.title for each in COLUMNS if each.title)
_TYPES: dict[Any, Any] = {each.name: each.dtype for each in COLUMNS}


def ladder_table(rows: Iterable[Row]) -> pd.DataFrame:
    """The table of `COLUMNS`: by split, then worst to best by nats per token, the oracle last.

    Raises
    ------
    ValueError
        If a split is unknown, a model occurs twice, or two rows of a split are of different text.
    """
    cells = [[column.value(row) for column in COLUMNS] for row in rows]
    table = pd.DataFrame(cells, columns=list(_TYPES)).astype(_TYPES)
    if unknown := set(table["split"]) - set(SPLITS):
        raise ValueError(f"unknown split {sorted(unknown)}; choose from {SPLITS}")
    if table.duplicated(["model", "split"]).any():
        raise ValueError("a model occurs twice in one split")
    if len(table[["split", "tokens", "bytes"]].drop_duplicates()) != table["split"].nunique():
        raise ValueError("the rows of a split must be scores of the same text")
    table = table.round(DECIMALS)
    order = pd.DataFrame(
        {
            "split": table["split"].map(SPLITS.index),
            "oracle": table["kind"] == "",
            "gain": -table["nats_per_token"],
            "model": table["model"],
        }
    )
    return table.loc[order.sort_values(list(order.columns)).index].reset_index(drop=True)


@dataclass(frozen=True)
class Model:
    """A model of the table, as figures and pages show it.

    Attributes
    ----------
    name, label, rung : of the table
    color, marker : alike in all figures
    trained : whether it was trained by steps
    counted : whether it was fitted otherwise; neither: it is a reference, uniform or the oracle
    is_oracle : whether it is the true distribution
    """

    name: str
    label: str
    rung: str
    color: str
    marker: str
    trained: bool
    counted: bool
    is_oracle: bool


def models_of(table: pd.DataFrame) -> dict[str, Model]:
    """The models of a table by name, from worst to best of its last split.

    A kind has its own color; further models of a kind, and those without one, take what is left.
    """
    rows = table.drop_duplicates("model", keep="last").to_dict("records")
    trained = [row["model"] for row in rows if not pd.isna(row["steps"])]
    colors: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: (row["rung"].startswith("rungs/"), row["model"])):
        own = KINDS[row["kind"]].color if row["kind"] else INK
        if row["model"] in trained and (own is None or own in colors.values()):
            own = next((each for each in COLORS if each not in colors.values()), COLORS[-1])
        colors[row["model"]] = own or COLORS[-1]
    return {
        row["model"]: Model(
            name=row["model"],
            label=row["label"],
            rung=row["rung"],
            color=colors[row["model"]],
            marker=MARKERS[trained.index(row["model"]) % len(MARKERS)]
            if row["model"] in trained
            else "o" if row["kind"] else "*",
            trained=row["model"] in trained,
            counted=pd.isna(row["steps"]) and _is_positive(row["parameters"]),
            is_oracle=not row["kind"],
        )
        for row in rows
    }  # fmt: skip


def _is_positive(value: Any) -> bool:
    return not pd.isna(value) and value > 0


def nats_by_model(table: pd.DataFrame, split: str) -> dict[str, float]:
    """Nats per token of each model on one split, worst first; nothing if it is not in the table."""
    rows = table[table["split"] == split]
    return dict(zip(rows["model"], rows["nats_per_token"], strict=True))


def to_csv(table: pd.DataFrame) -> str:
    """A table as it is in a file, such as perplexity.csv; what is missing is empty."""
    return table.to_csv(index=False, float_format=f"%.{DECIMALS}f", lineterminator="\n")


def read_csv(path: Path) -> pd.DataFrame:
    """The table that `to_csv` wrote; InputError if there is none, or it is another."""
    try:
        table: pd.DataFrame = pd.read_csv(path, dtype=_TYPES, keep_default_na=False, na_values=[""])
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, TypeError) as error:  # also what is not UTF-8
        raise InputError(
            f"{path} is not a perplexity table: {str(error).splitlines()[0]}"
        ) from error
    if missing := [name for name in _TYPES if name not in table]:
        old = "; it may be of lmladder 0.1" if missing[0] == "label" else ""
        raise InputError(f"{path} is not a perplexity table: it has no column {missing[0]}{old}")
    required = [each.name for each in COLUMNS if each.required]
    if table[required].isna().any(axis=None) or not set(table["split"]) <= set(SPLITS):
        raise InputError(f"{path} is not a perplexity table: a value is missing or unknown")
    table[["kind", "rung"]] = table[["kind", "rung"]].fillna("")
    return table[list(_TYPES)].round(DECIMALS)  # pandas may read a float one bit off


def by_split(table: pd.DataFrame) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The heading and the rows of each split."""
    for split in dict.fromkeys(table["split"]):
        rows: list[dict[str, Any]] = table[table["split"] == split].to_dict("records")
        name, first = split_name(split).capitalize(), rows[0]
        yield f"{name} text: {first['tokens']:,} tokens, {first['bytes']:,} bytes", rows


def shown(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row as people read it, under `TITLES`."""
    return tuple(each.shown(row) for each in COLUMNS if each.title)


def split_name(split: str) -> str:
    """What people call the text of a split."""
    return _SPLIT_NAMES.get(split, split)


def to_markdown(table: pd.DataFrame) -> str:
    """One GitHub table a split, under a line that names the split and its size."""
    return "\n".join(
        f"**{heading}**\n\n{markdown([TITLES, *map(shown, rows)])}"
        for heading, rows in by_split(table)
    )


def markdown(rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A GitHub table of cells, the titles first; columns after the first `words` to the right."""
    lines = [[*map(escaped, cells)] for cells in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width if i < words else f"{'-' * (width - 1)}:" for i, width in enumerate(widths)]
    padded = [
        [*map(str.ljust, cells[:words], widths), *map(str.rjust, cells[words:], widths[words:])]
        for cells in lines
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
