"""The exact negative log-likelihood of a text: every token once, each with its context.

`lmladder.models.windows` describes the context of a token.
"""

from dataclasses import dataclass
from typing import Any

from lmladder.evaluation.blocks import block_starts
from lmladder.models.contract import LanguageModel
from lmladder.models.windows import read_tokens
from lmladder.system.arrays import FloatArray, IntArray

import numpy as np

LOG_2 = float(np.log(2))


@dataclass(frozen=True)
class Score:
    """How well a model predicts a text.

    Attributes
    ----------
    tokens, bytes : length of the text in tokens and in UTF-8 bytes
    nats : negative log-likelihood of the whole text
    block_losses : of each block of `block_starts`; empty where only the whole is known
    """

    tokens: int
    bytes: int
    nats: float
    block_losses: tuple[float, ...] = ()

    @classmethod
    def of(cls, nats: FloatArray, n_bytes: int) -> "Score":
        """Return the score of a text of `n_bytes` bytes, of which each token has these nats."""
        blocks = np.add.reduceat(nats, block_starts(len(nats))) if len(nats) else nats
        return cls(len(nats), n_bytes, float(nats.sum()), tuple(blocks.tolist()))

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """exp(nats per token): the number of equally likely tokens with the same loss."""
        with np.errstate(over="ignore"):  # it may be infinite
            return float(np.exp(self.nats_per_token))

    @property
    def bits_per_byte(self) -> float:
        """Comparable between tokenizers, as a byte of text is the same for all."""
        return self.nats / self.bytes / LOG_2


def token_nll(
    model: LanguageModel, tokens: IntArray, preceding: IntArray, **options: Any
) -> FloatArray:
    """Return the nats of each token, shape (len(tokens),), given `preceding` and those before it.

    The options are those of `read_tokens`.
    """
    return read_tokens(model, model.nll, tokens, preceding, **options)
