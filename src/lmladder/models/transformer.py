"""The Transformer: a decoder with pre-norm blocks, such as GPT-2 (Radford et al. 2019)."""

import math
from collections.abc import Sequence
from functools import partial
from itertools import chain, repeat
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeAlias

from lmladder.autograd import CapturedFunction, Tensor, no_grad
from lmladder.models.contract import Decoder, log_softmax
from lmladder.models.kind import ORANGE
from lmladder.models.neural import NeuralLanguageModel
from lmladder.nn import (
    ACTIVATIONS,
    NORMS,
    Cache,
    CausalConvolution,
    CausalSelfAttention,
    Embedding,
    KeyValueCache,
    Linear,
    Module,
    NgramEmbedding,
    NoConvolution,
    NoNorm,
    Norm,
    Pointer,
)
from lmladder.nn import dropout as drop
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.settings import Count, Index, OneOf, Settings
from lmladder.tracing import constant

import numpy as np
from pydantic import Field, model_validator

MAX_PAIRS = 1 << 14  # of tokens with a vector of their own, in bigram_embeddings
BlockCaches: TypeAlias = tuple[KeyValueCache, Cache, Cache]
Caches: TypeAlias = list[Any]  # those of each block, and of the pointer, if there is one


class Place(NamedTuple):
    """Where tokens are in a text.

    Attributes
    ----------
    positions : of the tokens, (length,)
    before : the two tokens before them, (sequences, 2); None: they are the first
    caches : where they store what later tokens need. A single token per sequence follows those
        that are stored; several tokens are the first.
    """

    positions: IntArray
    before: IntArray | None = None
    caches: Caches | None = None


class TransformerSettings(Settings):
    """What determines the shape of the Transformer, and its initial weights."""

    n_layer: Count = Field(description="number of blocks")
    n_head: Count = Field(description="attention heads of a block; divides d_model")
    d_model: Count = Field(description="elements of a token's vector")
    context_length: Count = Field(description="maximum number of tokens that the model reads")
    activation: Annotated[str, OneOf(ACTIVATIONS)] = Field(description="of the feed-forward layers")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="fraction of elements dropped in training"
    )
    feed_forward_factor: Annotated[float, Field(gt=0)] = Field(
        description="width of the feed-forward layer in d_model"
    )
    norm: Annotated[str, OneOf(NORMS)] = Field(description="kind of normalization")
    norm_weights: bool = Field(description="norms learn a scale and, with bias, a shift")
    embedding_norm: bool = Field(description="a norm after the embeddings")
    final_norm: bool = Field(description="a norm before the head")
    qk_norm: bool = Field(
        description="queries and keys have root mean square 1 by head (Henry et al. 2020)"
    )
    gated_attention: bool = Field(
        description="what each head returns is multiplied by a gate (Qiu et al. 2025)"
    )
    window: Index = Field(
        0,  # as in checkpoints of version 0.2.0
        description="tokens that a token attends to, itself included, in all blocks but the last "
        "(Beltagy et al. 2020); 0: all",
    )
    last_window: Index = Field(
        0, description="tokens that a token attends to in the last block; 0: all"
    )
    positions: Literal["learned", "rotary"] = Field(description="position encoding")
    convolution: Index = Field(
        description="lags of the convolutions before attention and feed-forward layers; 0: none"
    )
    bigram_embeddings: bool = Field(
        description="an embedding of the token and the one before is added to that of the token"
    )
    trigram_embeddings: Index = Field(
        0, description="vectors that trigrams of tokens share and that are added, too; 0: none"
    )
    pointer: Index = Field(
        description="size of the queries and keys of a pointer to tokens of the context "
        "(Merity et al. 2017); 0: none"
    )
    bias: bool = Field(description="biases in linear layers and layer norms")
    attention_bias: bool = Field(description="biases in attention, where bias is true")
    tied: bool = Field(description="the head shares the matrix of the token embeddings")
    init_std: float = Field(gt=0, description="standard deviation of the initial weights")
    residual_scaling: bool = Field(
        description="initial weights that end a branch are divided by sqrt(2 n_layer)"
    )

    @property
    def max_sequence_length(self) -> int:
        """The length of the longest sequence that the model can read."""
        return self.context_length

    @property
    def feed_forward_size(self) -> int:
        """Elements of the hidden layer of a feed-forward layer."""
        return round(self.feed_forward_factor * self.d_model)

    @property
    def output_std(self) -> float:
        """Standard deviation of the initial weights that end a branch.

        2 n_layer branches are added to the residual stream; scaling keeps its variance (GPT-2).
        """
        return self.init_std / ((2 * self.n_layer) ** 0.5 if self.residual_scaling else 1)

    @model_validator(mode="after")
    def _compatible(self) -> Self:
        d_model, n_head = f"d_model={self.d_model}", f"n_head={self.n_head}"
        factor = self.feed_forward_factor
        if self.d_model % self.n_head:
            raise ValueError(f"{n_head} does not divide {d_model}")
        if self.positions == "rotary" and self.d_model // self.n_head % 2:
            raise ValueError(f"positions=rotary rotates pairs: {d_model} / {n_head} must be even")
        if not 1 <= factor * self.d_model < math.inf:
            raise ValueError(f"feed_forward_factor={factor} times {d_model} must be at least 1")
        return self


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

    def __init__(self, settings: TransformerSettings, layer: int, *, rng: np.random.Generator):
        last = layer == settings.n_layer - 1
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
            window=(settings.last_window if last else settings.window) or None,
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

    Settings = TransformerSettings
    color = ORANGE

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
        self.blocks = [Block(settings, layer, rng=rng) for layer in range(settings.n_layer)]
        self.norm = norm(settings) if settings.final_norm else NoNorm()
        self.unembedding = None
        if not settings.tied:
            self.unembedding = Linear(d_model, vocabulary_size, rng=rng, std=std, bias=False)
        self.pairs = self.triples = None
        if settings.bigram_embeddings:
            self.pairs = NgramEmbedding(2, vocabulary_size, d_model, rows=MAX_PAIRS)
        if rows := settings.trigram_embeddings:
            self.triples = NgramEmbedding(3, vocabulary_size, d_model, rows=rows)
        self.pointer = None
        if size := settings.pointer:
            self.pointer = Pointer(d_model, size, vocabulary_size, rng=rng, std=std)

    def hidden(
        self, tokens: IntArray, rng: np.random.Generator | None = None, place: Place | None = None
    ) -> Tensor:
        """Return hidden vectors as `NeuralLanguageModel.hidden` does, of tokens at any place."""
        positions, before, caches = place or beginning(tokens)
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
        for ngrams in (self.pairs, self.triples):
            if ngrams is not None:
                x = x + ngrams(tokens, before)
        if self.positions is not None:
            x = x + self.positions(positions)
        return self.embedding_norm(x)

    def logits(
        self, tokens: IntArray, rng: np.random.Generator | None = None, place: Place | None = None
    ) -> Tensor:
        """Return logits as `NeuralLanguageModel.logits` does, of tokens at any place."""
        place = place or beginning(tokens)
        hidden = self.hidden(tokens, rng, place)
        logits = self.head(hidden)
        if self.pointer is None:
            return logits
        cache = place.caches[-1] if place.caches else None
        return self.pointer(logits, hidden, tokens, place.positions, cache)

    def head(self, hidden: Tensor) -> Tensor:
        untied = self.unembedding is not None
        return super().head(hidden) if untied else self.tokens.logits(hidden)

    def caches(self) -> Caches:
        """Return empty caches of blocks and pointer: one sequence of `max_length` tokens."""
        parts = [*self.blocks, self.pointer]
        return [part.caches(self.context_length) for part in parts if part is not None]

    def decoder(self) -> "CachingDecoder":
        return CachingDecoder(self)


class CachingDecoder(Decoder):
    """A decoder that computes a single new token alone, as long as the window does not move."""

    def __init__(self, model: Transformer):
        super().__init__(model)
        self._transformer = model
        self._caches = model.caches()
        self._next_logits: CapturedFunction | None = None

    def read(self, tokens: IntArray) -> FloatArray:
        moved = self._append(tokens)
        if moved or tokens.shape[1] > 1 or self.window.shape[1] == 1:
            with no_grad():
                place = beginning(self.window)._replace(caches=self._caches)
                logits = self._transformer.logits(self.window, place=place)
                return log_softmax(logits.value[:, -1])
        if self._next_logits is None:
            stored = [each for cache in chain.from_iterable(self._caches) for each in cache.arrays]
            tensors = [*self._transformer.parameters().values(), *stored]
            self._next_logits = CapturedFunction(self._logits, tensors)
        position = np.array([self.window.shape[1] - 1])
        missing = max(0, 3 - self.window.shape[1])  # tokens before the first one
        last = np.pad(
            self.window[:, -3:].astype(np.int64),
            [(0, 0), (missing, 0)],
            constant_values=self._transformer.vocabulary_size,
        )
        before, new = np.split(last, [2], axis=1)
        return log_softmax(self._next_logits(before, new, position)[:, 0])

    def _logits(self, before: IntArray, new: IntArray, position: IntArray) -> Tensor:
        return self._transformer.logits(new, place=Place(position, before, self._caches))

    def select(self, sequences: Sequence[int]) -> None:
        if len(sequences) != len(self.window):
            self._next_logits = None  # the caches will be other arrays
        super().select(sequences)
        for cache in chain.from_iterable(self._caches):
            cache.select(np.asarray(sequences))


def beginning(tokens: IntArray) -> Place:
    """Return the place of tokens that begin a text, (sequences, length)."""
    return Place(constant(np.arange(tokens.shape[1])))


def norm(settings: TransformerSettings) -> Norm:
    """Return a norm of vectors of size d_model."""
    weight = settings.norm_weights
    return NORMS[settings.norm](settings.d_model, weight, weight and settings.bias)


def convolution(settings: TransformerSettings) -> CausalConvolution | NoConvolution:
    """Return a convolution of vectors of size d_model, if there is to be one."""
    if not settings.convolution:
        return NoConvolution()
    return CausalConvolution(settings.d_model, settings.convolution)
