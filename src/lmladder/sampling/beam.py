"""Beam search: the likeliest text that a search of limited width finds. Nothing is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

from lmladder.arrays import IntArray
from lmladder.errors import InputError
from lmladder.models.contract import LanguageModel
from lmladder.sampling.continuation import Continuation
from lmladder.sampling.generation import begin, next_log_probabilities
from lmladder.sampling.strategies import likeliest

import numpy as np


@dataclass(frozen=True)
class BeamSearch:
    """Search instead of drawing.

    Attributes
    ----------
    beams : how many continuations are pursued side by side; 1 takes the likeliest token always
    """

    beams: int

    def __post_init__(self) -> None:
        if self.beams < 1:
            raise InputError(f"beams must be at least 1, not {self.beams}")


def score(continuation: Continuation) -> float:
    """Log probability a token, in nats: without the division short texts would always win."""
    return continuation.log_probability / max(1, len(continuation.tokens))


def search(
    model: LanguageModel,
    prompt: Sequence[int] | IntArray,
    begun: Continuation,
    *,
    tokens: int,
    width: int,
    cache: bool = True,
) -> list[Continuation]:
    """Up to `width` continuations of at most `tokens` tokens, the best score first.

    At each step the likeliest of all continuations by one more token are kept, as many as there is
    room for. One that is finished keeps its place and is not extended (Sutskever et al. 2014,
    section 3.2). All that are extended are equally long, so scores only matter at the end.

    Parameters
    ----------
    begun : a continuation without tokens, which all others are forked from
    width : how many continuations there are at most, finished ones included
    """
    decoder, new = begin(model, prompt, cache=cache)
    going, finished = [begun], list[Continuation]()
    for _ in range(tokens):
        logs = next_log_probabilities(decoder, new)
        totals = logs + np.array([[each.log_probability] for each in going])
        best = likeliest(totals.ravel(), width - len(finished))
        parents, chosen = np.unravel_index(best, totals.shape)
        children, left = list[Continuation](), list[int]()
        for parent, token in zip(parents.tolist(), chosen.tolist(), strict=True):
            child = going[parent].fork()
            child.add(token, float(logs[parent, token]))
            if child.finish_reason is None:
                children.append(child)
                left.append(parent)
            else:
                finished.append(child)
        going = children
        if not going:
            break
        decoder.select(left)
        new = np.array([[each.tokens[-1]] for each in going])
    for each in going:
        each.finish("length")
    return sorted([*finished, *going], key=score, reverse=True)
