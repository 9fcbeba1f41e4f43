"""Causal multi-head self-attention (Vaswani et al. 2017, section 3.2)."""

from lmladder.autograd import Tensor, functional
from lmladder.nn.linear import Linear
from lmladder.nn.module import Module
from lmladder.nn.norm import NoNorm, Norm, RmsNorm

import numpy as np


class CausalSelfAttention(Module):
    """Each position gathers from itself and earlier ones: (batch, time, d_model) -> the same.

    Queries, keys and values have a matrix each, which an optimizer of whole matrices wants.

    Parameters
    ----------
    rotary : whether queries and keys are turned by their positions (Su et al. 2021)
    qk_norm : whether queries and keys are normalised by head, to root mean square 1, so that no
        score can grow beyond the root of the head size (Henry et al. 2020)
    """

    def __init__(
        self,
        d_model: int,
        n_head: int,
        *,
        rng: np.random.Generator,
        deviation: float,
        output_deviation: float,
        bias: bool = True,
        rotary: bool = False,
        qk_norm: bool = False,
    ):
        if n_head < 1 or d_model % n_head:
            raise ValueError(f"n_head={n_head} does not divide d_model={d_model}")
        self.n_head = n_head
        self.rotary = rotary
        self.qk_norm: Norm = RmsNorm(d_model // n_head, weight=False) if qk_norm else NoNorm()
        self.query = Linear(d_model, d_model, rng=rng, deviation=deviation, bias=bias)
        self.key = Linear(d_model, d_model, rng=rng, deviation=deviation, bias=bias)
        self.value = Linear(d_model, d_model, rng=rng, deviation=deviation, bias=bias)
        self.output = Linear(d_model, d_model, rng=rng, deviation=output_deviation, bias=bias)

    def __call__(self, x: Tensor) -> Tensor:
        heads = functional.causal_attention(*self.queries_keys_values(x))
        return self.output(heads.transpose(0, 2, 1, 3).reshape(*x.shape))

    def queries_keys_values(self, x: Tensor, start: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Of tokens at positions from `start` on: (batch, heads, time, head_size) each."""
        query, key = (
            self.qk_norm(self._split(self.query(x))),
            self.qk_norm(self._split(self.key(x))),
        )
        if self.rotary:
            query, key = functional.rotary(query, start=start), functional.rotary(key, start=start)
        return query, key, self._split(self.value(x))

    def _split(self, x: Tensor) -> Tensor:
        batch, time, d_model = x.shape
        heads = x.reshape(batch, time, self.n_head, d_model // self.n_head)
        return heads.transpose(0, 2, 1, 3)  # (batch, heads, time, head_size)
