"""Recurrent networks: a simple one (Elman 1990), and gated recurrent units (Cho et al. 2014)."""

from lmladder.autograd import Tensor, ops
from lmladder.autograd.functional import sigmoid
from lmladder.models import NeuralLanguageModel
from lmladder.nn import Embedding, Linear
from lmladder.system.arrays import IntArray
from lmladder.system.settings import Count, Settings
from lmladder.tracing import constant

import numpy as np
from pydantic import Field


class RnnSettings(Settings):
    """What determines the shape of the model; a rung also has the settings of its training."""

    context_length: Count = Field(description="tokens after which the state is 0 again")
    embedding_size: Count = Field(description="elements of a token's embedding")
    hidden_size: Count = Field(description="elements of the state")


class Rnn(NeuralLanguageModel):
    """state = tanh(linear(x, state)); the state is 0 before a sequence."""

    Settings = RnnSettings

    label = "RNN"

    def __init__(self, settings: RnnSettings, vocabulary_size: int, *, rng: np.random.Generator):
        self.vocabulary_size = vocabulary_size
        self.context_length = self.max_length = settings.context_length
        self.embedding = Embedding(vocabulary_size, settings.embedding_size, rng=rng, std=1.0)
        self.candidate = Linear(
            settings.embedding_size + settings.hidden_size, settings.hidden_size, rng=rng
        )
        self.unembedding = Linear(settings.hidden_size, vocabulary_size, rng=rng, std=0.02)

    def hidden(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        """Return the state after each token: (sequences, length) -> (..., hidden_size)."""
        weight = self.unembedding.weight
        states = [Tensor(constant(np.zeros((len(tokens), len(weight)), weight.dtype)))]
        for t in range(tokens.shape[1]):
            states.append(self.step(self.embedding(tokens[:, t]), states[-1]))
        return ops.stack(*states[1:], axis=1)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """Return the next state: (sequences, in_size), (sequences, size) -> (sequences, size)."""
        return ops.tanh(self.candidate(ops.concat(x, state, axis=-1)))


class GruSettings(RnnSettings):
    """The same settings."""


class Gru(Rnn):
    """One gate resets a part of the state before the product, another one keeps a part."""

    Settings = GruSettings

    label = "GRU"

    def __init__(self, settings: GruSettings, vocabulary_size: int, *, rng: np.random.Generator):
        super().__init__(settings, vocabulary_size, rng=rng)
        n_in, size = self.candidate.weight.shape
        self.gates = Linear(n_in, 2 * size, rng=rng)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        reset, update = ops.split(sigmoid(self.gates(ops.concat(x, state, axis=-1))), 2)
        return update * state + (1 - update) * super().step(x, reset * state)
