"""The MLP rung: a neural probabilistic language model (Bengio et al. 2003)."""

from itertools import pairwise

from lmladder import kernels
from lmladder.arrays import IntArray
from lmladder.autograd import Tensor
from lmladder.config import MlpArchitecture
from lmladder.models.neural import NeuralLanguageModel
from lmladder.nn import ACTIVATIONS, Embedding, Linear

import numpy as np


class Mlp(NeuralLanguageModel):
    """Embeddings of the last `context_length` tokens, side by side, through hidden layers.

    Where a row has fewer tokens before a position, the missing ones have an embedding of their own.
    """

    name = "mlp"
    max_length = None

    def __init__(
        self, architecture: MlpArchitecture, vocabulary_size: int, *, rng: np.random.Generator
    ):
        self.vocabulary_size = vocabulary_size
        self.context_length = architecture.context_length
        self.activation = ACTIVATIONS[architecture.activation]
        size = architecture.embedding_size
        self.embedding = Embedding(vocabulary_size + 1, size, rng=rng, deviation=1.0)
        sizes = [self.context_length * size, *architecture.hidden_sizes]
        self.layers = [Linear(n_in, n_out, rng=rng) for n_in, n_out in pairwise(sizes)]
        self.unembedding = Linear(sizes[-1], vocabulary_size, rng=rng, deviation=0.02)

    def hidden(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        padded = kernels.pad_front(tokens, self.context_length - 1, self.vocabulary_size)
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.context_length, axis=1)
        x = self.embedding(windows)  # (rows, length, context_length, embedding_size)
        x = x.reshape(*tokens.shape, -1)
        for layer in self.layers:
            x = self.activation(layer(x))
        return x

    def head(self, hidden: Tensor) -> Tensor:
        return self.unembedding(hidden)
