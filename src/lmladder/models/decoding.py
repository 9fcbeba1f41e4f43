"""Decoding: reading a text token by token, with the probabilities of the next token after each.

A model that reads at most L tokens reads a text from its beginning until it is longer than L; then
the window moves forward by L / 2, and again whenever it is full. So the context of a token rarely
changes, results for earlier tokens can be reused, and the cost per token does not depend on the
length of the text. A model without such a limit reads the last tokens on which it depends.
"""

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

from lmladder.autograd import CapturedFunction, Tensor, no_grad
from lmladder.models.contract import LanguageModel
from lmladder.system.arrays import FloatArray, IntArray

import numpy as np

if TYPE_CHECKING:
    from lmladder.models.transformer import Transformer


class Decoder:
    """Reads several texts of one length; for every token it computes the whole window again.

    Attributes
    ----------
    window : (sequences, length), the last tokens read, which the model sees
    """

    def __init__(self, model: LanguageModel):
        self._model = model
        self.window: IntArray = np.empty((1, 0), np.int64)

    def read(self, tokens: IntArray) -> FloatArray:
        """Read the next tokens of each text, (sequences, new), new >= 1.

        Returns log probabilities of the token that follows, (sequences, vocabulary), float64.
        """
        self._append(tokens)
        return self._model.next_log_probabilities(self.window)

    def select(self, sequences: Sequence[int]) -> None:
        """Make sequence i a copy of sequence sequences[i]; their number may change."""
        self.window = self.window[np.asarray(sequences)]

    def _append(self, tokens: IntArray) -> bool:
        """Append tokens to the window; return whether its first tokens were dropped."""
        self.window = np.concatenate([self.window, tokens], axis=1)
        length = self.window.shape[1]
        longest = self._model.max_length
        if longest is None:
            start = max(0, length - max(1, self._model.context_length))
        else:
            step = max(1, longest // 2)
            start = step * max(0, -(-(length - longest) // step))  # the rest is at most `longest`
        self.window = self.window[:, start:]
        return start > 0


class CachingDecoder(Decoder):
    """A decoder that computes a single new token alone, as long as the window does not move."""

    def __init__(self, model: "Transformer"):
        super().__init__(model)
        self._transformer = model
        self._caches = model.caches()
        self._next_logits: CapturedFunction | None = None

    def read(self, tokens: IntArray) -> FloatArray:
        moved = self._append(tokens)
        if moved or tokens.shape[1] > 1 or self.window.shape[1] == 1:
            with no_grad():
                logits = self._transformer.logits(self.window, caches=self._caches)
                return log_softmax(logits.value[:, -1])
        if self._next_logits is None:
            stored = [each for cache in chain.from_iterable(self._caches) for each in cache.arrays]
            tensors = [*self._transformer.parameters().values(), *stored]
            self._next_logits = CapturedFunction(self._logits, tensors)
        position = np.array([self.window.shape[1] - 1])
        before, new = np.split(self.window[:, -2:].astype(np.int64), 2, axis=1)
        return log_softmax(self._next_logits(before, new, position)[:, 0])

    def _logits(self, before: IntArray, new: IntArray, position: IntArray) -> Tensor:
        return self._transformer.logits(new, positions=position, before=before, caches=self._caches)

    def select(self, sequences: Sequence[int]) -> None:
        if len(sequences) != len(self.window):
            self._next_logits = None  # the caches will be other arrays
        super().select(sequences)
        for cache in chain.from_iterable(self._caches):
            cache.select(np.asarray(sequences))


def log_softmax(logits: FloatArray) -> FloatArray:
    """Return log probabilities along the last axis in float64; their exponentials sum to 1."""
    exact = logits.astype(np.float64)
    exact -= exact.max(axis=-1, keepdims=True)
    exact -= np.log(np.exp(exact).sum(axis=-1, keepdims=True))
    return exact
