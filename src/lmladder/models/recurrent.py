"""Recurrent networks."""

from itertools import pairwise

from lmladder.autograd import Tensor
from lmladder.models.decoding import RecurrentDecoder
from lmladder.models.neural import NeuralLanguageModel
from lmladder.models.settings import RecurrentSettings
from lmladder.nn import Embedding, GruLayer, Linear, RnnLayer
from lmladder.system.arrays import IntArray

import numpy as np


class Rnn(NeuralLanguageModel):
    """Embeddings through recurrent layers, whose state is 0 before a sequence (Elman 1990).

    A state has no limit of its own. It is reset after `context_length` tokens, so that the context
    of a score is a setting, as for the other models.
    """

    layer = RnnLayer

    def __init__(
        self, settings: RecurrentSettings, vocabulary_size: int, *, rng: np.random.Generator
    ):
        self.vocabulary_size = vocabulary_size
        self.context_length = self.max_length = settings.context_length
        sizes = [settings.embedding_size, *settings.hidden_sizes]
        self.embedding = Embedding(vocabulary_size, sizes[0], rng=rng, std=1.0)
        self.layers = [self.layer(n_in, n_out, rng=rng) for n_in, n_out in pairwise(sizes)]
        self.unembedding = Linear(sizes[-1], vocabulary_size, rng=rng, std=0.02)

    def hidden(
        self,
        tokens: IntArray,
        rng: np.random.Generator | None = None,
        *,
        states: list[Tensor] | None = None,
    ) -> Tensor:
        """Return hidden vectors as `NeuralLanguageModel.hidden` does.

        Sequences continue earlier ones if `states` contains the state of each layer after these,
        (sequences, size). The states after the new tokens replace them.
        """
        x, before = self.embedding(tokens), iter(list(states or ()))
        if states is not None:
            states.clear()
        for layer in self.layers:
            x = layer(x, next(before, None))
            if states is not None:
                states.append(x[:, -1])
        return x

    def decoder(self) -> RecurrentDecoder:
        return RecurrentDecoder(self)


class Gru(Rnn):
    """The same with gated recurrent units (Cho et al. 2014)."""

    layer = GruLayer
