from lmladder.models.counts import CountTables
from lmladder.models.ngram import AddK, KneserNey

import numpy as np

TEXT = np.array([0, 1, 0, 1, 0, 2, 3])  # a b a b a c d; nothing follows d, and e does not occur


def of_lmladder(model, vocabulary_size):
    return np.exp(model.next_log_probabilities(np.arange(vocabulary_size)[:, None]))


def test_bigram_is_right_by_hand(answer):
    after_a, after_b, after_c, after_d, after_e = answer.bigram(TEXT, 5, k=0.2)
    np.testing.assert_allclose(after_a, np.array([0.2, 2.2, 1.2, 0.2, 0.2]) / 4)
    np.testing.assert_allclose(after_b, np.array([2.2, 0.2, 0.2, 0.2, 0.2]) / 3)
    np.testing.assert_allclose(after_c, np.array([0.2, 0.2, 0.2, 1.2, 0.2]) / 2)
    np.testing.assert_allclose([after_d, after_e], 1 / 5)


def test_bigram_agrees_with_lmladder(answer, tales):
    text, size = tales
    real = AddK(CountTables.count(text, size + 1, 2), 2, 0.1)
    np.testing.assert_allclose(answer.bigram(text, size + 1, k=0.1), of_lmladder(real, size + 1))


def test_kneser_ney_is_right_by_hand(answer):
    # In so short a text the discounts are D1 = 0.5 and D2 = 1. n is 1 for a, b, c, d; 0 for e.
    unigram = np.array([0.5, 0.5, 0.5, 0.5, 0]) / 4 + 2 / 4 / 5
    after_a, after_b, after_c, after_d, after_e = answer.kneser_ney(TEXT, 5)
    np.testing.assert_allclose([after_d, after_e], [unigram, unigram], err_msg="after d and e")
    np.testing.assert_allclose(after_c, np.array([0, 0, 0, 0.5, 0]) + 0.5 * unigram)
    np.testing.assert_allclose(after_b, np.array([1, 0, 0, 0, 0]) / 2 + 1 / 2 * unigram)
    np.testing.assert_allclose(after_a, np.array([0, 1, 0.5, 0, 0]) / 3 + 1.5 / 3 * unigram)


def test_kneser_ney_agrees_with_lmladder(answer, tales):
    text, size = tales
    real = KneserNey(CountTables.count(text, size + 1, 2), 2)
    np.testing.assert_allclose(answer.kneser_ney(text, size + 1), of_lmladder(real, size + 1))
