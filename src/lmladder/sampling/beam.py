"""Beam search: the most likely text that a search of limited width finds, without random draws."""

from collections.abc import Sequence
from dataclasses import dataclass

from lmladder.models.contract import LanguageModel
from lmladder.sampling.continuation import Continuation
from lmladder.sampling.generation import begin, next_log_probabilities
from lmladder.sampling.strategies import most_likely
from lmladder.system.arrays import IntArray

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
