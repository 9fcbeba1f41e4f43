"""The MLP: a neural probabilistic language model (Bengio et al. 2003)."""

from itertools import pairwise
from typing import Annotated

from lmladder.autograd import Tensor
from lmladder.models.kind import BLUE
from lmladder.models.neural import NeuralLanguageModel
from lmladder.nn import ACTIVATIONS, Embedding, Linear
from lmladder.system.arrays import IntArray
from lmladder.system.settings import Count, OneOf, Settings

import numpy as np
from pydantic import Field


class MlpSettings(Settings):
    """What determines the shape of the MLP."""

    context_length: Count = Field(description="maximum number of tokens that the model reads")
    embedding_size: Count = Field(description="elements of a token's embedding")
    hidden_sizes: list[Count] = Field(description="elements of each hidden layer")
    activation: Annotated[str, OneOf(ACTIVATIONS)] = Field(description="of the hidden layers")


class Mlp(NeuralLanguageModel):
    """Concatenated embeddings of the last `context_length` tokens, through hidden layers.

    Where a sequence has fewer tokens before a position, a learned embedding replaces each missing
    one.
    """

    Settings = MlpSettings
    label = "MLP"
    color = BLUE
    max_length = None

    def __init__(self, settings: MlpSettings, vocabulary_size: int, *, rng: np.random.Generator):
        self.vocabulary_size = vocabulary_size
        self.context_length = settings.context_length
        self.activation = ACTIVATIONS[settings.activation]
        size = settings.embedding_size
        self.embedding = Embedding(vocabulary_size + 1, size, rng=rng, std=1.0)
        sizes = [self.context_length * size, *settings.hidden_sizes]
        self.layers = [Linear(n_in, n_out, rng=rng) for n_in, n_out in pairwise(sizes)]
        self.unembedding = Linear(sizes[-1], vocabulary_size, rng=rng, std=0.02)

    def hidden(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        before = self.context_length - 1  # embeddings of missing tokens before the first
        shape = len(tokens), before + tokens.shape[1]
        padded = np.full_like(tokens, self.vocabulary_size, np.int64, shape=shape)
        padded[:, before:] = tokens
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.context_length, axis=1)
        x = self.embedding(windows)  # (sequences, length, context_length, embedding_size)
        x = x.reshape(*tokens.shape, -1)
        for layer in self.layers:
            x = self.activation(layer(x))
        return x
