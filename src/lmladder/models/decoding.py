"""Decoding: a text is read token after token, and each time the model says what may come next.

A model that takes at most L tokens reads a text from its beginning until that is longer than L;
then its window moves on by half of L, and again whenever it is full. So the past that a token sees
changes seldom, what was computed for it can be kept, and the cost of a token stays the same however
long the text. A model that takes any number of tokens is shown the last ones that matter to it.
"""

from collections.abc import Sequence
from typing import Protocol

from lmladder.arrays import FloatArray, IntArray
from lmladder.models.contract import LanguageModel
from lmladder.nn import KeyValueCache

import numpy as np


class Decoder:
    """Reads texts of one length, a row each; for every token it computes the whole window anew.

    Attributes
    ----------
    window : (rows, length), what the model sees of the texts that have been read
    """

    def __init__(self, model: LanguageModel):
        self._model = model
        self.window: IntArray = np.empty((1, 0), np.int64)

    def read(self, tokens: IntArray) -> FloatArray:
        """Go on with each row's next tokens, (rows, new), new >= 1.

        Returns log probabilities of the token that follows, (rows, vocabulary), float64.
        """
        self._move_on(tokens)
        return self._model.next_log_probabilities(self.window)

    def select(self, rows: Sequence[int]) -> None:
        """Make row i what row rows[i] was; there may be more or fewer than before."""
        self.window = self.window[np.asarray(rows)]

    def _move_on(self, tokens: IntArray) -> bool:
        """Add tokens to the window; whether it had to let go of its first ones for that."""
        self.window = np.concatenate([self.window, tokens], axis=1)
        length = self.window.shape[1]
        longest = self._model.max_length
        if longest is None:
            start = max(0, length - max(1, self._model.context_length))
        else:
            step = max(1, longest // 2)
            start = step * max(0, -(-(length - longest) // step))  # so that the rest is no longer
        self.window = self.window[:, start:]
        return start > 0


class CachingModel(LanguageModel, Protocol):
    """A model whose layers can keep what they computed of earlier tokens."""

    def caches(self) -> list[KeyValueCache]:
        """Empty ones for one row of `max_length` tokens."""
        ...

    def decode(self, tokens: IntArray, caches: list[KeyValueCache], first: int) -> FloatArray:
        """As `next_log_probabilities`; tokens stand at position `first` and after.

        The caches have all positions before them, and afterwards theirs too.
        """
        ...


class CachingDecoder(Decoder):
    """The same, but that only new tokens are computed while the window stays where it is."""

    def __init__(self, model: CachingModel):
        super().__init__(model)
        self._decode = model.decode
        self._caches = model.caches()

    def read(self, tokens: IntArray) -> FloatArray:
        if self._move_on(tokens):
            tokens = self.window
            for cache in self._caches:
                cache.clear()
        return self._decode(tokens, self._caches, self.window.shape[1] - tokens.shape[1])

    def select(self, rows: Sequence[int]) -> None:
        super().select(rows)
        for cache in self._caches:
            cache.select(rows)
