"""Exercise 2: softmax and cross-entropy in one op."""

from functools import partial

from lmladder.autograd import op

import numpy as np


@partial(op, discrete={1: "iu"})  # `targets` are integers
def cross_entropy(logits, targets):
    """Return the mean negative log-likelihood of the targets, in nats, and its pullback.

        p[i, w] = exp(logits[i, w]) / sum_v exp(logits[i, v])             (softmax)
        loss    = mean over i of -log p[i, targets[i]]
        d loss / d logits[i, w] = (p[i, w] - (1 if w is targets[i], else 0)) / n

    exp(1000) overflows, and the log of a probability that was rounded to 0 is -inf. So subtract the
    maximum of each row from the row, which does not change p, and compute log p directly:

        log p[i, w] = logits[i, w] - log(sum_v exp(logits[i, v]))

    Parameters
    ----------
    logits : float array, shape (n, V)
    targets : int array, shape (n,), each in [0, V)

    Returns
    -------
    loss : a number, as a NumPy scalar or an array of shape ()
    pullback : function of `grad`, the gradient with respect to the loss, shape (). Returns a tuple:
        the gradient with respect to logits, shape (n, V), and None, as integers have no gradient.
        It must not change `grad`.
    """
    raise NotImplementedError  # write this
