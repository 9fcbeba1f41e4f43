"""Causal multi-head self-attention (Vaswani et al. 2017, section 3.2)."""

from functools import partial
from typing import Any

from lmladder import kernels
from lmladder.arrays import FloatArray, IntArray
from lmladder.autograd import Tensor, functional
from lmladder.nn.linear import Linear
from lmladder.nn.module import Calls, Module

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

    def select(self, rows: IntArray) -> None:
        """Make row i what row rows[i] was; in the same arrays, if there are as many as before."""
        if len(rows) == len(self.keys):
            self.keys[...], self.values[...] = self.keys[rows], self.values[rows]
        else:
            self.keys, self.values = self.keys[rows], self.values[rows]


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

    def __call__(self, x: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """With a cache, keys and values are stored there, from its first position on."""
        q, k, v = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        if cache is not None:
            cache.store(k.value, v.value)
        heads = functional.causal_attention(q, k, v)
        return self.output(heads.transpose(0, 2, 1, 3).reshape(*x.shape))

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

    def plan(  # type: ignore[override]
        self, x: FloatArray, calls: Calls, cache: KeyValueCache, position: IntArray
    ) -> FloatArray:
        """`Module.plan` for one position of each row, which sees those before it in the cache.

        `position`, (1,), says which one that is, whenever the plan is followed.
        """
        rows, n_head, _, size = cache.keys.shape
        q, k, v = (layer.plan(x, calls) for layer in (self.query, self.key, self.value))
        out = np.empty_like(q)
        q, k, v, heads = (each.reshape(rows, n_head, 1, size) for each in (q, k, v, out))
        calls.append(
            partial(
                kernels.unshared(x).cached_attention,
                q, k, v, cache.keys, cache.values, position, size**-0.5, heads,
            )
        )  # fmt: skip
        return self.output.plan(out, calls)
