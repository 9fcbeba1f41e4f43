"""The Transformer rung: a decoder with pre-norm blocks, such as GPT-2 (Radford et al. 2019)."""

from collections.abc import Sequence
from itertools import repeat

from lmladder import kernels
from lmladder.arrays import FloatArray, IntArray
from lmladder.autograd import Tensor, functional, no_grad
from lmladder.config import TransformerArchitecture
from lmladder.models.decoding import CachingDecoder, log_softmax
from lmladder.models.neural import NeuralLanguageModel
from lmladder.nn import (
    ACTIVATIONS,
    NORMS,
    CausalSelfAttention,
    Embedding,
    KeyValueCache,
    Linear,
    Module,
    NoNorm,
    Norm,
    sinusoidal,
)
from lmladder.nn import dropout as drop

import numpy as np


class FeedForward(Module):
    """Linear layers around an activation: (..., d_model) -> the same.

    contract(activation(expand(x))); or, gated, contract(activation(gate(x)) * expand(x)), of which
    SwiGLU, with silu, is one kind (Shazeer 2020).
    """

    def __init__(
        self,
        d_model: int,
        width: int,
        activation: str,
        *,
        rng: np.random.Generator,
        deviation: float,
        output_deviation: float,
        gated: bool = False,
        bias: bool = True,
    ):
        self.expand = Linear(d_model, width, rng=rng, deviation=deviation, bias=bias)
        self.gate: Linear | None = None
        if gated:
            self.gate = Linear(d_model, width, rng=rng, deviation=deviation, bias=bias)
        self.contract = Linear(width, d_model, rng=rng, deviation=output_deviation, bias=bias)
        self.activation = ACTIVATIONS[activation]

    def __call__(self, x: Tensor) -> Tensor:
        if self.gate is None:
            return self.contract(self.activation(self.expand(x)))
        return self.contract(self.activation(self.gate(x)) * self.expand(x))


class Block(Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, architecture: TransformerArchitecture, *, rng: np.random.Generator):
        d_model = architecture.d_model
        deviation = output_deviation = architecture.init_deviation
        if architecture.residual_scaling:
            # 2 n_layer branches add to the residual stream; this keeps its variance (GPT-2).
            output_deviation = deviation / (2 * architecture.n_layer) ** 0.5
        self.dropout = architecture.dropout
        self.attention_norm = norm(architecture)
        self.attention = CausalSelfAttention(
            d_model,
            architecture.n_head,
            rng=rng,
            deviation=deviation,
            output_deviation=output_deviation,
            bias=architecture.bias and architecture.attention_bias,
            rotary=architecture.positions == "rotary",
            qk_norm=architecture.qk_norm,
        )
        self.feed_forward_norm = norm(architecture)
        self.feed_forward = FeedForward(
            d_model,
            feed_forward_width(architecture),
            architecture.activation,
            rng=rng,
            deviation=deviation,
            output_deviation=output_deviation,
            gated=architecture.gated,
            bias=architecture.bias,
        )

    def __call__(
        self,
        x: Tensor,
        rng: np.random.Generator | None,
        positions: IntArray | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        attended = self.attention(self.attention_norm(x), positions, cache)
        x = x + drop(attended, self.dropout, rng)
        return x + drop(self.feed_forward(self.feed_forward_norm(x)), self.dropout, rng)


class Transformer(NeuralLanguageModel):
    """Token and position embeddings, blocks, a norm, and a head, tied or of its own."""

    name = "transformer"

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
        d_model, deviation = architecture.d_model, architecture.init_deviation
        self.tokens = Embedding(vocabulary_size, d_model, rng=rng, deviation=deviation)
        self.positions: Embedding | None = None
        if architecture.positions == "learned":
            self.positions = Embedding(self.context_length, d_model, rng=rng, deviation=deviation)
        self.waves: FloatArray | None = None
        if architecture.positions == "sinusoidal":
            self.waves = sinusoidal(np.arange(self.context_length), d_model)
        self.embedding_norm = norm(architecture) if architecture.embedding_norm else NoNorm()
        self.blocks = [Block(architecture, rng=rng) for _ in range(architecture.n_layer)]
        self.norm = norm(architecture) if architecture.final_norm else NoNorm()
        self.unembedding: Linear | None = None
        if not architecture.tied:
            self.unembedding = Linear(
                d_model, vocabulary_size, rng=rng, deviation=deviation, bias=False
            )

    def hidden(
        self,
        tokens: IntArray,
        rng: np.random.Generator | None = None,
        *,
        positions: IntArray | None = None,
        caches: Sequence[KeyValueCache] | None = None,
    ) -> Tensor:
        """As `NeuralLanguageModel.hidden`.

        With caches, one a block, keys and values are stored there; then the tokens may also be one
        a row that follows those stored, at the position that `positions`, (1,), tells.
        """
        if positions is None:
            positions = kernels.constant(np.arange(tokens.shape[1]))
        x = drop(self.embedded(tokens, positions), self.dropout, rng)
        for block, cache in zip(self.blocks, caches or repeat(None), strict=False):
            x = block(x, rng, positions, cache)
        return self.norm(x)

    def embedded(self, tokens: IntArray, positions: IntArray) -> Tensor:
        """What the blocks get for tokens at positions, (length,): (rows, length) -> (..., d_model).

        Raises
        ------
        IndexError
            If there are more tokens than the context has positions.
        """
        if len(positions) > self.context_length:
            raise IndexError(f"{len(positions)} positions in a context of {self.context_length}")
        x = self.tokens(tokens)
        if self.positions is not None:
            x = x + self.positions(positions)
        if self.waves is not None:
            # Scaled, or sines of size 1 would drown what the tokens say (Vaswani et al., 3.4).
            waves = kernels.constant(self.waves.astype(x.dtype))
            x = x * x.shape[-1] ** 0.5 + functional.embedding(waves, positions)
        return self.embedding_norm(x)

    def head(self, hidden: Tensor) -> Tensor:
        return self.tokens.scores(hidden) if self.unembedding is None else self.unembedding(hidden)

    def next_log_probabilities(
        self, tokens: IntArray, caches: Sequence[KeyValueCache] | None = None
    ) -> FloatArray:
        with no_grad():
            last = self.hidden(tokens, caches=caches)[:, -1:]
            return log_softmax(self.head(last).value[:, 0])

    def caches(self) -> list[KeyValueCache]:
        return [block.attention.cache(1, self.context_length) for block in self.blocks]

    def decoder(self) -> CachingDecoder:
        return CachingDecoder(self)


def norm(architecture: TransformerArchitecture) -> Norm:
    """A norm of d_model numbers, as the architecture wants them."""
    weight = architecture.norm_weights
    return NORMS[architecture.norm](architecture.d_model, weight, weight and architecture.bias)


def feed_forward_width(architecture: TransformerArchitecture) -> int:
    """How many hidden numbers a feed-forward layer has.

    A gated one has three matrices instead of two, so two thirds of the width: as many parameters.
    """
    width = architecture.feed_forward_factor * architecture.d_model
    return round(width * 2 / 3 if architecture.gated else width)
