"""Solution of exercise 2: softmax and cross-entropy in one op."""

from functools import partial

from lmladder.autograd import op

import numpy as np


@partial(op, discrete={1: "iu"})  # `targets` are integers
def cross_entropy(logits, targets):
    rows = np.arange(len(targets))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))

    def pullback(grad):
        gradient = np.exp(log_p)
        gradient[rows, targets] -= 1
        return grad * gradient / len(targets), None

    return -log_p[rows, targets].mean(), pullback
