"""Solution of exercise 4: causal attention from the ops of lmladder."""

from lmladder.autograd.functional import softmax

import numpy as np


def attention(q, k, v):
    *_, time, size = q.shape
    mask = np.where(np.tril(np.ones((time, time))), 0.0, -np.inf)
    logits = q @ k.swapaxes(2, 3) / np.sqrt(size) + mask
    return softmax(logits) @ v
