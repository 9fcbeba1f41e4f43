from lmladder.autograd import Tensor, gradcheck
from lmladder.autograd.functional import causal_attention
from lmladder.autograd.gradcheck import TOLERANCE

import numpy as np

SHAPES = (2, 3, 5, 4), (2, 3, 5, 4), (2, 3, 5, 6)  # of q, k and v


def draw(seed):
    rng = np.random.default_rng(seed)
    return [Tensor(rng.standard_normal(shape), requires_grad=True) for shape in SHAPES]


def test_equal_logits_give_the_mean_of_the_positions_so_far(answer):
    q, k = Tensor(np.zeros((1, 1, 4, 2))), Tensor(np.ones((1, 1, 4, 2)))
    v = Tensor(np.array([1.0, 3.0, 5.0, 7.0]).reshape(1, 1, 4, 1))
    np.testing.assert_allclose(answer.attention(q, k, v).value.ravel(), [1, 2, 3, 4])


def test_later_positions_do_not_change_earlier_outputs(answer):
    before, (q, k, v) = answer.attention(*draw(0)).value, draw(0)
    for each in q, k, v:
        each.value[:, :, 3:] += 1
    after = answer.attention(q, k, v).value
    np.testing.assert_allclose(after[:, :, :3], before[:, :, :3])


def test_outputs_agree_with_lmladder(answer):
    result = answer.attention(*draw(1))
    assert isinstance(result, Tensor), "the result must be a Tensor"
    np.testing.assert_allclose(result.value, causal_attention(*draw(1)).value)


def test_gradients_agree_with_differences(answer):
    error = gradcheck(answer.attention, draw(2), rng=np.random.default_rng(0))
    assert error < TOLERANCE, "the gradient of q, k or v is wrong: do you use Tensors throughout?"
