"""Exercise 4: causal attention from the ops of lmladder."""

from lmladder.autograd.functional import softmax

import numpy as np


def attention(q, k, v):
    """Return causal scaled dot-product attention. Its gradient is that of the ops that you use.

        logits[t, s] = q[t] . k[s] / sqrt(size)      if s <= t, else minus infinity
        weights[t]   = softmax(logits[t])            over all positions s
        output[t]    = sum_s weights[t, s] v[s]

    This holds for each head of each sequence of the batch by itself. A position t reads itself and
    earlier positions s only, because a language model must not see the token that it predicts.

    Tensors have `@`, `+`, `*`, `/`, `.swapaxes(axis1, axis2)` and `.shape` as arrays have, and may
    be combined with arrays: `@` is a matrix product over the last two axes for each head.
    `softmax(tensor)` is over the last axis. Do not use `.value`, which has no gradient.

    Parameters
    ----------
    q, k : queries and keys, Tensors of shape (batch, heads, time, size)
    v : values, Tensor of shape (batch, heads, time, n)

    Returns
    -------
    Tensor, shape (batch, heads, time, n)
    """
    *_, time, size = q.shape
    mask = np.where(np.tril(np.ones((time, time))), 0.0, -np.inf)
    logits = q @ k.swapaxes(2, 3) / np.sqrt(size) + mask
    return softmax(logits) @ v
