"""The generation loop, one for every model."""

from collections.abc import Iterator, Sequence

from lmladder.errors import InputError, RunError
from lmladder.models.contract import LanguageModel
from lmladder.rng import stream
from lmladder.sampling.strategies import Strategy

import numpy as np


def generate(
    model: LanguageModel, prompt: Sequence[int], *, tokens: int, strategy: Strategy, seed: int
) -> Iterator[int]:
    """Continue a prompt, one token after another.

    A model that takes at most L tokens reads the text from its beginning until that is longer than
    L; then the window moves on by half of L. So the past that a token sees changes seldom, and what
    is computed for it can be kept.

    Parameters
    ----------
    prompt : at least one token
    tokens : how many to yield
    seed : of the draws; token i of a run depends on the seed, i and what came before

    Raises
    ------
    InputError
        If the prompt is empty.
    RunError
        If a probability is not a number.
    """
    if len(prompt) == 0:
        raise InputError("the prompt is empty; give at least one token to continue")
    text = list(prompt)
    start = 0
    longest = model.max_length or max(1, model.context_length)
    for index in range(tokens):
        if model.max_length is None:
            start = max(0, len(text) - longest)
        while len(text) - start > longest:
            start += max(1, longest // 2)
        log_probabilities = model.next_log_probabilities(np.array([text[start:]]))[0]
        if np.isnan(log_probabilities).any():
            raise RunError("the model's probabilities are not numbers; its weights are damaged")
        token = strategy.choose(log_probabilities, stream(seed, "sample", index))
        text.append(token)
        yield token
