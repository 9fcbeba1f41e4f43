"""Causal multi-head self-attention (Vaswani et al. 2017, section 3.2)."""

from lmladder.autograd import Tensor, functional
from lmladder.nn.linear import Linear
from lmladder.nn.module import Module

import numpy as np


class CausalSelfAttention(Module):
    """Each position gathers from itself and earlier ones: (batch, time, d_model) -> the same.

    Queries, keys and values have a matrix each, which an optimizer of whole matrices wants.
    """

    def __init__(
        self,
        d_model: int,
        n_head: int,
        *,
        rng: np.random.Generator,
        deviation: float,
        output_deviation: float,
    ):
        if n_head < 1 or d_model % n_head:
            raise ValueError(f"n_head={n_head} does not divide d_model={d_model}")
        self.n_head = n_head
        self.query = Linear(d_model, d_model, rng=rng, deviation=deviation)
        self.key = Linear(d_model, d_model, rng=rng, deviation=deviation)
        self.value = Linear(d_model, d_model, rng=rng, deviation=deviation)
        self.output = Linear(d_model, d_model, rng=rng, deviation=output_deviation)

    def __call__(self, x: Tensor) -> Tensor:
        heads = functional.causal_attention(
            self._split(self.query(x)), self._split(self.key(x)), self._split(self.value(x))
        )
        return self.output(heads.transpose(0, 2, 1, 3).reshape(*x.shape))

    def _split(self, x: Tensor) -> Tensor:
        batch, time, d_model = x.shape
        heads = x.reshape(batch, time, self.n_head, d_model // self.n_head)
        return heads.transpose(0, 2, 1, 3)  # (batch, heads, time, head_size)
