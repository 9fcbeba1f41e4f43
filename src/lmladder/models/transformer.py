"""The Transformer rung: a decoder with pre-norm blocks and a tied head (Radford et al. 2019)."""

from lmladder.arrays import FloatArray, IntArray
from lmladder.autograd import Tensor
from lmladder.config import TransformerArchitecture
from lmladder.models.decoding import CachingDecoder
from lmladder.models.neural import NeuralLanguageModel, log_softmax
from lmladder.nn import (
    ACTIVATIONS,
    CausalSelfAttention,
    Embedding,
    KeyValueCache,
    LayerNorm,
    Linear,
    Module,
)
from lmladder.nn import dropout as drop

import numpy as np

DEVIATION = 0.02  # of initial weights, as in GPT-2
HIDDEN_FACTOR = 4  # width of a feed-forward layer, in d_model


class FeedForward(Module):
    """Two linear layers around an activation: (..., d_model) -> the same."""

    def __init__(
        self,
        d_model: int,
        activation: str,
        *,
        rng: np.random.Generator,
        output_deviation: float,
    ):
        width = HIDDEN_FACTOR * d_model
        self.expand = Linear(d_model, width, rng=rng, deviation=DEVIATION)
        self.contract = Linear(width, d_model, rng=rng, deviation=output_deviation)
        self.activation = ACTIVATIONS[activation]

    def __call__(self, x: Tensor) -> Tensor:
        return self.contract(self.activation(self.expand(x)))

    def infer(self, x: FloatArray) -> FloatArray:
        hidden = self.activation(Tensor(self.expand.infer(x))).value
        return self.contract.infer(hidden)


class Block(Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, architecture: TransformerArchitecture, *, rng: np.random.Generator):
        d_model = architecture.d_model
        # 2 n_layer branches add to the residual stream; this keeps its variance (GPT-2).
        output_deviation = DEVIATION / (2 * architecture.n_layer) ** 0.5
        self.dropout = architecture.dropout
        self.attention_norm = LayerNorm(d_model)
        self.attention = CausalSelfAttention(
            d_model,
            architecture.n_head,
            rng=rng,
            deviation=DEVIATION,
            output_deviation=output_deviation,
        )
        self.feed_forward_norm = LayerNorm(d_model)
        self.feed_forward = FeedForward(
            d_model, architecture.activation, rng=rng, output_deviation=output_deviation
        )

    def __call__(self, x: Tensor, rng: np.random.Generator | None) -> Tensor:
        x = x + drop(self.attention(self.attention_norm(x)), self.dropout, rng)
        return x + drop(self.feed_forward(self.feed_forward_norm(x)), self.dropout, rng)

    def decode(self, x: FloatArray, cache: KeyValueCache) -> FloatArray:
        """The same for the positions after those in `cache`, which then has them too."""
        x = x + self.attention.decode(self.attention_norm.infer(x), cache)
        return x + self.feed_forward.infer(self.feed_forward_norm.infer(x))


class Transformer(NeuralLanguageModel):
    """Token and position embeddings, blocks, a norm, and the token embeddings again as head."""

    def __init__(
        self,
        architecture: TransformerArchitecture,
        vocabulary_size: int,
        *,
        rng: np.random.Generator,
    ):
        self.vocabulary_size = vocabulary_size
        self.context_length = self.max_length = architecture.context_length
        self.dropout = architecture.dropout
        d_model = architecture.d_model
        self.tokens = Embedding(vocabulary_size, d_model, rng=rng, deviation=DEVIATION)
        self.positions = Embedding(self.context_length, d_model, rng=rng, deviation=DEVIATION)
        self.blocks = [Block(architecture, rng=rng) for _ in range(architecture.n_layer)]
        self.norm = LayerNorm(d_model)

    def hidden(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        x = self.tokens(tokens) + self.positions(np.arange(tokens.shape[1]))
        x = drop(x, self.dropout, rng)
        for block in self.blocks:
            x = block(x, rng)
        return self.norm(x)

    def head(self, hidden: Tensor) -> Tensor:
        return self.tokens.scores(hidden)

    def caches(self) -> list[KeyValueCache]:
        return [block.attention.cache(1, self.context_length) for block in self.blocks]

    def decode(self, tokens: IntArray, caches: list[KeyValueCache], first: int) -> FloatArray:
        rows, new = tokens.shape
        positions = self.positions.weight.value[first : first + new]
        embedded = self.tokens.weight.value[tokens] + positions
        x: FloatArray = embedded.reshape(rows * new, embedded.shape[-1])
        for block, cache in zip(self.blocks, caches, strict=True):
            x = block.decode(x, cache)
        last = self.norm.infer(x[new - 1 :: new])  # of each row
        return log_softmax(last @ self.tokens.weight.value.T)

    def decoder(self) -> CachingDecoder:
        return CachingDecoder(self)
