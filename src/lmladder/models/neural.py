"""What the neural rungs share: everything but how hidden vectors come from tokens."""

from lmladder import kernels
from lmladder.arrays import FloatArray, IntArray
from lmladder.autograd import Tensor, functional, no_grad
from lmladder.models.decoding import Decoder, log_softmax
from lmladder.nn import Linear, Module

import numpy as np


class NeuralLanguageModel(Module):
    """A model that is trained by gradients. A subclass gives `hidden` and `head`.

    Attributes
    ----------
    name : what it is called in the table; the others are those of `LanguageModel`
    """

    name: str
    vocabulary_size: int
    context_length: int
    max_length: int | None

    def hidden(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        """The vector from which the token after each position is predicted.

        Parameters
        ----------
        tokens : (rows, length)
        rng : for dropout; None outside training

        Returns
        -------
        Tensor, shape (rows, length, size); a position depends on itself and earlier ones only
        """
        raise NotImplementedError

    def head(self, hidden: Tensor) -> Tensor:
        """Scores of all tokens: (..., size) -> (..., vocabulary_size)."""
        raise NotImplementedError

    def logits(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        """Scores of the token after each position: (rows, length) -> (rows, length, vocabulary)."""
        return self.head(self.hidden(tokens, rng))

    def loss(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        """Mean nats of each token but the first of each row, (rows, length): a number."""
        return functional.cross_entropy(self.logits(tokens[:, :-1], rng), tokens[:, 1:])

    def nats(self, tokens: IntArray) -> FloatArray:
        with no_grad():
            logits = self.logits(tokens[:, :-1]).value
        nats, _ = kernels.cross_entropy(logits, tokens[:, 1:])
        return nats.astype(np.float64)

    def next_log_probabilities(self, tokens: IntArray) -> FloatArray:
        with no_grad():
            return log_softmax(self.head(self.hidden(tokens)[:, -1:]).value[:, 0])

    def log_probabilities(self, tokens: IntArray) -> FloatArray:
        with no_grad():
            return log_softmax(self.logits(tokens).value)

    def decoder(self) -> Decoder:
        return Decoder(self)

    def hidden_matrices(self) -> list[str]:
        """Names of the weights of hidden linear layers: neither embeddings nor the head."""
        return [
            f"{name}.weight"
            for name, module in self.modules()
            if isinstance(module, Linear) and not name.endswith("unembedding")
        ]
