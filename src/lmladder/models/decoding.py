"""Decoding: a text is read token after token, and each time the model says what may come next.

A model that takes at most L tokens reads a text from its beginning until that is longer than L;
then its window moves on by half of L, and again whenever it is full. So the past that a token sees
changes seldom, what was computed for it can be kept, and the cost of a token stays the same however
long the text. A model that takes any number of tokens is shown the last ones that matter to it.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from lmladder.arrays import FloatArray, IntArray
from lmladder.autograd import Recorded, Tensor
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

    def parameters(self) -> Mapping[str, Tensor]: ...

    def caches(self) -> list[KeyValueCache]:
        """Empty ones for one row of `max_length` tokens."""
        ...

    def next_log_probabilities(
        self, tokens: IntArray, caches: Sequence[KeyValueCache] | None = None
    ) -> FloatArray:
        """With caches, all that is computed of the tokens is stored there."""
        ...

    def hidden(
        self, tokens: IntArray, *, positions: IntArray, caches: Sequence[KeyValueCache]
    ) -> Tensor:
        """Of one token a row, (rows, 1), at a position, (1,), that follows those in the caches."""
        ...

    def head(self, hidden: Tensor) -> Tensor: ...


class CachingDecoder(Decoder):
    """The same, but of a single new token it computes that alone, while the window stays."""

    def __init__(self, model: CachingModel):
        super().__init__(model)
        self._caching = model
        self._caches = model.caches()
        self._follow: Recorded | None = None

    def read(self, tokens: IntArray) -> FloatArray:
        if self._move_on(tokens) or tokens.shape[1] > 1:
            return self._caching.next_log_probabilities(self.window, self._caches)
        if self._follow is None:
            weights = [each.value for each in self._caching.parameters().values()]
            stored = [array for cache in self._caches for array in (cache.keys, cache.values)]
            self._follow = Recorded(self._scores, [*weights, *stored])
        position = np.array([self.window.shape[1] - 1])
        return log_softmax(self._follow(tokens.astype(np.int64), position)[:, 0])

    def _scores(self, tokens: IntArray, position: IntArray) -> Tensor:
        hidden = self._caching.hidden(tokens, positions=position, caches=self._caches)
        return self._caching.head(hidden)

    def select(self, rows: Sequence[int]) -> None:
        if len(rows) != len(self.window):
            self._follow = None  # the caches will be other arrays
        super().select(rows)
        for cache in self._caches:
            cache.select(np.asarray(rows))


def log_softmax(logits: FloatArray) -> FloatArray:
    """Log probabilities in float64, whose exponentials sum to 1: (rows, vocabulary) -> the same."""
    exact = logits.astype(np.float64)
    exact -= exact.max(axis=-1, keepdims=True)
    exact -= np.log(np.exp(exact).sum(axis=-1, keepdims=True))
    return exact
