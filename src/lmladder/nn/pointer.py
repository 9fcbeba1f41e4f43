"""A pointer: it predicts tokens of the context, beside a head that predicts any token."""

from lmladder.autograd import Tensor, functional
from lmladder.nn.attention import KeyValueCache, attend
from lmladder.nn.cache import Cache
from lmladder.nn.convolution import CausalConvolution
from lmladder.nn.linear import Linear
from lmladder.nn.module import Module, parameter
from lmladder.system.arrays import IntArray
from lmladder.tracing import constant

import numpy as np

SHARE = 0.25  # of the pointer in the distribution of an untrained model


class Pointer(Module):
    """The mixture (1 - g) softmax(logits) + g a of a head and a pointer (Merity et al. 2017).

    The pointer is causal attention of one head with tokens as values: a(w) is the weight of all
    positions of the context with the token w. A query is made of the vector from which the next
    token is predicted, a key of the vector from which the token at its position was predicted.
    Their weights are the same initially, so the pointer begins with what followed similar vectors,
    as a continuous cache does (Grave et al. 2017). g is the sigmoid of vector @ gate + gate_bias.

    Parameters
    ----------
    size : of queries and keys
    """

    def __init__(
        self, d_model: int, size: int, vocabulary_size: int, *, rng: np.random.Generator, std: float
    ):
        self.query = Linear(d_model, size, rng=rng, std=std, bias=False)
        self.key = Linear(d_model, size, rng=rng, std=std, bias=False)
        self.key.weight.value[...] = self.query.weight.value
        self.before = CausalConvolution(size, 2)
        self.before.weight.value[...] = [[-1], [1]]  # initially the vector before
        self.gate = parameter(np.zeros((d_model, 1)))
        self.gate_bias = parameter(np.full(1, np.log(SHARE / (1 - SHARE))))
        self.vocabulary_size = vocabulary_size

    def __call__(
        self,
        logits: Tensor,
        hidden: Tensor,
        tokens: IntArray,
        positions: IntArray,
        caches: tuple[KeyValueCache, Cache] | None = None,
    ) -> Tensor:
        """Return the log probabilities of the mixture, (batch, time, vocabulary).

        Parameters
        ----------
        logits : of the head, (batch, time, vocabulary)
        hidden : the vectors that the head read, (batch, time, d_model)
        tokens : at the positions, (batch, time)
        positions, caches : see `CausalSelfAttention`
        """
        stored, inputs = caches or (None, None)
        query, key = self.query(hidden), self.before(self.key(hidden), positions, inputs)
        table = constant(np.eye(self.vocabulary_size, dtype=hidden.dtype))
        value = functional.embedding(table, tokens)
        q, k, v = (each[:, np.newaxis] for each in (query, key, value))  # of one head
        pointed = attend(q, k, v, positions, stored)[:, 0]
        gate = functional.linear(hidden, self.gate, self.gate_bias)[..., 0]
        return functional.log_mixture(logits, gate, pointed)

    def caches(self, positions: int) -> tuple[KeyValueCache, Cache]:
        """Return empty caches of the attention and of the vectors before."""
        size = self.key.weight.shape[1]
        shapes = ((1, 1, positions, each) for each in (size, self.vocabulary_size))
        return KeyValueCache(*shapes, dtype=self.key.weight.dtype), self.before.cache(positions)
