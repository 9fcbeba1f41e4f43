"""Causal multi-head self-attention (Vaswani et al. 2017, section 3.2)."""

from typing import Any

from lmladder import kernels
from lmladder.arrays import FloatArray, IntArray
from lmladder.autograd import Tensor, functional
from lmladder.nn.linear import Linear
from lmladder.nn.module import Module
from lmladder.nn.norm import NoNorm, Norm, RmsNorm

import numpy as np


class KeyValueCache:
    """Keys and values of the positions that one attention layer has read, for decoding.

    It only stores what the layer hands in. Position p of each row stands at index p, so whatever a
    layer does to a key by its position is done once, before it is stored.

    Attributes
    ----------
    keys, values : (rows, heads, positions, size)
    """

    def __init__(self, rows: int, heads: int, positions: int, size: int, dtype: np.dtype[Any]):
        self.keys = np.empty((rows, heads, positions, size), dtype)
        self.values = np.empty_like(self.keys)

    def store(self, keys: FloatArray, values: FloatArray) -> None:
        """Those of the first positions, each (rows, heads, length, size)."""
        self.keys[:, :, : keys.shape[2]] = keys
        self.values[:, :, : keys.shape[2]] = values

    def attend(self, q: Tensor, k: Tensor, v: Tensor, position: IntArray) -> Tensor:
        """Attention of one token a row, at `position`, (1,), to those before it and itself.

        Its key and value are stored; all (rows, heads, 1, size). There is no gradient.
        """
        arrays = q.value, k.value, v.value, self.keys, self.values
        return Tensor(kernels.cached_attention(*arrays, position))

    def select(self, rows: IntArray) -> None:
        """Make row i what row rows[i] was; in the same arrays, if there are as many as before."""
        if len(rows) == len(self.keys):
            self.keys[...], self.values[...] = self.keys[rows], self.values[rows]
        else:
            self.keys, self.values = self.keys[rows], self.values[rows]


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

    def __call__(
        self,
        x: Tensor,
        positions: IntArray | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """The tokens stand at `positions`, (time,), one after another; None: from 0 on.

        With a cache, keys and values are stored there: those of several tokens, which see each
        other, from 0 on; those of a single one, which sees all before it, at its position.
        """
        if positions is None:
            positions = kernels.constant(np.arange(x.shape[1]))
        q, k, v = self.queries_keys_values(x, positions)
        if cache is not None and len(positions) == 1:
            heads = cache.attend(q, k, v, positions)
        else:
            if cache is not None:
                cache.store(k.value, v.value)
            heads = functional.causal_attention(q, k, v)
        return self.output(heads.transpose(0, 2, 1, 3).reshape(*x.shape))

    def queries_keys_values(self, x: Tensor, positions: IntArray) -> tuple[Tensor, Tensor, Tensor]:
        """Of tokens at positions, (time,): (batch, heads, time, head_size) each."""
        query, key = (
            self.qk_norm(self._split(self.query(x))),
            self.qk_norm(self._split(self.key(x))),
        )
        if self.rotary:
            query, key = (functional.rotary(each, positions) for each in (query, key))
        return query, key, self._split(self.value(x))

    def _split(self, x: Tensor) -> Tensor:
        batch, time, d_model = x.shape
        heads = x.reshape(batch, time, self.n_head, d_model // self.n_head)
        return heads.transpose(0, 2, 1, 3)  # (batch, heads, time, head_size)

    def cache(self, rows: int, positions: int) -> KeyValueCache:
        """An empty cache that fits this layer."""
        weight = self.key.weight
        return KeyValueCache(
            rows, self.n_head, positions, weight.shape[1] // self.n_head, weight.dtype
        )
