"""The perplexity table: one row per model and split, from the worst model to the best.

Values are rounded once, when the table is made, so that CSV, Markdown, metrics and HTML agree.
"""

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

from lmladder.data import SPLITS
from lmladder.evaluation import Score
from lmladder.evaluation.audit import PASSED
from lmladder.models import kind_named, label
from lmladder.reports.colors import COLORS, readable
from lmladder.reports.grid import Grid, as_text
from lmladder.system.errors import InputError

import pandas as pd

DECIMALS = 6
MARKERS = "osD^vP"
SCORES = ("tokens", "bytes", "perplexity", "bits_per_byte", "nats_per_token")  # of a `Score`
CROPS, AUDIT = "crop_nats_per_token", "audit"
EXCESS, EXCESS_ERROR = "excess_nats_per_token", "excess_standard_error"


@dataclass(frozen=True)
class Row:
    """The score of one model on one split.

    Attributes
    ----------
    model : "uniform", "kneser_ney_5", "transformer", ...; "oracle" for the true distribution
    kind, rung : kind of the rung, and its folder within a ladder
    split : "val" or "test"
    parameters : None for an oracle that knows the probabilities of whole stories only
    steps : training steps; None for a model that is not trained in steps
    standard_error : of the nats per token, as an estimate for other text of the same kind
    crop_nats_per_token : of windows that do not overlap; None for the oracle
    excess_nats_per_token, excess_standard_error : see `Excess`; None where the truth is not known
    audit : "passed", or the checks that failed; empty for a built-in model, which is not audited
    """

    model: str
    kind: str
    rung: str
    split: str
    score: Score
    parameters: int | None
    steps: int | None
    standard_error: float | None = None
    crop_nats_per_token: float | None = None
    excess_nats_per_token: float | None = None
    excess_standard_error: float | None = None
    audit: str = ""


def significant(value: float) -> str:
    """Format a value with four significant digits, or with up to 7 digits before the point."""
    if value >= 1e7:
        return f"{value:.3e}"
    return f"{value:#.4g}" if value < 999.95 else f"{value:,.0f}"


def whole(value: float) -> str:
    """Format a value without its fraction."""
    return f"{value:,.0f}"


def four(value: float) -> str:
    """Format a value with four digits after the point."""
    return f"{value:.4f}"


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes
    ----------
    name : in perplexity.csv
    dtype : of pandas
    title : for people; empty: it is not shown by itself
    form : formats a value
    error : the column of its standard error, with which it is shown
    optional : whether it may be empty
    of_each_split : whether it is shown for all splits, or for the last one only
    """

    name: str
    dtype: Any
    title: str = ""
    form: Callable[[Any], str] = str
    error: str = ""
    optional: bool = False
    of_each_split: bool = False

    def cell(self, row: Mapping[str, Any]) -> str:
        """Return the text of a row's cell; empty for a missing value."""
        if pd.isna(row[self.name]):
            return ""
        error = row[self.error] if self.error else math.nan
        return self.form(row[self.name]) + ("" if pd.isna(error) else f" ± {error:.4f}")


# In the order of perplexity.csv; a reader ignores unknown columns.
COLUMNS = (
    Column("model", "str"),
    Column("label", "str", "Model"),
    Column("kind", "str"),
    Column("rung", "str"),
    Column("split", "str"),
    Column("tokens", "Int64", "Tokens", whole),
    Column("bytes", "Int64"),
    Column("perplexity", "float64", "Perplexity", significant, of_each_split=True),
    Column("bits_per_byte", "float64", "Bits/byte", four, of_each_split=True),
    Column("nats_per_token", "float64", "Nats/token", four, "standard_error"),
    Column("parameters", "Int64", "Parameters", whole, optional=True),
    Column("steps", "Int64", "Steps", whole, optional=True),
    Column("standard_error", "float64", optional=True),
    Column(CROPS, "float64", "On crops", four, optional=True),
    Column(EXCESS, "float64", "Excess", four, EXCESS_ERROR, optional=True),
    Column(EXCESS_ERROR, "float64", optional=True),
    Column(AUDIT, "str", optional=True),
)
BY_NAME = {each.name: each for each in COLUMNS}
DTYPES = {each.name: each.dtype for each in COLUMNS}
SHOWN = tuple(each for each in COLUMNS if each.title)
NARROW = ("Model", "Perplexity", "Bits/byte", "Parameters", "Steps")  # 80 columns have room
EXCESS_NOTE = (
    "Excess: the mean divergence from the true distribution in nats per token, on stories that the "
    "grammar generates for it. It depends on the model and the grammar, and on no split."
)


def ladder_table(rows: Iterable[Row]) -> pd.DataFrame:
    """Return the table with `COLUMNS`, by split, then from worst to best; the oracle is last.

    Raises ValueError if two rows of a split are of different text.
    """
    rows = list(rows)
    cells = [vars(row) | {name: getattr(row.score, name) for name in SCORES} for row in rows]
    table = pd.DataFrame(cells, columns=list(DTYPES))
    labels = [label(row.model, row.kind) for row in rows]
    invalid = [f" (invalid: {row.audit})" if is_invalid(row.audit) else "" for row in rows]
    table["label"] = [*map(operator.add, labels, invalid)]
    table = table.astype(DTYPES)
    if len(table[["split", "bytes"]].drop_duplicates()) != table["split"].nunique():
        raise ValueError("the rows of a split must be scores of the same text")
    return in_order(table.round(DECIMALS))


def is_invalid(audit: str) -> bool:
    """Return whether the audit of a row failed, so that its score compares with no other."""
    return audit not in ("", PASSED)


def valid(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose scores can be compared."""
    return table[~table[AUDIT].map(is_invalid).astype(bool)]


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table by split, then from worst to best; the oracle is last."""
    splits = map(SPLITS.index, table["split"])
    is_oracle = (kind_named(kind).is_truth for kind in table["kind"])
    # As nats per token, whose digits are more, but across tokenizers.
    nats = -table["nats_per_token"] * table["tokens"]
    keys = list(zip(splits, is_oracle, nats, table["model"], strict=True))
    return table.iloc[sorted(range(len(keys)), key=keys.__getitem__)].reset_index(drop=True)


@dataclass(frozen=True)
class Model:
    """A model of the table, as figures and pages show it.

    Attributes
    ----------
    label, rung : of the table
    color, marker : the same in all figures
    trained : whether the seed has an effect on the model: it was trained, or mixes trained ones
    counted : whether it was fitted at once; neither is true of the uniform model, the oracle and
        functions
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
    last = table.drop_duplicates("model", keep="last").fillna({"parameters": 0})
    rows = {row["model"]: row for row in last.to_dict("records")}
    kinds = {name: kind_named(row["kind"]) for name, row in rows.items()}
    trained = [name for name, kind in kinds.items() if not kind.deterministic]
    markers = dict(zip(trained, cycle(MARKERS), strict=False))
    colors: dict[str, str] = {}
    for name in sorted(kinds, key=lambda name: ("/" in rows[name]["rung"], name)):
        if color := kinds[name].color:
            color = readable(color)
        if name in trained and color in (None, *colors.values()):
            color = next((each for each in COLORS if each not in colors.values()), None)
        colors[name] = color or COLORS[-1]
    return {
        name: Model(
            label=row["label"],
            rung=row["rung"],
            color=colors[name],
            marker=markers.get(name, "*" if kind.is_truth else "o"),
            trained=name in trained,
            counted=kind.deterministic and row["parameters"] > 0 and not kind.executes,
            is_oracle=kind.is_truth,
        )
        for name, row in rows.items()
        for kind in [kinds[name]]
    }


def by_model(table: pd.DataFrame, split: str, column: str) -> dict[str, float]:
    """Return a column of one split by model, in the order of the table, without missing values."""
    rows = table[(table["split"] == split) & table[column].notna()]
    return dict(zip(rows["model"], map(float, rows[column]), strict=True))


def to_csv(table: pd.DataFrame) -> str:
    """Return the content of a CSV file; missing values are empty, and no audit has no column."""
    if AUDIT in table and not table[AUDIT].any():
        table = table.drop(columns=AUDIT)
    return table.to_csv(index=False, float_format=f"%.{DECIMALS}f", lineterminator="\n")


def read_csv(path: Path) -> pd.DataFrame:
    """Read a table that `to_csv` wrote; InputError if the file is missing or not such a table."""
    try:
        table = pd.read_csv(path, dtype=DTYPES, keep_default_na=False, na_values=[""])
    except (OSError, ValueError, TypeError) as error:  # also UnicodeError and pandas' own errors
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise InputError(f"cannot read {path}: {reason}") from error
    table = table.reindex(columns=list(DTYPES)).astype(DTYPES).fillna({AUDIT: ""})
    required = [each.name for each in COLUMNS if not each.optional]
    if table[required].isna().any(axis=None):
        raise InputError(f"{path} is not a table of scores: a value is missing")
    if unknown := set(table["split"]) - set(SPLITS):
        raise InputError(f"{path}: unknown split {min(unknown)!r}; choose from {', '.join(SPLITS)}")
    return table.round(DECIMALS)  # pandas may read a float one bit off


def ladder_grid(table: pd.DataFrame, shown: Sequence[Column] = SHOWN) -> Grid:
    """Return the table for people: columns of its last split, the test text, then of others."""
    splits = [*dict.fromkeys(table["split"])][::-1]
    shown = [each for each in shown if table[each.name].notna().any()]
    if len(of_one_tokenizer(table)) == len(table):
        shown = [each for each in shown if each.name != "tokens"]  # the caption has them
    parts, sizes = [], []
    for split in splits:
        rows, name = table[table["split"] == split], split_name(split)
        here = [each for each in shown if split == splits[0] or each.of_each_split]
        titles = [
            f"{name.capitalize()} {each.title.lower()}"
            if each.of_each_split and splits[1:]
            else each.title
            for each in here
        ]
        cells = [[each.cell(row) for each in here] for row in rows.to_dict("records")]
        parts.append(pd.DataFrame(cells, rows["model"], titles))
        tokens, n_bytes = rows[["tokens", "bytes"]].mode().iloc[0]
        sizes.append(f"{name} text: {tokens:,} tokens, {n_bytes:,} bytes")
    joined = pd.concat(parts, axis=1).fillna("")
    caption = "; ".join(sizes)
    note = EXCESS_NOTE if "Excess" in joined else ""
    caption = caption[:1].upper() + caption[1:]
    return Grid(caption, [*joined], joined.to_numpy().tolist(), note=note)


def print_table(table: pd.DataFrame) -> None:
    """Print the table of all splits."""
    narrow = (each for each in SHOWN if each.title in NARROW)
    shown = [replace(each, of_each_split=each.title == "Perplexity") for each in narrow]
    grid = ladder_grid(table, shown)
    print(f"\n{as_text(grid, grid.titles[1:])}", flush=True)


def of_one_tokenizer(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of models with the tokens of the text: those that most models have."""
    text = table.groupby("split")["tokens"].transform(lambda tokens: tokens.mode()[0])
    return table[table["tokens"] == text]


def split_name(split: str) -> str:
    """Return the name of a split in a sentence."""
    return {"train": "training", "val": "validation"}.get(split, split)


def metrics(table: pd.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """Return {split: {"perplexity": {model: value}, "bits_per_byte": {...}}} for metrics.json.

    The excess is among them where the truth is known. Scores that are not valid are left out; where
    there were audits, "audit" has their results.
    """
    names = ("perplexity", "bits_per_byte", EXCESS)
    scored = valid(table)
    found: dict[str, dict[str, dict[str, Any]]] = {
        split: {name: values for name in names if (values := by_model(scored, split, name))}
        for split in dict.fromkeys(table["split"])
    }
    for split, metrics in found.items():
        rows = table[(table["split"] == split) & (table[AUDIT] != "")]
        metrics |= {AUDIT: dict(zip(rows["model"], rows[AUDIT], strict=True))} if len(rows) else {}
    return found
