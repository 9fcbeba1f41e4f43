"""The exact negative log-likelihood of a text: every token once, none without its past.

The context protocol
--------------------
A text is scored as the continuation of what comes before it (validation text after training text),
so that its first token has a context too. A model that sees at most L tokens reads the text in
windows of L; each window after the first begins so far back that its first scored token still sees
`least_context` of L. Every token is scored in exactly one window, and how many windows are put into
one batch changes memory, and scores by rounding only.
"""

from collections.abc import Callable
from dataclasses import dataclass

from lmladder.arrays import FloatArray, IntArray
from lmladder.models.contract import LanguageModel
from lmladder.scoring.blocks import block_starts

import numpy as np

LOG_2 = float(np.log(2))


@dataclass(frozen=True)
class Score:
    """How well a model predicts a text.

    Attributes
    ----------
    tokens, bytes : length of the text in tokens and in UTF-8 bytes
    nats : negative log-likelihood of the whole text
    block_nats : of each block of `block_starts`; empty where only the whole is known
    """

    tokens: int
    bytes: int
    nats: float
    block_nats: tuple[float, ...] = ()

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """exp(nats per token): among how many equally likely tokens the model would choose."""
        return float(np.exp(self.nats_per_token))

    @property
    def bits_per_byte(self) -> float:
        """Comparable between tokenizers, as a byte of text is the same for all."""
        return self.nats / self.bytes / LOG_2


def token_nats(
    model: LanguageModel,
    tokens: IntArray,
    past: IntArray,
    *,
    least_context: float,
    batch_tokens: int,
    advance: Callable[[int], None] = lambda count: None,
) -> FloatArray:
    """Nats of each of `tokens`, shape (len(tokens),), given `past` and the tokens before it.

    Parameters
    ----------
    model : any rung
    tokens : the text, 1-d
    past : what comes before it, 1-d, at least one token; only its end is read
    least_context : fraction of the model's context, in [0, 1), that each scored token of a later
        window sees at least
    batch_tokens : read at a time, about; bounds memory
    advance : is told how many more tokens are scored, as the work goes on
    """
    if len(past) == 0:
        raise ValueError("scoring needs at least one token before the text")
    if len(tokens) == 0:
        return np.empty(0)
    if model.max_length is None:  # any length will do: one window a batch
        window, overlap = model.context_length + batch_tokens, model.context_length
    else:
        window = model.max_length
        overlap = min(window - 1, int(np.ceil(window * least_context)))
    lead = min(len(past), max(overlap, 1))
    stream = np.concatenate([past[len(past) - lead :], tokens]).astype(np.int64)
    n_targets = len(stream) - 1
    window = min(window, n_targets)
    starts = _window_starts(n_targets, window, overlap)
    nats = np.empty(n_targets)
    done = 0
    rows = max(1, batch_tokens // window)
    for first in range(0, len(starts), rows):
        batch = starts[first : first + rows]
        scored = model.nats(stream[batch[:, None] + np.arange(window + 1)])
        before = done
        for start, row in zip(batch, scored, strict=True):
            nats[done : start + window] = row[done - start :]
            done = start + window
        advance(done - before)
    return nats[lead - 1 :]


def _window_starts(n_targets: int, window: int, overlap: int) -> IntArray:
    """Where windows of `window` targets begin, each at most window - overlap after the one before.

    All are of one length, so that they fit one batch: the last one ends with the text.
    """
    last = n_targets - window
    if last == 0:
        return np.zeros(1, np.int64)
    starts = np.arange(0, last + 1, window - overlap)
    return starts if starts[-1] == last else np.append(starts, last)


def score(
    model: LanguageModel,
    tokens: IntArray,
    past: IntArray,
    *,
    n_bytes: int,
    least_context: float,
    batch_tokens: int,
    advance: Callable[[int], None] = lambda count: None,
) -> Score:
    """The score of a text of `n_bytes` bytes; the other arguments are those of `token_nats`."""
    nats = token_nats(
        model,
        tokens,
        past,
        least_context=least_context,
        batch_tokens=batch_tokens,
        advance=advance,
    )
    blocks = np.add.reduceat(nats, block_starts(len(nats))) if len(nats) else nats
    return Score(len(tokens), n_bytes, float(nats.sum()), tuple(blocks.tolist()))
