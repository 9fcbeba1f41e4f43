"""The Transformer rung: a decoder with pre-norm blocks and a tied head (Radford et al. 2019)."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat

from lmladder.arrays import FloatArray, IntArray
from lmladder.autograd import Tensor, no_grad
from lmladder.config import TransformerArchitecture
from lmladder.models.decoding import CachingDecoder
from lmladder.models.neural import NeuralLanguageModel, log_softmax
from lmladder.nn import (
    ACTIVATIONS,
    Calls,
    CausalSelfAttention,
    Embedding,
    KeyValueCache,
    LayerNorm,
    Linear,
    Module,
    plan_activation,
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

    def plan(self, x: FloatArray, calls: Calls) -> FloatArray:
        hidden = plan_activation(self.activation, self.expand.plan(x, calls), calls)
        return self.contract.plan(hidden, calls)


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

    def __call__(
        self, x: Tensor, rng: np.random.Generator | None, cache: KeyValueCache | None = None
    ) -> Tensor:
        x = x + drop(self.attention(self.attention_norm(x), cache), self.dropout, rng)
        return x + drop(self.feed_forward(self.feed_forward_norm(x)), self.dropout, rng)

    def plan(  # type: ignore[override]
        self, x: FloatArray, calls: Calls, cache: KeyValueCache, position: IntArray
    ) -> FloatArray:
        """As `CausalSelfAttention.plan`, but the result comes into x itself."""
        branch = self.attention.plan(self.attention_norm.plan(x, calls), calls, cache, position)
        calls.append(partial(np.add, x, branch, x))
        branch = self.feed_forward.plan(self.feed_forward_norm.plan(x, calls), calls)
        calls.append(partial(np.add, x, branch, x))
        return x


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

    def hidden(
        self,
        tokens: IntArray,
        rng: np.random.Generator | None = None,
        caches: Sequence[KeyValueCache] | None = None,
    ) -> Tensor:
        """With caches, one a block, the keys and values of all positions are stored there."""
        x = self.tokens(tokens) + self.positions(np.arange(tokens.shape[1]))
        x = drop(x, self.dropout, rng)
        for block, cache in zip(self.blocks, caches or repeat(None), strict=False):
            x = block(x, rng, cache)
        return self.norm(x)

    def head(self, hidden: Tensor) -> Tensor:
        return self.tokens.scores(hidden)

    def next_log_probabilities(
        self, tokens: IntArray, caches: Sequence[KeyValueCache] | None = None
    ) -> FloatArray:
        with no_grad():
            last = self.hidden(tokens, caches=caches)[:, -1:]
            return log_softmax(self.head(last).value[:, 0])

    def caches(self) -> list[KeyValueCache]:
        return [block.attention.cache(1, self.context_length) for block in self.blocks]

    def step(
        self, rows: int, caches: Sequence[KeyValueCache], position: IntArray
    ) -> Callable[[IntArray], FloatArray]:
        table, positions = self.tokens.weight.value, self.positions.weight.value
        x = np.empty((rows, table.shape[1]), table.dtype)
        calls: Calls = []
        for block, cache in zip(self.blocks, caches, strict=True):
            block.plan(x, calls, cache, position)
        last = self.norm.plan(x, calls)

        def follow(tokens: IntArray) -> FloatArray:
            np.add(table[tokens], positions[position], out=x)
            for call in calls:
                call()
            return log_softmax(last @ table.T)

        return follow

    def decoder(self) -> CachingDecoder:
        return CachingDecoder(self)
