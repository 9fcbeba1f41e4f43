from lmladder.autograd import Tensor, functional, gradcheck
from lmladder.autograd.gradcheck import TOLERANCE

import numpy as np


def test_the_loss_is_right_by_hand(answer):
    even = answer.cross_entropy(np.zeros((2, 4)), np.array([0, 3]))
    np.testing.assert_allclose(even.value, np.log(4), err_msg="equal logits")
    logits = np.log([[1.0, 2.0, 5.0], [3.0, 3.0, 2.0]])  # probabilities times 8
    loss = answer.cross_entropy(logits, np.array([1, 2]))
    np.testing.assert_allclose(loss.value, -(np.log(2 / 8) + np.log(2 / 8)) / 2)


def test_the_gradient_is_right_by_hand(answer):
    logits = Tensor(np.log([[1.0, 2.0, 5.0], [3.0, 3.0, 2.0]]), requires_grad=True)
    answer.cross_entropy(logits, np.array([1, 2])).backward()
    np.testing.assert_allclose(logits.grad, np.array([[1, -6, 5], [3, 3, -6]]) / 16, atol=1e-12)


def test_large_logits_neither_overflow_nor_give_infinity(answer):
    logits = Tensor(np.array([[1000.0, 0.0], [0.0, -1000.0]]), requires_grad=True)
    loss = answer.cross_entropy(logits, np.array([1, 0]))
    np.testing.assert_allclose(loss.value, 500.0)
    loss.backward()
    np.testing.assert_allclose(logits.grad, [[0.5, -0.5], [0, 0]])


def test_loss_and_gradient_agree_with_lmladder_and_with_differences(answer):
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((6, 5)), rng.integers(5, size=6)
    loss = answer.cross_entropy(logits, targets)
    np.testing.assert_allclose(loss.value, functional.cross_entropy(logits, targets).value)
    error = gradcheck(lambda x: answer.cross_entropy(x, targets), [logits], rng=rng)
    assert error < TOLERANCE, "the gradient of logits is wrong"
