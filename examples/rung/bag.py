"""A model of your own: the mean of the last tokens' embeddings, through one hidden layer.

The kind `bag` is this module, copied to src/lmladder/models/: its class Bag, with its settings in
BagSettings. bag.yaml beside it, copied to conf/rungs/, is a rung of this kind.
"""

from dataclasses import dataclass

from lmladder import kernels
from lmladder.autograd import Tensor, ops
from lmladder.models.neural import NeuralLanguageModel
from lmladder.nn import Embedding, Linear
from lmladder.system.arrays import IntArray
from lmladder.system.settings import setting

import numpy as np


@dataclass
class BagSettings:
    """What decides the shape of the model; a rung also has those of its training."""

    context_length: int = setting("tokens whose embeddings are averaged", at_least=1)
    embedding_size: int = setting("elements of a token's embedding", at_least=1)


class Bag(NeuralLanguageModel):
    """Like the MLP, but it does not know in which order the last tokens came."""

    max_length = None  # sequences of any length

    def __init__(self, settings: BagSettings, vocabulary_size: int, *, rng: np.random.Generator):
        self.vocabulary_size = vocabulary_size
        self.context_length = settings.context_length
        size = settings.embedding_size
        self.embedding = Embedding(vocabulary_size + 1, size, rng=rng, std=1.0)
        self.layer = Linear(size, size, rng=rng)
        self.unembedding = Linear(size, vocabulary_size, rng=rng, std=0.02)

    def hidden(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        # (sequences, length) -> (sequences, length, embedding_size); before the first token of a
        # sequence there are tokens of a number of their own
        padded = kernels.pad_front(tokens, self.context_length - 1, self.vocabulary_size)
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.context_length, axis=1)
        return ops.tanh(self.layer(ops.mean(self.embedding(windows), axis=2)))

    def head(self, hidden: Tensor) -> Tensor:
        return self.unembedding(hidden)
