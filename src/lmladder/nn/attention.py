"""Causal multi-head self-attention (Vaswani et al. 2017, section 3.2)."""

from functools import partial

from lmladder import kernels
from lmladder.autograd import Tensor, functional
from lmladder.nn.cache import Cache
from lmladder.nn.linear import Linear
from lmladder.nn.module import Module, parameter
from lmladder.nn.norm import RmsNorm
from lmladder.system.arrays import IntArray

import numpy as np


class KeyValueCache(Cache):
    """Keys and values of the positions that one attention layer has read, for decoding.

    Keys are stored as attention uses them, at the index of their position: normalized and rotated.
    Both arrays are (batch, heads, positions, head_size).
    """


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    positions: IntArray,
    cache: KeyValueCache | None,
    window: int | None = None,
) -> Tensor:
    """Return causal attention, (batch, heads, time, n); store keys and values in a cache, if any.

    Parameters
    ----------
    q, k : (batch, heads, time, size)
    v : (batch, heads, time, n)
    positions, cache, window : see `CausalSelfAttention`
    """
    if cache is None:
        return functional.causal_attention(q, k, v, window=window)
    if len(positions) == 1:
        keys, values = (each.value for each in cache.arrays)
        new = q.value, k.value, v.value
        seen = window or keys.shape[2]
        return Tensor(kernels.cached_attention(*new, keys, values, positions, seen))  # no gradient
    for stored, given in zip(cache.arrays, (k, v), strict=True):
        stored.value[:, :, : len(positions)] = given.value
    return functional.causal_attention(q, k, v, window=window)


class CausalSelfAttention(Module):
    """Attention of each position to itself and earlier ones: (batch, time, d_model) -> the same.

    Queries, keys and values have one matrix each, so that an optimizer of whole matrices (Muon)
    treats them separately.

    Parameters
    ----------
    std, output_std : standard deviations of the initial weights; the latter of the output layer
    rotary : rotate queries and keys by their positions (Su et al. 2021)
    qk_norm : normalize queries and keys per head to root mean square 1, which bounds the attention
        logits by the square root of the head size (Henry et al. 2020)
    gated : multiply what each head returns at a position by 2 sigmoid(x @ gate), which is initially
        1 and lets a head return nothing (Qiu et al. 2025)
    window : number of positions that each attends to, the last of which is its own; None: all

    Raises
    ------
    ValueError
        If n_head does not divide d_model.
    """

    def __init__(
        self,
        d_model: int,
        n_head: int,
        *,
        rng: np.random.Generator,
        std: float,
        output_std: float,
        bias: bool = True,
        rotary: bool = False,
        qk_norm: bool = False,
        gated: bool = False,
        window: int | None = None,
    ):
        if n_head < 1 or d_model % n_head:
            raise ValueError(f"n_head={n_head} does not divide d_model={d_model}")
        self.n_head = n_head
        self.rotary, self.qk_norm, self.window = rotary, qk_norm, window
        self.norm = RmsNorm(d_model // n_head, weight=False)
        linear = partial(Linear, d_model, d_model, rng=rng, bias=bias)
        self.query, self.key, self.value = (linear(std=std) for _ in range(3))
        self.output = linear(std=output_std)
        self.gate = parameter(np.zeros((d_model, n_head))) if gated else None

    def __call__(
        self, x: Tensor, positions: IntArray, cache: KeyValueCache | None = None
    ) -> Tensor:
        """Return the attention output, (batch, time, d_model).

        Parameters
        ----------
        positions : of the tokens, consecutive, shape (time,)
        cache : where keys and values are stored. Several tokens, at positions from 0, attend to
            each other; a single token attends to those stored before it.
        """
        heads = attend(*self.queries_keys_values(x, positions), positions, cache, self.window)
        heads = heads.transpose(0, 2, 1, 3)  # (batch, time, heads, head_size)
        if self.gate is not None:
            heads = heads * (functional.sigmoid(x @ self.gate) * 2)[..., np.newaxis]
        return self.output(heads.reshape(*x.shape))

    def queries_keys_values(self, x: Tensor, positions: IntArray) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of tokens at positions (time,).

        Each is (batch, heads, time, head_size).
        """
        batch, time, d_model = x.shape
        shape = batch, time, self.n_head, d_model // self.n_head
        query, key, value = (each(x).reshape(*shape) for each in (self.query, self.key, self.value))
        if self.qk_norm and not self.rotary:
            query, key = self.norm(query), self.norm(key)
        query, key, value = (each.transpose(0, 2, 1, 3) for each in (query, key, value))
        if self.rotary:
            turn = partial(functional.rotary, normalize=self.qk_norm)
            query, key = turn(query, positions), turn(key, positions)
        return query, key, value

    def cache(self, positions: int) -> KeyValueCache:
        """Return an empty cache for this layer: one sequence of `positions` tokens."""
        d_model, dtype = self.key.weight.shape[1], self.key.weight.dtype
        shape = 1, self.n_head, positions, d_model // self.n_head
        return KeyValueCache(shape, shape, dtype=dtype)
