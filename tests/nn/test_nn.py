"""Layers: parameters found by walking, initial values, dropout by stream.

tests/autograd/test_oracle.py compares the values and gradients of all layers with formulas.
"""

from collections.abc import Callable

from lmladder.autograd import Tensor
from lmladder.nn import (
    LayerNorm,
    Linear,
    Module,
    RmsNorm,
    dropout,
    parameter,
)
from lmladder.system.arrays import FloatArray
from lmladder.system.streams import stream

import numpy as np
import pytest

# --- Module ---------------------------------------------------------------------------------------


class Tree(Module):
    """Parameters at every depth, a shared one, and attributes that are not parameters."""

    def __init__(self) -> None:
        rng = stream(0, "tree")
        self.scale = parameter(np.ones(2))
        self.layers = [Linear(2, 3, rng=rng), "not a module", Linear(3, 2, rng=rng)]
        self.norm = LayerNorm(2)
        self.tied = self.layers[2].weight  # type: ignore[union-attr]
        self.same_norm = self.norm
        self.constant = Tensor(np.ones(3))
        self.number = 5
        self.array = np.ones(4)


def test_modules_and_parameters_are_found_by_walking_in_order_of_definition() -> None:
    tree = Tree()
    assert [name for name, _ in tree.modules()] == ["", "layers.0", "layers.2", "norm", "same_norm"]
    found = tree.parameters()
    assert " ".join(found) == (
        "scale tied layers.0.weight layers.0.bias layers.2.bias norm.weight norm.bias"
    )
    assert len({id(each) for each in found.values()}) == len(found)  # a shared one counts once
    assert tree.n_parameters == 2 + (6 + 3) + (6 + 2) + 4
    assert {each.dtype for each in found.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_load_takes_every_value_as_a_contiguous_copy_of_the_parameter_s_type(dtype: type) -> None:
    source, target = Tree(), Tree()
    arrays = {n: np.asfortranarray(t.value + 1, dtype) for n, t in source.parameters().items()}
    target.load(arrays)
    for name, tensor in target.parameters().items():
        assert tensor.value.flags.c_contiguous
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor.value, arrays[name])
        arrays[name] += 1
        assert (tensor.value != arrays[name]).all()
    assert target.tied is target.layers[2].weight  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda a: a.pop("norm.bias"), "norm.bias"),
        (lambda a: a.update(extra=np.ones(1)), "extra"),
        (lambda a: a.update({"norm.bias": np.ones((1, 2))}), r"norm.bias must have shape \(2,\)"),
        (lambda a: a.update({"norm.bias": np.ones(2, int)}), "got .* int64"),
    ],
)
def test_load_rejects_what_does_not_fit_and_changes_nothing(
    change: Callable[[dict[str, FloatArray]], object], named: str
) -> None:
    tree = Tree()
    before = {name: each.value.copy() for name, each in tree.parameters().items()}
    arrays = {name: value + 1 for name, value in before.items()}
    change(arrays)
    with pytest.raises(ValueError, match=named):
        tree.load(arrays)
    for name, tensor in tree.parameters().items():
        np.testing.assert_array_equal(tensor.value, before[name])


def test_astype_converts_every_parameter_and_drops_gradients() -> None:
    tree = Tree()
    tree.scale.grad = np.ones(2, np.float32)
    tree.astype(np.float64)
    assert {each.dtype for each in tree.parameters().values()} == {np.dtype(np.float64)}
    assert tree.scale.grad is None
    assert tree.tied is tree.layers[2].weight  # type: ignore[union-attr]


# --- Values ---------------------------------------------------------------------------------------


def test_linear_has_the_initial_standard_deviation_that_it_promises() -> None:
    for std, expected in ((None, 0.1), (0.02, 0.02)):
        layer = Linear(100, 400, rng=stream(0, "linear"), std=std)
        assert layer.weight.value.std() == pytest.approx(expected, rel=0.02)
        assert not layer.bias.value.any()


def test_norms_without_weights_are_those_with_weights_of_1() -> None:
    x = Tensor(stream(0, "x").standard_normal((6, 50)) * 7 + 3)
    bare = LayerNorm(50, weight=False, bias=False), RmsNorm(50, weight=False)
    for norm, without in zip((LayerNorm(50), RmsNorm(50)), bare, strict=True):
        norm.astype(np.float64)
        assert without.parameters() == {}
        np.testing.assert_array_equal(without(x).value, norm(x).value)


# --- Dropout --------------------------------------------------------------------------------------


def test_dropout_zeroes_its_rate_keeps_the_mean_and_follows_its_stream() -> None:
    x = Tensor(np.ones(100_000, np.float32))
    assert dropout(x, 0.5, None) is x
    assert dropout(x, 0.0, stream(0, "dropout")) is x
    for rate in (0.1, 0.5, 0.9):
        out, again, other = (dropout(x, rate, stream(0, "d", step)).value for step in (3, 3, 4))
        np.testing.assert_array_equal(out, again)
        assert (out != other).any()
        assert out.dtype == np.float32
        assert (out == 0).mean() == pytest.approx(rate, abs=0.01)
        np.testing.assert_allclose(out[out != 0], 1 / (1 - rate), rtol=1e-6)
        assert out.mean(dtype=np.float64) == pytest.approx(1, abs=0.04)
