"""Decoding: a text is read token after token, and each time the model says what may come next.

A model that takes at most L tokens reads a text from its beginning until that is longer than L;
then its window moves on by half of L, and again whenever it is full. So the past that a token sees
changes seldom, what was computed for it can be kept, and the cost of a token stays the same however
long the text. A model that takes any number of tokens is shown the last ones that matter to it.
"""

from collections.abc import Callable, Sequence
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

    def next_log_probabilities(
        self, tokens: IntArray, caches: Sequence[KeyValueCache] | None = None
    ) -> FloatArray:
        """With caches, all that is computed of the tokens is stored there."""
        ...

    def step(
        self, rows: int, caches: Sequence[KeyValueCache], position: IntArray
    ) -> Callable[[IntArray], FloatArray]:
        """What takes the next token of each row, (rows,), and gives log probabilities after it.

        It holds for the weights and the arrays of the caches as they are now, and stores what it
        computes there. `position`, (1,), is read at each call.
        """
        ...


class CachingDecoder(Decoder):
    """The same, but of a single new token it computes that alone, while the window stays."""

    def __init__(self, model: CachingModel):
        super().__init__(model)
        self._caching = model
        self._caches = model.caches()
        self._position = np.zeros(1, np.int64)
        self._step: Callable[[IntArray], FloatArray] | None = None

    def read(self, tokens: IntArray) -> FloatArray:
        if self._move_on(tokens) or tokens.shape[1] > 1:
            return self._caching.next_log_probabilities(self.window, self._caches)
        rows, length = self.window.shape
        if self._step is None:
            self._step = self._caching.step(rows, self._caches, self._position)
        self._position[0] = length - 1
        return self._step(tokens[:, 0])

    def select(self, rows: Sequence[int]) -> None:
        if len(rows) != len(self.window):
            self._step = None
        super().select(rows)
        for cache in self._caches:
            cache.select(np.asarray(rows))
