"""The gradients of a linear layer, whose products are one job for the threads."""

from lmladder import kernels
from lmladder.system.streams import stream

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def all_cores_again():
    yield
    kernels.set_threads(None)


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (0, 5), (4, 9, 300), (700, 256), (256,)])
@pytest.mark.parametrize("width", [1, 130])
def test_they_are_those_of_the_products_apart(shape, width):
    rng = stream(0, f"linear {shape} {width}")
    x, weight = rng.standard_normal(shape), rng.standard_normal((shape[-1], width))
    grad = rng.standard_normal((*shape[:-1], width))
    by_x, by_weight, by_bias = kernels.linear_backward(grad, x, weight)
    np.testing.assert_allclose(by_x, grad @ weight.T, rtol=1e-12, atol=1e-12)
    rows, grads = x.reshape(-1, shape[-1]), grad.reshape(-1, width)
    np.testing.assert_allclose(by_weight, rows.T @ grads, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(by_bias, grads.sum(axis=0), rtol=1e-12, atol=1e-12)


def test_their_bits_do_not_depend_on_the_number_of_threads():
    rng = stream(0, "linear threads")
    x, weight, grad = (
        rng.standard_normal(shape).astype(np.float32)
        for shape in [(500, 256), (256, 384), (500, 384)]
    )
    found = []
    for threads in (1, 2, 3):
        kernels.set_threads(threads)
        found.append([each.tobytes() for each in kernels.linear_backward(grad, x, weight)])
    assert found[0] == found[1] == found[2]
