"""A recurrent network in the place of the MLP: its state takes in one token after another."""

from itertools import pairwise

from lmladder.arrays import IntArray
from lmladder.autograd import Tensor
from lmladder.config import MlpArchitecture
from lmladder.models.neural import NeuralLanguageModel
from lmladder.nn import RECURRENT, Embedding, Linear

import numpy as np


class Recurrent(NeuralLanguageModel):
    """Embeddings of the tokens through recurrent layers, whose state is 0 before a row.

    The state could go on without end; that it begins anew after `context_length` tokens makes the
    past that a token is scored with a matter of the configuration, as it is for the other rungs.
    """

    def __init__(
        self, architecture: MlpArchitecture, vocabulary_size: int, *, rng: np.random.Generator
    ):
        self.name = architecture.network
        self.vocabulary_size = vocabulary_size
        self.context_length = self.max_length = architecture.context_length
        sizes = [architecture.embedding_size, *architecture.hidden_sizes]
        self.embedding = Embedding(vocabulary_size, sizes[0], rng=rng, deviation=1.0)
        layer = RECURRENT[architecture.network]
        self.layers = [layer(n_in, n_out, rng=rng) for n_in, n_out in pairwise(sizes)]
        self.unembedding = Linear(sizes[-1], vocabulary_size, rng=rng, deviation=0.02)

    def hidden(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x)
        return x

    def head(self, hidden: Tensor) -> Tensor:
        return self.unembedding(hidden)
