"""The contract that all models satisfy, count models and neural models, and their decoders.

A decoder reads a text token by token, with the probabilities of the next token after each. A model
that reads at most L tokens reads a text from its beginning until it is longer than L; then the
window moves forward by L / 2, and again whenever it is full. So the context of a token rarely
changes, results for earlier tokens can be reused, and the cost per token does not depend on the
length of the text. A model without such a limit reads the last tokens on which it depends.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from lmladder.data import Tokenizer
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.errors import InputError

import numpy as np


class LanguageModel(Protocol):
    """What scoring and sampling require of a model.

    Attributes
    ----------
    vocabulary_size : number of tokens; token ids start at 0
    context_length : number of preceding tokens on which a prediction may depend
    max_length : length of the longest input sequence, None if unlimited
    n_parameters : number of learned values, or of stored n-grams
    """

    vocabulary_size: int
    context_length: int
    max_length: int | None

    @property
    def n_parameters(self) -> int: ...

    def nll(self, tokens: IntArray) -> FloatArray:
        """Return the negative log-likelihood of each token but the first, given those before it.

        Parameters
        ----------
        tokens : (sequences, length), length at most max_length + 1

        Returns
        -------
        float64 array, shape (sequences, length - 1), in nats
        """
        ...

    def next_log_probabilities(self, tokens: IntArray) -> FloatArray:
        """Return the log probability of each possible next token after each sequence.

        Parameters
        ----------
        tokens : (sequences, length), length at most max_length

        Returns
        -------
        float64 array, shape (sequences, vocabulary_size)
        """
        ...

    def log_probabilities(self, tokens: IntArray) -> FloatArray:
        """Return the log probability of each possible next token after every position.

        Parameters
        ----------
        tokens : (sequences, length), length at most max_length

        Returns
        -------
        float64 array, shape (sequences, length, vocabulary_size), which may be large
        """
        ...

    def decoder(self) -> "Decoder":
        """Return a decoder, which reads texts token by token; weights must not change meanwhile."""
        ...


def require_complete(model: Any) -> None:
    """Raise InputError, with its name, if a model does not satisfy `LanguageModel`.

    That is, if it lacks an attribute, or has log probabilities of another shape.
    """
    name = type(model).__name__
    for each in ("vocabulary_size", "context_length", "max_length", "n_parameters"):
        if not hasattr(model, each):
            raise InputError(f"{name} must have the attribute {each}")
    tokens = np.zeros((1, min(2, model.max_length or 2)), np.int64)
    shape, right = model.log_probabilities(tokens).shape, (*tokens.shape, model.vocabulary_size)
    if shape != right:
        raise InputError(
            f"{name}: the log probabilities after tokens of shape {tokens.shape} have the shape "
            f"{shape}, not {right}"
        )


def own_tokenizer(model: LanguageModel) -> Tokenizer | None:
    """Return the tokenizer of a model that has its own; None if it reads the tokens of the text."""
    return getattr(model, "tokenizer", None)


def parts_of_validation(
    model: LanguageModel, n_tokens: int
) -> list[tuple[int, int, LanguageModel]]:
    """Return the parts of a validation text of `n_tokens`: (first, end, model to score it with).

    A model that was fitted on the validation text has `cross_fitted`: for each of equal parts of
    it, the model to score it with, of which nothing was fitted on that part.
    """
    models = getattr(model, "cross_fitted", ()) or (model,)
    ends = [n_tokens * i // len(models) for i in range(len(models) + 1)]
    return list(zip(ends, ends[1:], models, strict=False))


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


def log_softmax(logits: FloatArray) -> FloatArray:
    """Return log probabilities along the last axis in float64; their exponentials sum to 1."""
    exact = logits.astype(np.float64)
    exact -= exact.max(axis=-1, keepdims=True)
    exact -= np.log(np.exp(exact).sum(axis=-1, keepdims=True))
    return exact
