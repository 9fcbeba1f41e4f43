"""Losses of blocks of a text, so that models can be compared block by block.

Neighboring tokens are not independent evidence: they are easy or hard together. Long blocks of
consecutive tokens are almost independent. Two files can be compared if their columns before those
of the models are equal.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmladder.system.arrays import FloatArray, IntArray

import numpy as np

BLOCK_LOSSES = "block_losses.csv"
MIN_TOKENS = 512  # of a block of a whole text, if the text has that many
MAX_BLOCKS = 256
COLUMNS = ("data", "first", "tokens")
DECIMALS = 6
DIGEST_DIGITS = 16  # enough to distinguish texts, in a column that repeats them


def block_starts(n_tokens: int) -> IntArray:
    """Return where the blocks of a whole text begin; their lengths differ by one token at most."""
    count = min(n_tokens, MAX_BLOCKS, max(1, n_tokens // MIN_TOKENS))
    return np.arange(count) * n_tokens // count


@dataclass(frozen=True)
class BlockLosses:
    """The content of block_losses.csv: one row per block, one column per model.

    Attributes
    ----------
    data : sha256 of the prepared text and its tokenizer; the file has the first digits
    first : position of each block's first token in the validation text
    tokens : number of tokens of each block
    nats : by model, the negative log-likelihood of each block
    """

    data: str
    first: tuple[int, ...]
    tokens: tuple[int, ...]
    nats: Mapping[str, Sequence[float] | FloatArray]

    @classmethod
    def of_whole_text(
        cls, data: str, n_tokens: int, nats: Mapping[str, Sequence[float]]
    ) -> "BlockLosses":
        """Return those of the blocks of `block_starts`."""
        starts = block_starts(n_tokens)
        lengths = np.diff(starts, append=n_tokens)
        return cls(data, tuple(starts.tolist()), tuple(lengths.tolist()), nats)

    @property
    def text(self) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
        """What two must have in common to be compared."""
        return self.data[:DIGEST_DIGITS], self.first, self.tokens

    def to_csv(self) -> str:
        """Return the content of the file."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")  # pandas takes half a second to import
        writer.writerow([*COLUMNS, *self.nats])
        data, first, tokens = self.text
        for index, facts in enumerate(zip(first, tokens, strict=True)):  # there may be no model
            nats = (each[index] for each in self.nats.values())
            writer.writerow([data, *facts, *(f"{each:.{DECIMALS}f}" for each in nats)])
        return file.getvalue()

    @classmethod
    def from_csv(cls, text: str) -> "BlockLosses":
        """Invert `to_csv`.

        Raises
        ------
        ValueError
            If the text is not such a table, or a value is not a finite number.
        """
        from pandas import read_csv

        table = read_csv(io.StringIO(text), dtype=str)
        if tuple(table.columns[: len(COLUMNS)]) != COLUMNS or table["data"].nunique() != 1:
            raise ValueError(f"expected the columns {', '.join(COLUMNS)} and blocks of one text")
        nats = table.drop(columns=[*COLUMNS]).astype(np.float64)
        if not np.isfinite(nats).all(axis=None):
            raise ValueError("a loss is not finite")
        return cls(
            table["data"][0],
            tuple(table["first"].astype(int)),
            tuple(table["tokens"].astype(int)),
            {str(name): column.to_numpy() for name, column in nats.items()},
        )
