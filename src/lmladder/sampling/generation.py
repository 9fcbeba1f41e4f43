"""The generation loop, the same for all models."""

import math
from collections.abc import Iterator, Sequence

from lmladder.models.contract import Decoder, LanguageModel
from lmladder.sampling.continuation import Continuation
from lmladder.sampling.strategies import Strategy
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.errors import InputError, RunError
from lmladder.system.streams import stream

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
    """Continue a prompt; yield one token after another.

    Parameters
    ----------
    prompt : at least one token; it may be longer than the model's context
    tokens : the number of tokens to yield
    seed : of the random draws; token i depends on the seed, i and the preceding text
    cache : whether to store results for earlier tokens, if the model supports it; this changes
        results by rounding only

    Raises
    ------
    InputError
        If the prompt is empty or has a token outside the vocabulary.
    RunError
        If a probability is NaN.
    """
    made = Continuation()
    for _ in draw(model, prompt, [made], tokens=tokens, strategy=strategy, seed=seed, cache=cache):
        yield made.tokens[-1]


def draw(
    model: LanguageModel,
    prompt: Sequence[int] | IntArray,
    continuations: Sequence[Continuation],
    *,
    tokens: int,
    strategy: Strategy,
    seed: int,
    cache: bool = True,
) -> Iterator[None]:
    """Add tokens to several continuations of one prompt, until each is finished.

    Yields whenever all unfinished ones have one more token. Continuation i does not depend on the
    others; its seed is `seed + i`. Parameters and errors are those of `generate`.
    """
    decoder, new = begin(model, prompt, cache=cache)
    seen = np.zeros((len(continuations), model.vocabulary_size), bool)
    seen[:, new[0]] = True
    active = list(range(len(continuations)))
    for index in range(tokens):
        logs = next_log_probabilities(decoder, new)
        if index == 0 and len(continuations) > 1:  # the prompt has been read once for all
            decoder.select([0] * len(continuations))
            logs = np.repeat(logs, len(continuations), axis=0)
        for i, own_logs in zip(active, logs, strict=True):
            token = strategy.choose(own_logs, stream(seed + i, "sample", index), seen[i])
            seen[i, token] = True
            continuations[i].add(token, float(own_logs[token]))
        yield
        left = [j for j, i in enumerate(active) if continuations[i].finish_reason is None]
        if not left:
            return
        if len(left) < len(active):
            decoder.select(left)
            active = [active[j] for j in left]
        new = np.array([[continuations[i].tokens[-1]] for i in active])
    for i in active:
        continuations[i].finish("length")


def begin(
    model: LanguageModel, prompt: Sequence[int] | IntArray, *, cache: bool
) -> tuple[Decoder, IntArray]:
    """Return a decoder that has read nothing, and the prompt as its first sequence."""
    if len(prompt) == 0:
        raise InputError("the prompt is empty; give at least one token to continue")
    sequence = np.array(prompt, np.int64)[None]
    if sequence.min() < 0 or sequence.max() >= model.vocabulary_size:
        raise InputError(f"tokens of the prompt must be in [0, {model.vocabulary_size})")
    return (model.decoder() if cache else Decoder(model)), sequence


def next_log_probabilities(decoder: Decoder, new: IntArray) -> FloatArray:
    """Return log probabilities of the token after `new`, (sequences, vocabulary).

    Raises RunError if one is NaN.
    """
    logs = decoder.read(new)
    if math.isnan(logs.sum()):  # a sum of values that are finite or -inf is not NaN
        raise RunError("the model's probabilities are NaN; its weights are damaged")
    return logs
