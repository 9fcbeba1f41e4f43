from lmladder.autograd import Tensor
from lmladder.autograd.functional import cross_entropy
from lmladder.data.batches import get_batch
from lmladder.models.counts import CountTables
from lmladder.models.ngram import AddK

import numpy as np


def trained(answer, slopes, **options):
    """Train one number whose gradients are `slopes`; return its last value and the losses."""
    x = Tensor(1.0, requires_grad=True)
    settings = {"learning_rate": 0.1, "momentum": 0.0, "clip_norm": 100.0} | options
    losses = answer.train([x], lambda slope: x * slope, slopes, **settings)
    assert x.grad is None, "the gradient must be cleared after each step"
    return x.value, losses


def test_a_step_goes_down_and_losses_are_those_before_it(answer):
    value, losses = trained(answer, [2.0, 2.0])
    np.testing.assert_allclose(value, 1 - 0.1 * 2 - 0.1 * 2)
    np.testing.assert_allclose(losses, [2 * 1, 2 * 0.8])
    assert all(isinstance(each, float) for each in losses)


def test_momentum_adds_up_earlier_gradients(answer):
    value, _ = trained(answer, [2.0, 3.0, 5.0], momentum=0.5)
    np.testing.assert_allclose(value, 1 - 0.1 * (2 + (3 + 0.5 * 2) + (5 + 0.5 * 4)))


def test_gradients_are_clipped_by_their_common_norm(answer):
    x, y = (Tensor(0.0, requires_grad=True) for _ in range(2))
    for clip_norm, scale in (10.0, 1.0), (5.0, 1.0), (1.0, 1 / 5):  # the norm is 5
        x.value, y.value = np.zeros(()), np.zeros(())
        settings = {"learning_rate": 1.0, "momentum": 0.0, "clip_norm": clip_norm}
        answer.train([x, y], lambda _: x * 3.0 + y * 4.0, [None], **settings)
        np.testing.assert_allclose([x.value, y.value], [-3 * scale, -4 * scale])


def test_a_gradient_of_zero_is_not_an_error(answer):
    assert trained(answer, [0.0])[0] == 1


def test_a_trained_bigram_model_is_as_good_as_a_counted_one(answer, tales):
    text, size = tales
    table = Tensor(np.zeros((size, size)), requires_grad=True)  # logits by the token before

    def loss(batch):
        return cross_entropy(table[batch[:, :-1]], batch[:, 1:])

    batches = (get_batch(text, batch_size=32, length=65, step=i, seed=0) for i in range(100))
    losses = answer.train([table], loss, batches, learning_rate=10, momentum=0.9, clip_norm=1.0)
    np.testing.assert_allclose(losses[0], np.log(size))
    counted = AddK(CountTables.count(text, size, 2), 2, 0.01).nll(text[None]).mean()
    reached = loss(text[None]).item()
    assert abs(reached - counted) < 0.1, f"trained {reached:.4f}, counted {counted:.4f} nats"
