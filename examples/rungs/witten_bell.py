"""Witten-Bell smoothing (Witten and Bell 1991), a count model: it is fitted without gradients."""

from collections.abc import Mapping

from lmladder.models import FittedAtOnce
from lmladder.models.counts import CountTables
from lmladder.models.ngram import CountModel
from lmladder.system.arrays import Array, IntArray
from lmladder.system.settings import Settings

import numpy as np
from pydantic import Field


class WittenBellSettings(Settings):
    """Which n-grams are counted."""

    order: int = Field(ge=1, le=100, description="tokens of the longest n-gram")


class WittenBell(CountModel, FittedAtOnce):
    """p(w | h) = (c(hw) + T(h) p(w | h without its first token)) / (c(h) + T(h)).

    T(h), the number of different tokens seen after h, estimates how often a new one follows. The
    base class applies shares, here c(hw) / (c(h) + T(h)), and backoff weights, here T(h) / (c(h) +
    T(h)), from order 1 up; order 1 backs off to the uniform distribution.
    """

    Settings = WittenBellSettings

    label = "Witten-Bell"

    @staticmethod
    def learn(
        settings: WittenBellSettings, tokens: IntArray, vocabulary_size: int
    ) -> Mapping[str, Array]:
        """Return the arrays of the checkpoint: the counts in the training text, (tokens,)."""
        return CountTables.count(tokens, vocabulary_size, settings.order).arrays()

    def __init__(
        self, settings: WittenBellSettings, vocabulary_size: int, arrays: Mapping[str, Array]
    ):
        tables = CountTables.from_arrays(arrays, vocabulary_size)
        levels = []
        for order in range(1, settings.order + 1):
            counts, n_contexts = tables.counts(order), tables.size(order - 1)
            contexts, _ = tables.prefixes_and_last_tokens(order)
            types = np.bincount(contexts, minlength=n_contexts)
            total = np.bincount(contexts, weights=counts, minlength=n_contexts) + types
            unseen = total == 0  # a context that only ends the text
            total[unseen], types[unseen] = 1, 1
            levels.append((counts / total[contexts], types / total))
        super().__init__(tables, levels, base_is_uniform=False)
