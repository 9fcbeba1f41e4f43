"""Layers: parameters found by walking, values from formulas, dropout by stream.

tests/models/test_contract.py compares the gradients of all layers with differences.
"""

import math
from collections.abc import Callable

from lmladder.autograd import Tensor, functional, no_grad
from lmladder.nn import (
    CausalSelfAttention,
    Embedding,
    GruLayer,
    LayerNorm,
    Linear,
    Module,
    RmsNorm,
    RnnLayer,
    dropout,
    parameter,
    sinusoidal,
)
from lmladder.system.arrays import FloatArray
from lmladder.system.streams import stream

import numpy as np
import pytest


def normal(name: str, *shape: int) -> FloatArray:
    return stream(0, name).standard_normal(shape)


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
        (lambda a: a.clear(), "do not match"),
        (lambda a: a.update({"norm.bias": np.ones((1, 2))}), r"norm.bias must have shape \(2,\)"),
        (lambda a: a.update({"norm.bias": np.ones(2, int)}), "got .* int64"),
        (lambda a: a.update({"norm.bias": np.ones(2, complex)}), "got .* complex"),
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


def test_embedding_looks_up_vectors_and_multiplies_by_them() -> None:
    table = Embedding(5, 3, rng=stream(0, "table"), std=1.0)
    ids = np.array([[4, 0], [1, 4]], dtype=np.uint8)
    np.testing.assert_array_equal(table(ids).value, table.weight.value[ids])
    x = Tensor(normal("x", 2, 3).astype(np.float32))
    np.testing.assert_allclose(table.logits(x).value, x.value @ table.weight.value.T, rtol=1e-5)


def test_norms_normalize_with_weights_or_without() -> None:
    x = Tensor(normal("x", 6, 50) * 7 + 3)
    layer_norm, rms_norm = LayerNorm(50), RmsNorm(50)
    bare = LayerNorm(50, weight=False, bias=False), RmsNorm(50, weight=False)
    for norm, without in zip((layer_norm, rms_norm), bare, strict=True):
        norm.astype(np.float64)
        assert without.parameters() == {}
        np.testing.assert_array_equal(without(x).value, norm(x).value)
    centered, scaled = layer_norm(x).value, rms_norm(x).value
    np.testing.assert_allclose(centered.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(centered.var(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose((scaled**2).mean(axis=1), 1, rtol=1e-5)


def attention(d_model: int, n_head: int, **options: bool) -> CausalSelfAttention:
    layer = CausalSelfAttention(
        d_model, n_head, rng=stream(0, "a"), std=0.7, output_std=0.7, **options
    )
    layer.astype(np.float64)
    return layer


def test_a_number_of_heads_that_does_not_divide_the_width_is_rejected() -> None:
    with pytest.raises(ValueError, match="n_head=4 does not divide d_model=6"):
        attention(6, 4)


@pytest.mark.parametrize("rotary", [False, True])
def test_qk_norm_normalizes_queries_and_keys_but_not_values(rotary: bool) -> None:
    layer, x = attention(8, 2, rotary=rotary, qk_norm=True), Tensor(normal("x", 2, 6, 8) * 9)
    query, key, value = layer.queries_keys_values(x, np.arange(6))
    for each in (query, key):
        np.testing.assert_allclose((each.value**2).mean(axis=-1), 1, rtol=1e-4)
    assert (value.value**2).mean() > 10


# --- Positions ------------------------------------------------------------------------------------


def test_rotary_rotates_each_pair_of_halves_by_its_angle() -> None:
    x = normal("x", 3, 6)
    out = functional.rotary(Tensor(x), np.arange(4, 7)).value
    for t in range(3):
        for i in range(3):
            point = complex(x[t, i], x[t, i + 3]) * np.exp(1j * (4 + t) / 10_000 ** (2 * i / 6))
            assert complex(out[t, i], out[t, i + 3]) == pytest.approx(point)
    query, key = (np.tile(normal(name, 8), (20, 1)) for name in ("query", "key"))
    q, k = (functional.rotary(Tensor(each), np.arange(20)).value for each in (query, key))
    products = q @ k.T  # (position of the query, position of the key)
    for distance in range(-19, 20):  # on which alone they depend
        np.testing.assert_allclose(np.diff(np.diagonal(products, distance)), 0, atol=1e-12)
    assert np.abs(np.diff(products[0])).min() > 1e-3


def test_sinusoidal_positions_are_those_of_the_paper() -> None:
    table = sinusoidal(np.array([0, 1, 50]), 4)
    for vector, position in zip(table, (0, 1, 50), strict=True):
        slow = position / 10_000 ** (2 / 4)
        expected = [math.sin(position), math.cos(position), math.sin(slow), math.cos(slow)]
        assert vector.tolist() == pytest.approx(expected)


# --- Recurrent layers -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [RnnLayer, GruLayer])
def test_a_recurrent_layer_takes_sequences_of_any_number_and_length(kind: type) -> None:
    layer = kind(3, 4, rng=stream(0, "layer"))
    x = normal("x", 2, 5, 3).astype(np.float32)
    with no_grad():
        states = layer(Tensor(x)).value
        np.testing.assert_allclose(layer(Tensor(x[:1, :3])).value, states[:1, :3], rtol=1e-5)
        rest = layer(Tensor(x[:, 3:]), Tensor(states[:, 2])).value
        np.testing.assert_allclose(rest, states[:, 3:], rtol=1e-5)
        assert layer(Tensor(x[:, :0])).shape == (2, 0, 4)
        assert layer(Tensor(x[:0])).shape == (0, 5, 4)


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
