"""Exercise 3: the bigram model and Kneser-Ney smoothing, from counts."""

from lmladder.models.ngram import discounts

import numpy as np


def bigram(tokens, vocabulary_size, *, k):
    """Return the probability of each token after each other, with add-k smoothing.

        p(w | h) = (c(hw) + k) / (c(h) + k V)

    c(hw) is how often w directly follows h, and c(h) = sum_v c(hv).

    Parameters
    ----------
    tokens : int array, shape (length,), each in [0, V)
    vocabulary_size : V; some tokens may not occur
    k : added to each count, above 0

    Returns
    -------
    float array, shape (V, V): p(w | h) in row h and column w, so that each row has the sum 1
    """
    raise NotImplementedError  # write this


def kneser_ney(tokens, vocabulary_size):
    """Return the probability of each token after each other, with Kneser-Ney smoothing of order 2.

                   c(hw) - D(c(hw))   sum_v D(c(hv))
        p(w | h) = ---------------- + -------------- p(w)
                         c(h)              c(h)

                   n(w) - D(n(w))   sum_v D(n(v))   1
        p(w)     = -------------- + ------------- * -
                          N               N         V

    c(hw) and c(h) are those of `bigram`. n(w) is in how many contexts w was seen: the number of
    different tokens h with c(hw) > 0; N = sum_v n(v). D is the function `discount`, called once
    with all counts c and once with all n. After a token h that nothing follows, c(h) is 0, and
    p(w | h) is p(w).

    Parameters
    ----------
    tokens : int array, shape (length,), each in [0, V)
    vocabulary_size : V; some tokens may not occur

    Returns
    -------
    float array, shape (V, V): p(w | h) in row h and column w
    """
    raise NotImplementedError  # write this


def discount(counts):
    """Return D of each count: 0 for 0, else D1, D2 or D3+, as lmladder estimates them.

    Parameters
    ----------
    counts : int array of any shape, with all counts of one kind

    Returns
    -------
    float array of the same shape
    """
    return np.array([0.0, *discounts(counts.ravel())])[np.minimum(counts, 3)]
