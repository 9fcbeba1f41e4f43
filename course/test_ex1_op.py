from lmladder.autograd import Tensor, gradcheck
from lmladder.autograd.gradcheck import TOLERANCE

import numpy as np


def test_the_value_is_right(answer):
    value = answer.gated(np.array([2.0, -3.0, 4.0]), np.array([0.0, np.log(3), -np.log(3)])).value
    np.testing.assert_allclose(value, [1.0, -2.25, 1.0])  # sigmoid: 1/2, 3/4, 1/4


def test_the_gradients_are_right_by_hand(answer):
    a, b = Tensor(2.0, requires_grad=True), Tensor(np.log(3), requires_grad=True)
    answer.gated(a, b).backward()
    np.testing.assert_allclose(a.grad, 3 / 4, err_msg="gradient of a")
    np.testing.assert_allclose(b.grad, 2 * 3 / 4 * 1 / 4, err_msg="gradient of b")


def test_the_gradients_agree_with_differences(answer):
    rng = np.random.default_rng(0)
    for shapes in [(5,), (5,)], [(3, 4), (4,)], [(2, 1), (2, 3)], [(), (3,)]:
        error = gradcheck(answer.gated, [rng.standard_normal(each) for each in shapes], rng=rng)
        assert error < TOLERANCE, f"the gradient of a or b is wrong for shapes {shapes}"
