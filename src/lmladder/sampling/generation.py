"""The generation loop, one for every model."""

import math
from collections.abc import Iterator, Sequence

from lmladder.arrays import FloatArray, IntArray
from lmladder.errors import InputError, RunError
from lmladder.models.contract import LanguageModel
from lmladder.models.decoding import Decoder
from lmladder.rng import stream
from lmladder.sampling.continuation import Continuation
from lmladder.sampling.strategies import Strategy

import numpy as np


def generate(
    model: LanguageModel,
    prompt: Sequence[int] | IntArray,
    *,
    tokens: int,
    strategy: Strategy,
    seed: int,
    cache: bool = True,
) -> Iterator[int]:
    """Continue a prompt, one token after another.

    Parameters
    ----------
    prompt : at least one token; it may be longer than the model's context
    tokens : how many to yield
    seed : of the draws; token i of a run depends on the seed, i and what came before
    cache : whether to keep what was computed of earlier tokens, where the model can; the tokens are
        the same, but for rounding

    Raises
    ------
    InputError
        If the prompt is empty or has a token that the model does not know.
    RunError
        If a probability is not a number.
    """
    row = Continuation()
    for _ in draw(model, prompt, [row], tokens=tokens, strategy=strategy, seed=seed, cache=cache):
        yield row.tokens[-1]


def draw(
    model: LanguageModel,
    prompt: Sequence[int] | IntArray,
    rows: Sequence[Continuation],
    *,
    tokens: int,
    strategy: Strategy,
    seed: int,
    cache: bool = True,
) -> Iterator[None]:
    """Add tokens to several continuations of one prompt, until each is finished.

    Yields whenever all that go on have one more. Row i is what the seed `seed + i` draws alone.
    Parameters and errors are those of `generate`.
    """
    decoder, new = begin(model, prompt, cache=cache)
    seen = np.zeros((len(rows), model.vocabulary_size), bool)
    seen[:, new[0]] = True
    going = list(range(len(rows)))
    for index in range(tokens):
        logs = next_log_probabilities(decoder, new)
        if index == 0 and len(rows) > 1:  # the prompt has been read once for all
            decoder.select([0] * len(rows))
            logs = np.repeat(logs, len(rows), axis=0)
        for i, row_logs in zip(going, logs, strict=True):
            token = strategy.choose(row_logs, stream(seed + i, "sample", index), seen[i])
            seen[i, token] = True
            rows[i].add(token, float(row_logs[token]))
        yield
        left = [place for place, i in enumerate(going) if rows[i].finish_reason is None]
        if not left:
            return
        if len(left) < len(going):
            decoder.select(left)
            going = [going[place] for place in left]
        new = np.array([[rows[i].tokens[-1]] for i in going])
    for i in going:
        rows[i].finish("length")


def begin(
    model: LanguageModel, prompt: Sequence[int] | IntArray, *, cache: bool
) -> tuple[Decoder, IntArray]:
    """A decoder that has read nothing, and the prompt as its first row."""
    if len(prompt) == 0:
        raise InputError("the prompt is empty; give at least one token to continue")
    row = np.array(prompt, np.int64)[None]
    if row.min() < 0 or row.max() >= model.vocabulary_size:
        raise InputError(f"tokens of the prompt must be in [0, {model.vocabulary_size})")
    return (model.decoder() if cache else Decoder(model)), row


def next_log_probabilities(decoder: Decoder, new: IntArray) -> FloatArray:
    """What the decoder says of the token after `new`, (rows, vocabulary); RunError if NaN."""
    logs = decoder.read(new)
    if math.isnan(logs.sum()):  # the sum of log probabilities, finite or -inf, is no NaN otherwise
        raise RunError("the model's probabilities are not numbers; its weights are damaged")
    return logs
