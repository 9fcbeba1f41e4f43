"""Layers: parameters found by walking, gradients against differences, dropout by stream."""

import math
from collections.abc import Callable

from lmladder.arrays import FloatArray
from lmladder.autograd import Tensor, functional, gradcheck, no_grad
from lmladder.autograd.gradcheck import TOLERANCE
from lmladder.config import TransformerArchitecture
from lmladder.models.transformer import Block, FeedForward
from lmladder.nn import (
    ACTIVATIONS,
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
from lmladder.rng import stream

import numpy as np
import pytest


def normal(name: str, *shape: int) -> FloatArray:
    return stream(0, name).standard_normal(shape)


# --- Module ---------------------------------------------------------------------------------------


class Tree(Module):
    """Parameters at every depth, a shared one, and things that are none."""

    def __init__(self) -> None:
        rng = stream(0, "tree")
        self.scale = parameter(np.ones(2))
        self.layers = [Linear(2, 3, rng=rng), "no module", Linear(3, 2, rng=rng)]
        self.norm = LayerNorm(2)
        self.tied = self.layers[2].weight  # type: ignore[union-attr]
        self.same_norm = self.norm
        self.constant = Tensor(np.ones(3))
        self.number = 5
        self.array = np.ones(4)


def test_parameters_are_found_by_walking_in_order_of_definition() -> None:
    assert list(Tree().parameters()) == [
        "scale",
        "tied",
        "layers.0.weight",
        "layers.0.bias",
        "layers.2.bias",
        "norm.weight",
        "norm.bias",
    ]


def test_a_shared_tensor_counts_once() -> None:
    tree = Tree()
    found = list(tree.parameters().values())
    assert len({id(each) for each in found}) == len(found)
    assert tree.n_parameters == 2 + (6 + 3) + (6 + 2) + 4


def test_modules_are_named_by_their_path() -> None:
    names = [name for name, _ in Tree().modules()]
    assert names == ["", "layers.0", "layers.2", "norm", "same_norm"]


def test_new_parameters_are_float32() -> None:
    assert {each.dtype for each in Tree().parameters().values()} == {np.dtype(np.float32)}


def test_load_takes_over_every_value_as_a_copy() -> None:
    source, target = Tree(), Tree()
    arrays = {name: each.value + 1 for name, each in source.parameters().items()}
    target.load(arrays)
    for name, tensor in target.parameters().items():
        np.testing.assert_array_equal(tensor.value, arrays[name])
        arrays[name] += 1
        assert (tensor.value != arrays[name]).all()
    assert target.tied is target.layers[2].weight  # type: ignore[union-attr]


def test_load_converts_to_the_type_of_the_parameters() -> None:
    tree = Tree()
    tree.load({name: each.value.astype(np.float64) for name, each in tree.parameters().items()})
    assert {each.dtype for each in tree.parameters().values()} == {np.dtype(np.float32)}


SPOILT: dict[str, tuple[Callable[[dict[str, FloatArray]], object], str]] = {
    "a name is missing": (lambda a: a.pop("norm.bias"), "norm.bias"),
    "a name is too many": (lambda a: a.update(extra=np.ones(1)), "extra"),
    "nothing is given": (lambda a: a.clear(), "do not match"),
    "another shape": (lambda a: a.update({"norm.bias": np.ones((1, 2))}), "norm.bias"),
    "integers": (lambda a: a.update({"norm.bias": np.ones(2, int)}), "int64"),  # type: ignore
    "complex numbers": (lambda a: a.update({"norm.bias": np.ones(2, complex)}), "complex"),
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_load_refuses_what_does_not_fit_and_changes_nothing(spoil: str) -> None:
    tree = Tree()
    before = {name: each.value.copy() for name, each in tree.parameters().items()}
    arrays = {name: value + 1 for name, value in before.items()}
    change, named = SPOILT[spoil]
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


# --- Gradients ------------------------------------------------------------------------------------


def architecture(dropout_rate: float = 0.0) -> TransformerArchitecture:
    return TransformerArchitecture(
        n_layer=1, n_head=2, d_model=4, context_length=8, activation="gelu", dropout=dropout_rate
    )


def make_layers() -> dict[str, tuple[Module, Callable[[Tensor], Tensor], tuple[int, ...]]]:
    """Layer, its call, and the shape of its input; weights large enough for curves to show."""
    rng = stream(0, "layers")
    linear = Linear(4, 3, rng=rng)
    embedding = Embedding(5, 4, rng=rng, deviation=1.0)
    layer_norm, rms_norm = LayerNorm(4), RmsNorm(4)
    attention = CausalSelfAttention(4, 2, rng=rng, deviation=0.8, output_deviation=0.8)
    turning = CausalSelfAttention(
        4, 2, rng=rng, deviation=0.8, output_deviation=0.8, bias=False, rotary=True, qk_norm=True
    )
    feed_forward = FeedForward(4, 16, "gelu_tanh", rng=rng, deviation=0.8, output_deviation=0.8)
    gated = FeedForward(
        4, 5, "silu", rng=rng, deviation=0.8, output_deviation=0.8, gated=True, bias=False
    )
    rnn, gru = RnnLayer(4, 3, rng=rng), GruLayer(4, 3, rng=rng)
    no_bias, no_scale = Linear(4, 3, rng=rng, bias=False), LayerNorm(4, weight=False)
    no_shift = LayerNorm(4, bias=False)
    block, dropping = Block(architecture(), rng=rng), Block(architecture(0.3), rng=rng)
    ids = np.array([[0, 4, 4], [2, 0, 4]])
    return {
        "Linear": (linear, linear, (2, 3, 4)),
        "Linear without bias": (no_bias, no_bias, (2, 3, 4)),
        "Embedding": (embedding, lambda x: embedding(ids) * x, (2, 3, 4)),
        "Embedding.scores": (embedding, embedding.scores, (2, 3, 4)),
        "LayerNorm": (layer_norm, layer_norm, (2, 3, 4)),
        "LayerNorm without scale": (no_scale, no_scale, (2, 3, 4)),
        "LayerNorm without shift": (no_shift, no_shift, (2, 3, 4)),
        "RmsNorm": (rms_norm, rms_norm, (2, 3, 4)),
        "CausalSelfAttention": (attention, attention, (2, 5, 4)),
        "CausalSelfAttention, rotary and normalised": (turning, turning, (2, 5, 4)),
        "RnnLayer": (rnn, rnn, (2, 5, 4)),
        "GruLayer": (gru, gru, (2, 5, 4)),
        "FeedForward, gated": (gated, gated, (2, 3, 4)),
        "FeedForward": (feed_forward, feed_forward, (2, 3, 4)),
        "Block": (block, lambda x: block(x, None), (2, 5, 4)),
        "Block with dropout": (dropping, lambda x: dropping(x, stream(0, "mask")), (2, 5, 4)),
    }


LAYERS = make_layers()


@pytest.mark.parametrize("layer", LAYERS)
def test_gradients_of_layer_agree_with_differences(layer: str) -> None:
    module, call, shape = LAYERS[layer]
    module.astype(np.float64)
    for name, tensor in module.parameters().items():
        tensor.value = tensor.value + 0.3 * normal(name, *tensor.shape)  # no bias stays 0
    x = Tensor(normal("x", *shape), requires_grad=True)
    parameters = list(module.parameters().values())
    worst = gradcheck(lambda *_: call(x), [x, *parameters], rng=stream(0, "directions"))
    assert worst < TOLERANCE
    assert all(each.grad is not None and each.grad.any() for each in [x, *parameters])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_of_activation_agree_with_differences(name: str) -> None:
    x = normal("x", 5, 7) * 2  # no number so near 0 that relu's kink would matter
    assert gradcheck(ACTIVATIONS[name], [x], rng=stream(0, "directions")) < TOLERANCE


EXACT: dict[str, Callable[[float], float]] = {
    "relu": lambda x: max(x, 0.0),
    "relu_squared": lambda x: max(x, 0.0) ** 2,
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "gelu": lambda x: x * math.erfc(-x / math.sqrt(2)) / 2,
    "gelu_tanh": lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + math.exp(-x)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_the_function_it_is_called_after(name: str) -> None:
    points = np.linspace(-6, 6, 49)
    expected = [EXACT[name](point) for point in points]
    np.testing.assert_allclose(ACTIVATIONS[name](Tensor(points)).value, expected, atol=1e-14)


# --- Values ---------------------------------------------------------------------------------------


def test_linear_starts_with_the_deviation_it_promises() -> None:
    wide = Linear(100, 400, rng=stream(0, "wide"))
    assert wide.weight.value.std() == pytest.approx(0.1, rel=0.02)
    assert not wide.bias.value.any()
    narrow = Linear(100, 400, rng=stream(0, "narrow"), deviation=0.02)
    assert narrow.weight.value.std() == pytest.approx(0.02, rel=0.02)


def test_embedding_looks_up_rows_and_scores_against_them() -> None:
    table = Embedding(5, 3, rng=stream(0, "table"), deviation=1.0)
    ids = np.array([[4, 0], [1, 4]], dtype=np.uint8)
    np.testing.assert_array_equal(table(ids).value, table.weight.value[ids])
    x = Tensor(normal("x", 2, 3).astype(np.float32))
    np.testing.assert_allclose(table.scores(x).value, x.value @ table.weight.value.T, rtol=1e-5)


def test_norms_normalise() -> None:
    x = Tensor(normal("x", 6, 50) * 7 + 3)
    layer_norm, rms_norm = LayerNorm(50), RmsNorm(50)
    layer_norm.astype(np.float64)
    rms_norm.astype(np.float64)
    centred, scaled = layer_norm(x).value, rms_norm(x).value
    np.testing.assert_allclose(centred.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(centred.var(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose((scaled**2).mean(axis=1), 1, rtol=1e-5)


def test_attention_splits_heads_as_the_paper_does() -> None:
    layer = CausalSelfAttention(6, 3, rng=stream(0, "a"), deviation=0.7, output_deviation=0.7)
    layer.astype(np.float64)
    x = normal("x", 2, 4, 6)
    q, k, v = (
        x @ each.weight.value + each.bias.value for each in (layer.query, layer.key, layer.value)
    )
    gathered = np.zeros_like(x)
    for example in range(2):
        for head in range(3):
            part = slice(2 * head, 2 * head + 2)
            for time in range(4):
                scores = k[example, : time + 1, part] @ q[example, time, part] / math.sqrt(2)
                weights = np.exp(scores) / np.exp(scores).sum()
                gathered[example, time, part] = weights @ v[example, : time + 1, part]
    expected = gathered @ layer.output.weight.value + layer.output.bias.value
    np.testing.assert_allclose(layer(Tensor(x)).value, expected, rtol=1e-12, atol=1e-12)


def test_norms_without_weights_have_no_parameters_and_normalise_all_the_same() -> None:
    x = Tensor(normal("x", 6, 50) * 7 + 3)
    for norm, bare in [
        (LayerNorm(50), LayerNorm(50, weight=False, bias=False)),
        (RmsNorm(50), RmsNorm(50, weight=False)),
    ]:
        norm.astype(np.float64)
        assert bare.parameters() == {}
        np.testing.assert_array_equal(bare(x).value, norm(x).value)


def test_a_gate_multiplies_the_hidden_layer() -> None:
    layer = FeedForward(
        3, 4, "silu", rng=stream(0, "f"), deviation=1, output_deviation=1, gated=True
    )
    layer.astype(np.float64)
    x = normal("x", 2, 3)
    gate, hidden = x @ layer.gate.weight.value, x @ layer.expand.weight.value
    expected = gate / (1 + np.exp(-gate)) * hidden @ layer.contract.weight.value
    np.testing.assert_allclose(layer(Tensor(x)).value, expected, rtol=1e-12)


# --- Positions ------------------------------------------------------------------------------------


def test_rotary_turns_each_pair_of_halves_by_its_angle() -> None:
    x = normal("x", 3, 6)
    out = functional.rotary(Tensor(x), np.arange(4, 7)).value
    for t in range(3):
        for i in range(3):
            point = complex(x[t, i], x[t, i + 3]) * np.exp(1j * (4 + t) / 10_000 ** (2 * i / 6))
            assert out[t, i] == pytest.approx(point.real)
            assert out[t, i + 3] == pytest.approx(point.imag)


def test_after_rotary_products_depend_on_distances_alone() -> None:
    query, key = (np.tile(normal(name, 8), (20, 1)) for name in ("query", "key"))
    q, k = (functional.rotary(Tensor(each), np.arange(20)).value for each in (query, key))
    products = q @ k.T  # (position of the query, position of the key)
    for distance in range(-19, 20):
        np.testing.assert_allclose(np.diff(np.diagonal(products, distance)), 0, atol=1e-12)
    assert np.abs(np.diff(products[0])).min() > 1e-3


def test_sinusoidal_positions_are_those_of_the_paper() -> None:
    table = sinusoidal(np.array([0, 1, 50]), 4)
    for row, position in zip(table, (0, 1, 50), strict=True):
        slow = position / 10_000 ** (2 / 4)
        expected = [math.sin(position), math.cos(position), math.sin(slow), math.cos(slow)]
        assert row.tolist() == pytest.approx(expected)


def test_queries_and_keys_of_one_late_token_are_those_it_has_in_the_whole_text() -> None:
    layer = CausalSelfAttention(
        8, 2, rng=stream(0, "a"), deviation=0.7, output_deviation=0.7, rotary=True, qk_norm=True
    )
    layer.astype(np.float64)
    x = normal("x", 2, 6, 8)
    whole = layer.queries_keys_values(Tensor(x), np.arange(6))
    for t in range(6):
        alone = layer.queries_keys_values(Tensor(x[:, t : t + 1]), np.array([t]))
        for part, all_of_it in zip(alone, whole, strict=True):
            np.testing.assert_allclose(part.value, all_of_it.value[:, :, t : t + 1], rtol=1e-12)


def test_normalised_queries_and_keys_have_root_mean_square_1() -> None:
    layer = CausalSelfAttention(
        8, 2, rng=stream(0, "a"), deviation=9.0, output_deviation=1.0, rotary=True, qk_norm=True
    )
    x = Tensor(normal("x", 2, 6, 8).astype(np.float32))
    query, key, value = layer.queries_keys_values(x, np.arange(6))
    for each in (query, key):
        np.testing.assert_allclose((each.value**2).mean(axis=-1), 1, rtol=1e-4)
    assert (value.value**2).mean() > 10


# --- Recurrent layers -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [RnnLayer, GruLayer])
def test_a_recurrent_layer_takes_rows_of_any_number_and_length(kind: type) -> None:
    layer = kind(3, 4, rng=stream(0, "layer"))
    x = normal("x", 2, 5, 3).astype(np.float32)
    with no_grad():
        states = layer(Tensor(x)).value
        np.testing.assert_allclose(layer(Tensor(x[:1, :3])).value, states[:1, :3], rtol=1e-5)
        assert layer(Tensor(x[:, :0])).shape == (2, 0, 4)
        assert layer(Tensor(x[:0])).shape == (0, 5, 4)


def test_a_gru_keeps_its_state_while_its_update_gate_is_open() -> None:
    layer = GruLayer(1, 2, rng=stream(0, "layer"))
    layer.input.weight.value[:] = 0
    layer.recurrent.weight.value[:] = 0
    layer.input.weight.value[0, 2:4] = 1  # x decides what is kept, nothing else
    assert layer.input.bias is not None
    layer.input.bias.value[4:] = 0.5  # the candidate
    states = layer(Tensor(np.array([[[-1e4], [1e4], [1e4], [-1e4]]], np.float32))).value[0]
    np.testing.assert_allclose(states, np.tanh(0.5), rtol=1e-6)


# --- Dropout --------------------------------------------------------------------------------------


def test_dropout_is_off_without_random_numbers() -> None:
    x = Tensor(np.ones(4))
    assert dropout(x, 0.5, None) is x
    assert dropout(x, 0.0, stream(0, "dropout")) is x


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_zeroes_its_rate_and_keeps_the_mean(rate: float) -> None:
    x = Tensor(np.ones(100_000, np.float32))
    out = dropout(x, rate, stream(0, "dropout")).value
    assert out.dtype == np.float32
    assert (out == 0).mean() == pytest.approx(rate, abs=0.01)
    np.testing.assert_allclose(out[out != 0], 1 / (1 - rate), rtol=1e-6)
    assert out.mean(dtype=np.float64) == pytest.approx(1, abs=0.04)


def test_dropout_draws_its_mask_from_the_stream_alone() -> None:
    x = Tensor(np.ones(1000))
    first, again = (dropout(x, 0.5, stream(0, "dropout", 3)).value for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first != dropout(x, 0.5, stream(0, "dropout", 4)).value).any()


def test_block_drops_only_where_random_numbers_are_handed_in() -> None:
    block = Block(architecture(0.5), rng=stream(0, "block"))
    x = Tensor(normal("x", 1, 5, 4).astype(np.float32))
    np.testing.assert_array_equal(block(x, None).value, block(x, None).value)
    dropped = block(x, stream(0, "dropout")).value
    np.testing.assert_array_equal(dropped, block(x, stream(0, "dropout")).value)
    assert (dropped != block(x, None).value).any()
