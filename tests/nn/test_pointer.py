from lmladder import kernels
from lmladder.autograd import Tensor, functional
from lmladder.nn import Pointer
from lmladder.system.streams import stream

import numpy as np
import pytest

VOCABULARY, SIZE = 5, 16
SIZES = {"logits": VOCABULARY + 6, "hidden": SIZE}
TOKENS = np.array([[3, 0, 4, 3]])  # the last vector is that of the first position


def probabilities(pointer: Pointer) -> np.ndarray:
    """Return those after each token of TOKENS, where the head prefers token 1."""
    vectors = 40 * np.eye(SIZE, dtype=np.float32)[TOKENS]
    logits = Tensor(np.tile(np.float32([0, 9, 0, 0, 0]), (1, 4, 1)))
    return np.exp(pointer(logits, Tensor(vectors), TOKENS, np.arange(4)).value[0])


@pytest.fixture
def pointer() -> Pointer:
    return Pointer(SIZE, 64, VOCABULARY, rng=stream(0, "pointer"), std=1.0)


def test_an_untrained_pointer_has_a_quarter_and_names_what_followed_the_same_vector(pointer):
    found = probabilities(pointer)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    assert found[3, 0] == pytest.approx(0.25, abs=0.01)  # after the 3 came a 0
    assert found[3, 1] == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize(("bias", "token"), [(-30, 1), (30, 0)])
def test_the_gate_leaves_all_to_the_head_or_to_the_pointer(pointer, bias, token):
    pointer.gate_bias.value[...] = bias
    assert probabilities(pointer)[3, token] > 0.99


@pytest.mark.parametrize("choice", kernels.CHOICES)
@pytest.mark.parametrize("bias", [-200, -17, 0, 17, 200])
def test_a_saturated_gate_loses_neither_precision_nor_the_gradient_of_the_head(choice, bias):
    kernels.select(choice)
    tokens = stream(0, "tokens").integers(VOCABULARY + 6, size=(3, 40))
    drawn = [stream(0, name).standard_normal((3, 40, size)) for name, size in SIZES.items()]
    found = {}
    for dtype in (np.float32, np.float64):
        pointer = Pointer(SIZE, 64, VOCABULARY + 6, rng=stream(0, "pointer"), std=0.3)
        pointer.gate_bias.value[...] = bias
        pointer.astype(dtype)
        logits, hidden = (Tensor(each.astype(dtype), requires_grad=True) for each in drawn)
        out = found[dtype] = pointer(logits, hidden, tokens, np.arange(40))
        functional.cross_entropy(out, tokens[:, ::-1]).backward()
        assert logits.grad.any()
        assert np.isfinite(hidden.grad).all()
    np.testing.assert_allclose(*(each.value for each in found.values()), rtol=0, atol=1e-4)
