"""A long short-term memory (Hochreiter and Schmidhuber 1997; forget gates by Gers et al. 2000)."""

from lmladder.autograd import Tensor, ops
from lmladder.autograd.functional import sigmoid
from lmladder.models import NeuralLanguageModel
from lmladder.nn import Embedding, Linear
from lmladder.system.arrays import IntArray
from lmladder.system.settings import Count, Settings
from lmladder.tracing import constant

import numpy as np
from pydantic import Field


class LstmSettings(Settings):
    """What determines the shape of the model; a rung also has the settings of its training."""

    context_length: Count = Field(description="maximum number of tokens that the model reads")
    embedding_size: Count = Field(description="elements of a token's embedding")
    hidden_size: Count = Field(description="elements of the state, and of the memory")


class Lstm(NeuralLanguageModel):
    """One layer; state and memory are 0 before a sequence."""

    Settings = LstmSettings

    label = "LSTM"

    def __init__(self, settings: LstmSettings, vocabulary_size: int, *, rng: np.random.Generator):
        self.vocabulary_size = vocabulary_size
        self.context_length = self.max_length = settings.context_length
        self.size = settings.hidden_size
        self.embedding = Embedding(vocabulary_size, settings.embedding_size, rng=rng, std=1.0)
        self.gates = Linear(settings.embedding_size + self.size, 4 * self.size, rng=rng)
        self.unembedding = Linear(self.size, vocabulary_size, rng=rng, std=0.02)

    def hidden(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        """Return the state after each token: (sequences, length) -> (..., hidden_size)."""
        zeros = np.zeros((len(tokens), self.size), self.gates.weight.dtype)
        state = memory = Tensor(constant(zeros))  # `constant`, so that a step can be replayed
        states = []
        for t in range(tokens.shape[1]):
            inputs = ops.concat(self.embedding(tokens[:, t]), state, axis=-1)
            forget, write, show, new = ops.split(self.gates(inputs), 4)
            keep = sigmoid(forget + 1)  # much at first (Jozefowicz et al. 2015)
            memory = keep * memory + sigmoid(write) * ops.tanh(new)
            state = sigmoid(show) * ops.tanh(memory)
            states.append(state)
        return ops.stack(*states, axis=1)
