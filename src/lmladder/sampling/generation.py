"""Continuing a prompt: by drawing tokens, one loop for all models, or by beam search.

Beam search draws nothing: it returns the most likely text that a search of limited width finds.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lmladder.data import Tokenizer
from lmladder.models.contract import Decoder, LanguageModel
from lmladder.sampling.continuation import Continuation
from lmladder.sampling.strategies import Strategy, most_likely
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.errors import InputError, RunError
from lmladder.system.streams import stream

import numpy as np


@dataclass(frozen=True)
class BeamSearch:
    """Search instead of sampling.

    Attributes
    ----------
    beams : number of continuations kept at each step, at least 1: always the most likely token
    """

    beams: int


def complete(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: Sequence[int] | IntArray,
    *,
    tokens: int,
    strategy: Strategy | BeamSearch,
    seed: int = 0,
    samples: int = 1,
    stop: Sequence[str] = (),
    show: Callable[[str], object] = lambda _: None,
) -> list[Continuation]:
    """Return `samples` continuations of a prompt.

    A continuation ends after `tokens` tokens, before the first occurrence of a stop text, or at the
    end of the document, if the tokenizer has a token for that. The tokens of the stop text or of
    the end are among its `tokens`, but not in its `text`.

    Parameters
    ----------
    prompt : at least one token; it may be longer than the model's context
    tokens : the greatest number of tokens to add
    seed : sample i does not depend on the others, and has the seed `seed + i`; unused in a search
    samples : the number of continuations; a beam search returns the best ones
    show : called with each piece of the first sample's text as soon as it is final

    Raises
    ------
    InputError
        If the prompt or a stop text is empty, or there are fewer beams than samples.
    RunError
        If a probability is NaN.
    """
    made = [Continuation(tokenizer, prompt, stop) for _ in range(samples)]
    if isinstance(strategy, BeamSearch):
        if samples > strategy.beams:
            raise InputError(f"samples must be at most the {strategy.beams} beams, got {samples}")
        width = strategy.beams
        made = search(model, prompt, made[0], tokens=tokens, width=width)[:samples]
        show(made[0].text)
        return made
    shown = 0
    for _ in draw(model, prompt, made, tokens=tokens, strategy=strategy, seed=seed):
        if (final := made[0].final_length) > shown:
            show(made[0].text[shown:final])
            shown = final
    show(made[0].text[shown:])
    return made


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
    decoder, new = _begin(model, prompt, cache=cache)
    seen = np.zeros((len(continuations), model.vocabulary_size), bool)
    seen[:, new[0]] = True
    active = list(range(len(continuations)))
    for index in range(tokens):
        logs = _next_log_probabilities(decoder, new)
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


def score(continuation: Continuation) -> float:
    """Return the log probability per token, in nats; the total would always favor short texts."""
    return continuation.log_probability / max(1, len(continuation.tokens))


def search(
    model: LanguageModel,
    prompt: Sequence[int] | IntArray,
    root: Continuation,
    *,
    tokens: int,
    width: int,
    cache: bool = True,
) -> list[Continuation]:
    """Return up to `width` continuations of at most `tokens` tokens, the best score first.

    At each step the most likely of all extensions by one token are kept, up to the width. A
    finished continuation stays among them and is not extended (Sutskever et al. 2014, section 3.2).
    All that are extended have the same length, so scores matter only at the end.

    Parameters
    ----------
    root : a continuation without tokens, from which all others are forked
    width : the greatest number of continuations, finished ones included
    """
    decoder, new = _begin(model, prompt, cache=cache)
    active, finished = [root], list[Continuation]()
    for _ in range(tokens):
        logs = _next_log_probabilities(decoder, new)
        totals = logs + np.array([[each.log_probability] for each in active])
        best = most_likely(totals.ravel(), width - len(finished))
        parents, chosen = np.unravel_index(best, totals.shape)
        children, left = list[Continuation](), list[int]()
        for parent, token in zip(parents.tolist(), chosen.tolist(), strict=True):
            child = active[parent].fork()
            child.add(token, float(logs[parent, token]))
            if child.finish_reason is None:
                children.append(child)
                left.append(parent)
            else:
                finished.append(child)
        active = children
        if not active:
            break
        decoder.select(left)
        new = np.array([[each.tokens[-1]] for each in active])
    for each in active:
        each.finish("length")
    return sorted([*finished, *active], key=score, reverse=True)


def _begin(
    model: LanguageModel, prompt: Sequence[int] | IntArray, *, cache: bool
) -> tuple[Decoder, IntArray]:
    """Return a decoder that has read nothing, and the prompt as its first sequence."""
    if len(prompt) == 0:
        raise InputError("the prompt is empty; give at least one token to continue")
    sequence = np.array(prompt, np.int64)[None]
    if sequence.min() < 0 or sequence.max() >= model.vocabulary_size:
        raise InputError(f"tokens of the prompt must be in [0, {model.vocabulary_size})")
    return (model.decoder() if cache else Decoder(model)), sequence


def _next_log_probabilities(decoder: Decoder, new: IntArray) -> FloatArray:
    """Return log probabilities of the token after `new`, (sequences, vocabulary).

    Raises RunError if one is NaN.
    """
    logs = decoder.read(new)
    if math.isnan(logs.sum()):  # a sum of values that are finite or -inf is not NaN
        raise RunError("the model's probabilities are NaN; its weights are damaged")
    return logs
