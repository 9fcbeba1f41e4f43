"""From the tokens of a prompt to finished texts, by drawing tokens or by beam search.

Beam search draws nothing: it returns the most likely text that a search of limited width finds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmladder.data import Tokenizer
from lmladder.models.contract import LanguageModel
from lmladder.sampling.continuation import Continuation
from lmladder.sampling.generation import begin, draw, next_log_probabilities
from lmladder.sampling.strategies import Strategy, most_likely
from lmladder.system.arrays import IntArray
from lmladder.system.errors import InputError

import numpy as np


@dataclass(frozen=True)
class BeamSearch:
    """Search instead of sampling.

    Attributes
    ----------
    beams : number of continuations kept at each step, at least 1: always the most likely token
    """

    beams: int


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
    decoder, new = begin(model, prompt, cache=cache)
    active, finished = [root], list[Continuation]()
    for _ in range(tokens):
        logs = next_log_probabilities(decoder, new)
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
    cache: bool = True,
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
    cache : whether to store results for earlier tokens, if the model supports it
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
        made = search(model, prompt, made[0], tokens=tokens, width=width, cache=cache)[:samples]
        show(made[0].text)
        return made
    shown = 0
    for _ in draw(model, prompt, made, tokens=tokens, strategy=strategy, seed=seed, cache=cache):
        if (final := made[0].final_length) > shown:
            show(made[0].text[shown:final])
            shown = final
    show(made[0].text[shown:])
    return made
