"""What every rung of the ladder can do, whether it counts or learns."""

from typing import TYPE_CHECKING, Protocol

from lmladder.arrays import FloatArray, IntArray

if TYPE_CHECKING:
    from lmladder.models.decoding import Decoder


class LanguageModel(Protocol):
    """The contract that one scorer and one sampler rely on.

    Attributes
    ----------
    vocabulary_size : how many tokens there are; their numbers run from 0
    context_length : how many past tokens can matter at most
    max_length : the longest row of inputs that the model takes, None where any length will do
    n_parameters : how many numbers it has learnt, or n-grams it has stored
    """

    vocabulary_size: int
    context_length: int
    max_length: int | None

    @property
    def n_parameters(self) -> int: ...

    def nats(self, tokens: IntArray) -> FloatArray:
        """Negative log-likelihood of each token but the first, given those before it in its row.

        Parameters
        ----------
        tokens : (rows, length), length at most max_length + 1

        Returns
        -------
        float64 array, shape (rows, length - 1)
        """
        ...

    def next_log_probabilities(self, tokens: IntArray) -> FloatArray:
        """Log probability of each possible next token after each row.

        Parameters
        ----------
        tokens : (rows, length), length at most max_length

        Returns
        -------
        float64 array, shape (rows, vocabulary_size)
        """
        ...

    def log_probabilities(self, tokens: IntArray) -> FloatArray:
        """Log probability of each possible next token after every position of each row.

        Parameters
        ----------
        tokens : (rows, length), length at most max_length

        Returns
        -------
        float64 array, shape (rows, length, vocabulary_size); large, so ask for few rows at a time
        """
        ...

    def decoder(self) -> "Decoder":
        """What reads one text, token after token, as fast as this model can.

        It holds for the weights that the model has now.
        """
        ...
