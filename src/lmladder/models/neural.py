"""The base class of neural models: everything but the hidden vectors."""

import math
from collections.abc import Mapping
from typing import Any

from lmladder import kernels
from lmladder.autograd import Tensor, functional, no_grad
from lmladder.models.contract import LanguageModel
from lmladder.models.decoding import Decoder, log_softmax
from lmladder.models.registry import KINDS
from lmladder.nn import Linear, Module
from lmladder.system.arrays import Array, FloatArray, IntArray

import numpy as np


class NeuralLanguageModel(Module):
    """A model that is trained by gradients; the attributes are those of `LanguageModel`.

    A subclass defines `hidden`, and `unembedding` or `head`. The arguments of its constructor are
    the settings, the size of the vocabulary and, by keyword, `rng`, from which weights are drawn.
    """

    vocabulary_size: int
    context_length: int
    max_length: int | None
    unembedding: Linear | None

    def hidden(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        """Return the vector from which the token after each position is predicted.

        Parameters
        ----------
        tokens : (sequences, length)
        rng : for dropout; None outside training

        Returns
        -------
        Tensor, shape (sequences, length, size); a position depends on itself and earlier ones only
        """
        raise NotImplementedError

    def head(self, hidden: Tensor) -> Tensor:
        """Return the logits of all tokens: (..., size) -> (..., vocabulary_size)."""
        assert self.unembedding is not None
        return self.unembedding(hidden)

    def logits(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        """Return the logits after each position: (sequences, length) -> (..., vocabulary_size)."""
        return self.head(self.hidden(tokens, rng))

    def loss(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        """Return the mean negative log-likelihood of each token but the first of each sequence.

        Parameters
        ----------
        tokens : (sequences, length)

        Returns
        -------
        Tensor, shape (), in nats per token
        """
        return functional.cross_entropy(self.logits(tokens[:, :-1], rng), tokens[:, 1:])

    def nll(self, tokens: IntArray) -> FloatArray:
        with no_grad():
            logits = self.logits(tokens[:, :-1]).value
        nats, _ = kernels.cross_entropy(logits, tokens[:, 1:])
        return nats.astype(np.float64)

    def next_log_probabilities(self, tokens: IntArray) -> FloatArray:
        with no_grad():
            return log_softmax(self.logits(tokens).value[:, -1])

    def log_probabilities(self, tokens: IntArray) -> FloatArray:
        with no_grad():
            return log_softmax(self.logits(tokens).value)

    def decoder(self) -> Decoder:
        return Decoder(self)

    def hidden_matrices(self) -> list[str]:
        """Return the names of the weights of hidden linear layers, without embeddings and head."""
        return [
            f"{name}.weight"
            for name, module in self.modules()
            if isinstance(module, Linear) and not name.endswith("unembedding")
        ]


def restore(
    kind: str, settings: Any, vocabulary_size: int, arrays: Mapping[str, Array], name: str
) -> dict[str, LanguageModel]:
    """Return the model of a checkpoint, by its name.

    Raises
    ------
    ValueError
        If the arrays are not those of such a model.
    """
    zeros: Any = _Zeros(sum(array.size for array in arrays.values()))
    model: NeuralLanguageModel = KINDS.component(kind)(settings, vocabulary_size, rng=zeros)
    model.load(arrays)
    return {name: model}


class _Zeros:
    """A generator of zeros, for weights that will be replaced.

    It yields no more values than the file contains, for any sizes in the settings. Other methods,
    which the built-in models do not use, are those of a generator.
    """

    def __init__(self, available: int) -> None:
        self.available = self.left = available

    def standard_normal(self, shape: int | tuple[int, ...] = ()) -> FloatArray:
        self.left -= math.prod(shape) if isinstance(shape, tuple) else shape
        if self.left < 0:
            raise ValueError(f"its settings require more than the {self.available} stored values")
        return np.zeros(shape)

    def __getattr__(self, name: str) -> Any:
        return getattr(np.random.default_rng(0), name)
