"""The perplexity table: one row per model and split, from the worst model to the best.

Values are rounded once, when the table is made, so that CSV, Markdown, metrics and HTML agree.
"""

import html
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from lmladder.data import SPLITS
from lmladder.evaluation import Score
from lmladder.evaluation.audit import PASSED
from lmladder.models import kind_named, label
from lmladder.models.kind import INK
from lmladder.reports.colors import COLORS, readable
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
    split : "val" or "test"
    parameters : None for an oracle that knows the probabilities of whole stories only
    steps : training steps; None for a model that is not trained in steps
    standard_error : of the nats per token, as an estimate for other text of the same kind
    crop_nats_per_token : of windows that do not overlap; None for the oracle
    kind, rung : kind of the rung, and its folder within a ladder; empty for such an oracle
    excess_nats_per_token, excess_standard_error : see `Excess`; None where the truth is not known
    audit : "passed", or the checks that failed; empty for a built-in model, which is not audited
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
    audit: str = ""


def significant(value: float) -> str:
    """Format a value with four significant digits, or with all digits before the point."""
    return f"{value:#.4g}" if value < 999.95 else f"{value:,.0f}"


def whole(value: float | None) -> str:
    """Format a value without its fraction; an empty string for a missing value."""
    return "" if value is None or pd.isna(value) else f"{value:,.0f}"


def nats_with_error(nats: float, error: float = math.nan) -> str:
    """Format a loss with its standard error, each if it is not missing."""
    if pd.isna(nats):
        return ""
    return f"{nats:.4f}" if pd.isna(error) else f"{nats:.4f} ± {error:.4f}"


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes
    ----------
    name : in perplexity.csv
    dtype : of pandas
    title : for people; empty: it is not shown by itself
    cell : the text of a row's cell
    optional : whether it may be empty
    of_each_split : whether it is shown for all splits, or for the last one only
    is_shown : whether a table shows it
    """

    name: str
    dtype: Any
    title: str = ""
    cell: Callable[[Mapping[str, Any]], str] = str
    optional: bool = False
    of_each_split: bool = False
    is_shown: Callable[[pd.DataFrame], bool] = lambda table: True


# In the order of perplexity.csv; a reader ignores unknown columns.
COLUMNS = (
    Column("model", "str"),
    Column("label", "str", "Model", lambda row: str(row["label"])),
    Column("kind", "str", optional=True),
    Column("rung", "str", optional=True),
    Column("split", "str"),
    Column(
        *("tokens", "Int64", "Tokens", lambda row: whole(row["tokens"])),
        is_shown=lambda table: (
            len(table[["split", "tokens"]].drop_duplicates()) > table["split"].nunique()
        ),  # unless all models have the same
    ),
    Column("bytes", "Int64"),
    Column(
        *("perplexity", "float64", "Perplexity", lambda row: significant(row["perplexity"])),
        of_each_split=True,
    ),
    Column(
        *("bits_per_byte", "float64", "Bits/byte", lambda row: f"{row['bits_per_byte']:.4f}"),
        of_each_split=True,
    ),
    Column(
        *("nats_per_token", "float64", "Nats/token"),
        lambda row: nats_with_error(row["nats_per_token"], row["standard_error"]),
    ),
    Column(
        *("parameters", "Int64", "Parameters", lambda row: whole(row["parameters"])), optional=True
    ),
    Column("steps", "Int64", "Steps", lambda row: whole(row["steps"]), optional=True),
    Column("standard_error", "float64", optional=True),
    Column(CROPS, "float64", "On crops", lambda row: nats_with_error(row[CROPS]), optional=True),
    Column(
        *(EXCESS, "float64", "Excess", lambda row: nats_with_error(row[EXCESS], row[EXCESS_ERROR])),
        optional=True,
        is_shown=lambda table: bool(table[EXCESS].notna().any()),
    ),
    Column(EXCESS_ERROR, "float64", optional=True),
    Column(AUDIT, "str", optional=True),
)
DTYPES = {each.name: each.dtype for each in COLUMNS}
SHOWN = tuple(each for each in COLUMNS if each.title)
EXCESS_NOTE = (
    "Excess: the mean divergence from the true distribution in nats per token, on stories that the "
    "grammar generates for it. It depends on the model and the grammar, and on no split."
)


@dataclass(frozen=True)
class Grid:
    """A table as it is shown.

    Attributes
    ----------
    caption : describes the values
    titles : of the columns
    rows : cells under the titles; the first is the heading of its row
    words : number of columns before those of numbers
    note : explains a column
    """

    caption: str
    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    note: str = ""

    def to_markdown(self) -> str:
        """Return a GitHub table between its caption and its note."""
        table = markdown([self.titles, *self.rows], self.words)
        return f"**{escaped(self.caption)}**\n\n{table}" + (f"\n{self.note}\n" if self.note else "")


def ladder_table(rows: Iterable[Row]) -> pd.DataFrame:
    """Return the table with `COLUMNS`, by split, then from worst to best; the oracle is last.

    Raises
    ------
    ValueError
        If a split is unknown, a model occurs twice, or two rows of a split are of different text.
    """
    rows = list(rows)
    cells = [vars(row) | {name: getattr(row.score, name) for name in SCORES} for row in rows]
    table = pd.DataFrame(cells, columns=list(DTYPES))
    labels = [label(row.model, row.kind) for row in rows]
    invalid = [f" (invalid: {row.audit})" if is_invalid(row.audit) else "" for row in rows]
    table["label"] = [*map(operator.add, labels, invalid)]
    table = table.astype(DTYPES)
    if unknown := set(table["split"]) - set(SPLITS):
        raise ValueError(f"unknown split {sorted(unknown)}; choose from {SPLITS}")
    if table.duplicated(["model", "split"]).any():
        raise ValueError("a model occurs twice in one split")
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
    splits, is_oracle = map(SPLITS.index, table["split"]), map(_is_truth, table["kind"])
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
    rows = table.drop_duplicates("model", keep="last").fillna({"parameters": 0}).to_dict("records")
    trained = [row["model"] for row in rows if _is_trained(row["kind"])]
    markers = dict(zip(trained, cycle(MARKERS), strict=False))
    colors: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: ("/" in row["rung"], row["model"])):
        color = kind_named(row["kind"]).color if row["kind"] else INK
        color = color and readable(color)
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
            counted=name not in trained and row["parameters"] > 0 and not _executes(row["kind"]),
            is_oracle=_is_truth(row["kind"]),
        )
        for row in rows
        for name in [row["model"]]
    }


def _is_trained(kind: str) -> bool:
    return bool(kind) and not kind_named(kind).deterministic


def _executes(kind: str) -> bool:
    return bool(kind) and kind_named(kind).executes


def _is_truth(kind: str) -> bool:
    return not kind or kind_named(kind).is_truth


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
    if AUDIT not in table:  # there was none
        table[AUDIT] = ""
    table = table.reindex(columns=list(DTYPES))  # without values where a column is missing
    required = [each.name for each in COLUMNS if not each.optional]
    if table[required].isna().any(axis=None):
        raise InputError(f"{path} is not a table of scores: a value is missing")
    if unknown := set(table["split"]) - set(SPLITS):
        raise InputError(f"{path}: unknown split {min(unknown)!r}; choose from {', '.join(SPLITS)}")
    table = table.fillna({"kind": "", "rung": "", AUDIT: ""})
    return table.round(DECIMALS)  # pandas may read a float one bit off


def ladder_grid(table: pd.DataFrame, shown: Sequence[Column] = SHOWN) -> Grid:
    """Return the table for people: columns of its last split, the test text, then of others."""
    splits = [*dict.fromkeys(table["split"])][::-1]
    shown = [each for each in shown if each.is_shown(table)]
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
    joined = pd.concat(parts, axis=1).fillna("") if parts else pd.DataFrame()
    caption = "; ".join(sizes)
    note = EXCESS_NOTE if table[EXCESS].notna().any() else ""
    caption = caption[:1].upper() + caption[1:]
    return Grid(caption, [*joined], joined.to_numpy().tolist(), note=note)


def of_one_tokenizer(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of models with the tokens of the text: those that most models have."""
    text = table.groupby("split")["tokens"].transform(lambda tokens: tokens.mode()[0])
    return table[table["tokens"] == text]


def split_name(split: str) -> str:
    """Return the name of a split in a sentence."""
    return {"train": "training", "val": "validation"}.get(split, split)


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
