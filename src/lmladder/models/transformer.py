"""The Transformer rung: a decoder with pre-norm blocks, such as GPT-2 (Radford et al. 2019)."""

from lmladder import kernels
from lmladder.arrays import IntArray
from lmladder.autograd import Tensor
from lmladder.config import TransformerArchitecture
from lmladder.models.neural import NeuralLanguageModel
from lmladder.nn import (
    ACTIVATIONS,
    NORMS,
    CausalSelfAttention,
    Embedding,
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

    def __call__(self, x: Tensor, rng: np.random.Generator | None) -> Tensor:
        x = x + drop(self.attention(self.attention_norm(x)), self.dropout, rng)
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
        self.sinusoidal = architecture.positions == "sinusoidal"
        d_model, deviation = architecture.d_model, architecture.init_deviation
        self.tokens = Embedding(vocabulary_size, d_model, rng=rng, deviation=deviation)
        self.positions: Embedding | None = None
        if architecture.positions == "learned":
            self.positions = Embedding(self.context_length, d_model, rng=rng, deviation=deviation)
        self.embedding_norm = norm(architecture) if architecture.embedding_norm else NoNorm()
        self.blocks = [Block(architecture, rng=rng) for _ in range(architecture.n_layer)]
        self.norm = norm(architecture) if architecture.final_norm else NoNorm()
        self.unembedding: Linear | None = None
        if not architecture.tied:
            self.unembedding = Linear(
                d_model, vocabulary_size, rng=rng, deviation=deviation, bias=False
            )

    def hidden(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        x = drop(self.embedded(tokens), self.dropout, rng)
        for block in self.blocks:
            x = block(x, rng)
        return self.norm(x)

    def embedded(self, tokens: IntArray, start: int = 0) -> Tensor:
        """What the blocks get for tokens at `start` and later: (rows, length) -> (..., d_model).

        Raises
        ------
        IndexError
            If the positions leave the context.
        """
        end = start + tokens.shape[1]
        if end > self.context_length:
            raise IndexError(f"{end} positions in a context of {self.context_length}")
        x = self.tokens(tokens)
        if self.positions is not None:
            x = x + self.positions.weight[start:end]
        if self.sinusoidal:
            # Scaled, or sines of size 1 would drown what the tokens say (Vaswani et al., 3.4).
            size = x.shape[-1]
            waves = sinusoidal(np.arange(start, end), size).astype(x.dtype)
            x = x * size**0.5 + kernels.constant(waves)
        return self.embedding_norm(x)

    def head(self, hidden: Tensor) -> Tensor:
        return self.tokens.scores(hidden) if self.unembedding is None else self.unembedding(hidden)


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
