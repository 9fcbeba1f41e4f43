"""Solution of exercise 3: the bigram model and Kneser-Ney smoothing, from counts."""

from lmladder.models.ngram import discounts

import numpy as np


def bigram(tokens, vocabulary_size, *, k):
    counts = np.zeros((vocabulary_size, vocabulary_size))
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    return (counts + k) / (counts.sum(axis=1, keepdims=True) + k * vocabulary_size)


def kneser_ney(tokens, vocabulary_size):
    counts = np.zeros((vocabulary_size, vocabulary_size), int)
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    contexts = (counts > 0).sum(axis=0)
    taken = discount(contexts)
    unigram = (contexts - taken + taken.sum() / vocabulary_size) / contexts.sum()
    total = counts.sum(axis=1, keepdims=True)
    taken = discount(counts)
    left = taken.sum(axis=1, keepdims=True)
    after_h = (counts - taken + left * unigram) / np.maximum(total, 1)
    return np.where(total > 0, after_h, unigram)


def discount(counts):
    return np.array([0.0, *discounts(counts.ravel())])[np.minimum(counts, 3)]
