"""Nats of blocks of a text, so that models can be compared on the same text, block by block.

Neighbouring tokens are easy or hard together, and so are no independent evidence; long blocks of
consecutive tokens nearly are. Two files can be compared if their columns before the models' are
the same.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmladder.arrays import FloatArray, IntArray

import numpy as np

BLOCK_NATS = "block_nats.csv"
LEAST_TOKENS = 512  # of a block of a whole text, if it has so many
MOST_BLOCKS = 256
COLUMNS = ("data", "first", "tokens")
DECIMALS = 6
DIGEST_DIGITS = 16  # enough to tell texts apart, in a column that repeats them


def block_starts(n_tokens: int) -> IntArray:
    """Where the blocks of a whole text begin; their lengths differ by one token at most."""
    count = min(n_tokens, MOST_BLOCKS, max(1, n_tokens // LEAST_TOKENS))
    return np.arange(count) * n_tokens // count


@dataclass(frozen=True)
class BlockNats:
    """What block_nats.csv holds: a row a block, a column a model.

    Attributes
    ----------
    data : sha256 of the prepared text, tokenizer included; the file has its first digits
    first : the place of each block's first token in the validation text
    tokens : how many each block has
    nats : by model, of each block as a whole
    """

    data: str
    first: tuple[int, ...]
    tokens: tuple[int, ...]
    nats: Mapping[str, Sequence[float] | FloatArray]

    @classmethod
    def of_whole_text(
        cls, data: str, n_tokens: int, nats: Mapping[str, Sequence[float]]
    ) -> "BlockNats":
        """Of the blocks of `block_starts`."""
        starts = block_starts(n_tokens)
        lengths = np.diff(starts, append=n_tokens)
        return cls(data, tuple(starts.tolist()), tuple(lengths.tolist()), nats)

    @property
    def text(self) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
        """What two must have in common to be compared."""
        return self.data[:DIGEST_DIGITS], self.first, self.tokens

    def to_csv(self) -> str:
        lines = [",".join((*COLUMNS, *self.nats))]
        for first, tokens, *nats in zip(self.first, self.tokens, *self.nats.values(), strict=True):
            cells = (f"{each:.{DECIMALS}f}" for each in nats)
            lines.append(",".join((self.text[0], str(first), str(tokens), *cells)))
        return "\n".join(lines) + "\n"

    @classmethod
    def from_csv(cls, text: str) -> "BlockNats":
        """What `to_csv` wrote.

        Raises
        ------
        ValueError
            If the text is no such table, or a number is none.
        """
        head, *rows = list(csv.reader(io.StringIO(text))) or [[]]
        if tuple(head[: len(COLUMNS)]) != COLUMNS or not rows:
            raise ValueError(f"expected the columns {', '.join(COLUMNS)} and a row a block")
        if len({row[0] for row in rows}) > 1 or any(len(row) != len(head) for row in rows):
            raise ValueError("expected rows of one text, with a number a column")
        data, first, tokens, *nats = zip(*rows, strict=True)
        values = np.array(nats, dtype=np.float64).reshape(len(nats), len(rows))
        if not np.isfinite(values).all():
            raise ValueError("a number is not finite")
        return cls(
            data[0],
            tuple(map(int, first)),
            tuple(map(int, tokens)),
            dict(zip(head[len(COLUMNS) :], values, strict=True)),
        )
