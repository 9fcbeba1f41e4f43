"""The contract that all models satisfy, count models and neural models."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from lmladder.system.arrays import FloatArray, IntArray

if TYPE_CHECKING:
    from lmladder.models.decoding import Decoder
    from lmladder.models.guests import GuestTokenizer


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


class CrossFitted(LanguageModel, Protocol):
    """A model of which a part was fitted on the validation text.

    Attributes
    ----------
    cross_fitted : for each of equal parts of the validation text, the model to score it with, of
        which nothing was fitted on that part
    """

    cross_fitted: Sequence[LanguageModel]


def own_tokenizer(model: LanguageModel) -> "GuestTokenizer | None":
    """Return the attribute `tokenizer` of a model that has tokens of its own.

    Return None if it reads the tokens of the text.
    """
    return getattr(model, "tokenizer", None)


def parts_of_validation(
    model: LanguageModel, n_tokens: int
) -> list[tuple[int, int, LanguageModel]]:
    """Return the parts of a validation text of `n_tokens`: (first, end, model to score it with)."""
    models = getattr(model, "cross_fitted", ()) or (model,)
    ends = [n_tokens * i // len(models) for i in range(len(models) + 1)]
    return list(zip(ends, ends[1:], models, strict=False))
