"""Causal multi-head self-attention (Vaswani et al. 2017, section 3.2)."""

from collections.abc import Sequence
from typing import Any

from lmladder import kernels
from lmladder.arrays import FloatArray
from lmladder.autograd import Tensor, functional
from lmladder.nn.linear import Linear
from lmladder.nn.module import Module

import numpy as np


class KeyValueCache:
    """Keys and values of the positions that one attention layer has read, for decoding.

    It only stores what the layer hands in. Position p of each row stands at index p, so whatever a
    layer does to a key by its position is done once, before it is stored.

    Attributes
    ----------
    keys, values : (rows, heads, positions, size); of the first `length` positions
    length : how many are stored, which is the position of the next one
    """

    def __init__(self, rows: int, heads: int, positions: int, size: int, dtype: np.dtype[Any]):
        self.keys = np.empty((rows, heads, positions, size), dtype)
        self.values = np.empty_like(self.keys)
        self.length = 0

    def append(self, keys: FloatArray, values: FloatArray) -> None:
        """Store those of the next positions, each (rows, heads, new, size)."""
        end = self.length + keys.shape[2]
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end

    def select(self, rows: Sequence[int]) -> None:
        """Make row i what row rows[i] was; there may be more or fewer than before."""
        index = np.asarray(rows)
        self.keys, self.values = self.keys[index], self.values[index]

    def clear(self) -> None:
        """Forget all positions."""
        self.length = 0


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

    def cache(self, rows: int, positions: int) -> KeyValueCache:
        """An empty cache that fits this layer."""
        weight = self.key.weight
        return KeyValueCache(
            rows, self.n_head, positions, weight.shape[1] // self.n_head, weight.dtype
        )

    def decode(self, x: FloatArray, cache: KeyValueCache) -> FloatArray:
        """What `self` gives for the positions after those in `cache`, which then has them too.

        Takes and gives (rows * new positions, d_model), the positions of a row one after another.
        """
        rows, n_head, _, size = cache.keys.shape

        def heads(layer: Linear) -> FloatArray:
            return layer.infer(x).reshape(rows, -1, n_head, size).swapaxes(1, 2)

        cache.append(heads(self.key), heads(self.value))
        gathered = kernels.cached_attention(
            heads(self.query), cache.keys, cache.values, cache.length
        )
        return self.output.infer(gathered.swapaxes(1, 2).reshape(x.shape))
