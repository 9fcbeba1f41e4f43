"""The Transformer: a decoder with pre-norm blocks, such as GPT-2 (Radford et al. 2019)."""

from functools import partial
from itertools import repeat
from typing import Any, TypeAlias

from lmladder.autograd import Tensor
from lmladder.models.decoding import CachingDecoder, Decoder
from lmladder.models.neural import NeuralLanguageModel
from lmladder.models.settings import MAX_PAIRS, TransformerSettings
from lmladder.nn import (
    ACTIVATIONS,
    NORMS,
    BigramEmbedding,
    Cache,
    CausalConvolution,
    CausalSelfAttention,
    Embedding,
    KeyValueCache,
    Linear,
    Module,
    NoConvolution,
    NoNorm,
    Norm,
    Pointer,
)
from lmladder.nn import dropout as drop
from lmladder.system.arrays import IntArray
from lmladder.tracing import constant

import numpy as np

BlockCaches: TypeAlias = tuple[KeyValueCache, Cache, Cache]
Caches: TypeAlias = list[Any]  # those of each block, and of the pointer, if there is one


class FeedForward(Module):
    """down_proj(activation(up_proj(x))): (..., d_model) -> the same."""

    def __init__(self, settings: TransformerSettings, *, rng: np.random.Generator):
        d_model, width, std = settings.d_model, settings.feed_forward_size, settings.init_std
        linear = partial(Linear, rng=rng, bias=settings.bias)
        self.up_proj = linear(d_model, width, std=std)
        self.down_proj = linear(width, d_model, std=settings.output_std)
        self.activation = ACTIVATIONS[settings.activation]

    def __call__(self, x: Tensor) -> Tensor:
        return self.down_proj(self.activation(self.up_proj(x)))


class Block(Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)).

    Convolutions, if any, stand between norm and attention, and between norm and feed-forward layer.
    """

    def __init__(self, settings: TransformerSettings, *, rng: np.random.Generator):
        self.dropout = settings.dropout
        self.attention_norm = norm(settings)
        self.attention_convolution = convolution(settings)
        self.attention = CausalSelfAttention(
            settings.d_model,
            settings.n_head,
            rng=rng,
            std=settings.init_std,
            output_std=settings.output_std,
            bias=settings.bias and settings.attention_bias,
            rotary=settings.positions == "rotary",
            qk_norm=settings.qk_norm,
            gated=settings.gated_attention,
        )
        self.feed_forward_norm = norm(settings)
        self.feed_forward_convolution = convolution(settings)
        self.feed_forward = FeedForward(settings, rng=rng)

    def __call__(
        self,
        x: Tensor,
        rng: np.random.Generator | None,
        positions: IntArray,
        caches: BlockCaches | None = None,
    ) -> Tensor:
        keys_values, first, second = caches or (None, None, None)
        read = self.attention_input(x, positions, first)
        x = x + drop(self.attention(read, positions, keys_values), self.dropout, rng)
        fed = self.feed_forward_convolution(self.feed_forward_norm(x), positions, second)
        return x + drop(self.feed_forward(fed), self.dropout, rng)

    def attention_input(self, x: Tensor, positions: IntArray, cache: Cache | None = None) -> Tensor:
        """Return what the attention reads where the block reads x."""
        return self.attention_convolution(self.attention_norm(x), positions, cache)

    def caches(self, positions: int) -> BlockCaches:
        """Return empty caches of the attention and of both convolutions."""
        convolutions = self.attention_convolution, self.feed_forward_convolution
        first, second = (each.cache(positions) for each in convolutions)
        return self.attention.cache(positions), first, second


class Transformer(NeuralLanguageModel):
    """Token and position embeddings, blocks, a norm, and a head, which may share the embeddings."""

    def __init__(
        self, settings: TransformerSettings, vocabulary_size: int, *, rng: np.random.Generator
    ):
        self.vocabulary_size = vocabulary_size
        self.context_length = self.max_length = settings.context_length
        self.dropout = settings.dropout
        d_model, std = settings.d_model, settings.init_std
        embedding = partial(Embedding, size=d_model, rng=rng, std=std)
        self.tokens = embedding(vocabulary_size)
        self.positions = None
        if settings.positions == "learned":
            self.positions = embedding(self.context_length)
        self.embedding_norm = norm(settings) if settings.embedding_norm else NoNorm()
        self.blocks = [Block(settings, rng=rng) for _ in range(settings.n_layer)]
        self.norm = norm(settings) if settings.final_norm else NoNorm()
        self.unembedding = None
        if not settings.tied:
            self.unembedding = Linear(d_model, vocabulary_size, rng=rng, std=std, bias=False)
        self.pairs = None
        if settings.bigram_embeddings:
            self.pairs = BigramEmbedding(vocabulary_size, d_model, rows=MAX_PAIRS)
        self.pointer = None
        if size := settings.pointer:
            self.pointer = Pointer(d_model, size, vocabulary_size, rng=rng, std=std)

    def hidden(
        self,
        tokens: IntArray,
        rng: np.random.Generator | None = None,
        *,
        positions: IntArray | None = None,
        before: IntArray | None = None,
        caches: Caches | None = None,
    ) -> Tensor:
        """Return hidden vectors as `NeuralLanguageModel.hidden` does.

        With caches, what later tokens need is stored there; then there may also be one token per
        sequence, at `positions`, (1,), which follows those stored; `before`, (sequences, 1), is the
        last of these.
        """
        if positions is None:
            positions = constant(np.arange(tokens.shape[1]))
        x = drop(self.embedded(tokens, positions, before), self.dropout, rng)
        for block, cached in zip(self.blocks, caches or repeat(None), strict=False):
            x = block(x, rng, positions, cached)
        return self.norm(x)

    def embedded(
        self, tokens: IntArray, positions: IntArray, before: IntArray | None = None
    ) -> Tensor:
        """Return the input of the blocks for tokens at positions, (length,).

        Shapes: (sequences, length) -> (sequences, length, d_model).

        Raises
        ------
        IndexError
            If there are more tokens than `context_length`.
        """
        if len(positions) > self.context_length:
            raise IndexError(f"{len(positions)} positions in a context of {self.context_length}")
        x = self.tokens(tokens)
        if self.pairs is not None:
            x = x + self.pairs(tokens, before)
        if self.positions is not None:
            x = x + self.positions(positions)
        return self.embedding_norm(x)

    def logits(
        self,
        tokens: IntArray,
        rng: np.random.Generator | None = None,
        *,
        positions: IntArray | None = None,
        before: IntArray | None = None,
        caches: Caches | None = None,
    ) -> Tensor:
        """Return logits as `NeuralLanguageModel.logits` does; for caches, see `hidden`."""
        if positions is None:
            positions = constant(np.arange(tokens.shape[1]))
        hidden = self.hidden(tokens, rng, positions=positions, before=before, caches=caches)
        logits = self.head(hidden)
        if self.pointer is None:
            return logits
        return self.pointer(logits, hidden, tokens, positions, caches[-1] if caches else None)

    def head(self, hidden: Tensor) -> Tensor:
        untied = self.unembedding is not None
        return super().head(hidden) if untied else self.tokens.logits(hidden)

    def caches(self) -> Caches:
        """Return empty caches of blocks and pointer: one sequence of `max_length` tokens."""
        parts = [*self.blocks, self.pointer]
        return [part.caches(self.context_length) for part in parts if part is not None]

    def decoder(self) -> Decoder:
        return CachingDecoder(self)


def norm(settings: TransformerSettings) -> Norm:
    """Return a norm of vectors of size d_model."""
    weight = settings.norm_weights
    return NORMS[settings.norm](settings.d_model, weight, weight and settings.bias)


def convolution(settings: TransformerSettings) -> CausalConvolution | NoConvolution:
    """Return a convolution of vectors of size d_model, if there is to be one."""
    if not settings.convolution:
        return NoConvolution()
    return CausalConvolution(settings.d_model, settings.convolution)
