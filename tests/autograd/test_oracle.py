"""The same models built twice, of Tensors and of Values, agree in the loss and in every gradient.

The Tensor side is the product. The Value side is written from the formulas of the papers, one
sequence at a time; NumPy's object arrays only arrange its numbers.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from lmladder.autograd.scalar import Value
from lmladder.models import MlpSettings, NeuralLanguageModel, TransformerSettings
from lmladder.nn import ACTIVATIONS
from lmladder.system.arrays import IntArray
from lmladder.system.streams import stream
from tests.models.examples import build

import numpy as np
import pytest

Values: TypeAlias = Any  # an object array of Values

VOCABULARY, CONTEXT = 5, 4
TOKENS: IntArray = np.array([[0, 1, 2, 3, 4], [2, 2, 4, 0, 1]])
N_LAYER, N_HEAD, D_MODEL = 2, 2, 4


def erf(x: Value) -> Value:
    return Value(math.erf(x.data), (x,), (2 / math.sqrt(math.pi) * math.exp(-(x.data**2)),))


FORMULAS: dict[str, Callable[[Value], Value]] = {
    "relu": lambda x: x.relu(),
    "relu_squared": lambda x: x.relu() ** 2,
    "tanh": lambda x: x.tanh(),
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "gelu": lambda x: 0.5 * x * (1 + erf(x / 2**0.5)),
    "gelu_tanh": lambda x: 0.5 * x * (1 + ((2 / math.pi) ** 0.5 * (x + 0.044715 * x**3)).tanh()),
    "silu": lambda x: x / (1 + (-x).exp()),
}
every_activation = pytest.mark.parametrize("activation", FORMULAS)


def each(function: Callable[[Any], Any], array: Any, kind: type = object) -> Any:
    """`function` of every number of an array."""
    return np.vectorize(function, otypes=[kind])(array)


class Weights:
    """A model's parameters as Values, those of one layer by the layer's name."""

    def __init__(self, values: dict[str, Values]):
        self.values = values

    def __getitem__(self, name: str) -> Values:
        return self.values[name]

    def linear(self, layer: str, x: Values) -> Values:
        return x @ self[f"{layer}.weight"] + self[f"{layer}.bias"]

    def layer_norm(self, layer: str, x: Values) -> Values:
        centred = x - x.mean(axis=-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
        return centred / deviation * self[f"{layer}.weight"] + self[f"{layer}.bias"]


def nll(logits: Values, target: int) -> Value:
    """-log softmax(logits)[target]."""
    return np.log(np.exp(logits).sum()) - logits[target]


def attention(queries: Values, keys: Values, values: Values) -> Values:
    """Each query over the keys up to its own place: (time, size) thrice -> (time, size)."""
    rows = []
    for time, query in enumerate(queries):
        powers = np.exp(keys[: time + 1] @ query / len(query) ** 0.5)
        rows.append(powers / powers.sum() @ values[: time + 1])
    return np.stack(rows)


def transformer_nats(w: Weights, tokens: IntArray, activation: str) -> list[Value]:
    """Of each token but the first, under the Transformer."""
    inputs = tokens[:-1]
    x = w["tokens.weight"][inputs] + w["positions.weight"][: len(inputs)]
    for block in (f"blocks.{layer}" for layer in range(N_LAYER)):
        inside = w.layer_norm(f"{block}.attention_norm", x)
        queries, keys, values = (
            np.split(w.linear(f"{block}.attention.{name}", inside), N_HEAD, axis=1)
            for name in ("query", "key", "value")
        )
        heads = map(attention, queries, keys, values)
        x = x + w.linear(f"{block}.attention.output", np.concatenate(list(heads), axis=1))
        inside = w.layer_norm(f"{block}.feed_forward_norm", x)
        hidden = each(FORMULAS[activation], w.linear(f"{block}.feed_forward.up_proj", inside))
        x = x + w.linear(f"{block}.feed_forward.down_proj", hidden)
    logits = w.layer_norm("norm", x) @ w["tokens.weight"].T
    return list(map(nll, logits, tokens[1:]))


def mlp_nats(w: Weights, tokens: IntArray, activation: str) -> list[Value]:
    """Of each token but the first, under the MLP; before the first, all tokens are missing."""
    padded = [VOCABULARY] * CONTEXT + list(tokens)
    found = []
    for place, target in enumerate(tokens[1:], start=1):
        x = w["embedding.weight"][padded[place : place + CONTEXT]].reshape(-1)
        for layer in ("layers.0", "layers.1"):
            x = each(FORMULAS[activation], w.linear(layer, x))
        found.append(nll(w.linear("unembedding", x), target))
    return found


def drawn(settings: MlpSettings | TransformerSettings) -> NeuralLanguageModel:
    """A model in float64 with every parameter, norms and biases too, at random."""
    model = build(settings, VOCABULARY)
    model.astype(np.float64)
    for name, tensor in model.parameters().items():
        tensor.value = stream(1, name).normal(0, 0.7, tensor.shape)
    return model


def assert_agreement(
    model: NeuralLanguageModel,
    nats_of: Callable[[Weights, IntArray, str], list[Value]],
    activation: str,
) -> dict[str, Any]:
    """Compare the loss and the gradients of both sides, and return the gradients."""
    parameters = model.parameters()
    w = Weights({name: each(Value, tensor.value) for name, tensor in parameters.items()})
    terms = [term for row in TOKENS for term in nats_of(w, row, activation)]
    expected = sum(terms, Value(0)) / len(terms)
    loss = model.loss(TOKENS)
    assert loss.item() == pytest.approx(expected.data, rel=1e-12)
    expected.backward()
    loss.backward()
    gradients: dict[str, Any] = {name: tensor.grad for name, tensor in parameters.items()}
    for name, gradient in gradients.items():
        of_values = each(lambda value: value.grad, w[name], float)
        np.testing.assert_allclose(gradient, of_values, rtol=1e-9, atol=1e-15, err_msg=name)
    assert sum(gradient.size for gradient in gradients.values()) == model.n_parameters
    return gradients


@every_activation
def test_the_transformer_agrees_in_the_loss_and_in_every_gradient(activation: str) -> None:
    model = drawn(TransformerSettings(N_LAYER, N_HEAD, D_MODEL, CONTEXT, activation, 0.0))
    assert model.n_parameters == 532
    gradients = assert_agreement(model, transformer_nats, activation)
    for name, gradient in gradients.items():
        if name.endswith("attention.key.bias"):
            assert np.abs(gradient).max() < 1e-15  # it shifts all scores of a query alike
        elif activation.startswith("relu"):
            assert gradient.any(), name
        else:
            assert gradient.all(), name


@every_activation
def test_the_mlp_agrees_in_the_loss_and_in_every_gradient(activation: str) -> None:
    model = drawn(MlpSettings(CONTEXT, 2, [6, 4], activation))
    gradients = assert_agreement(model, mlp_nats, activation)
    for name, gradient in gradients.items():
        assert gradient.any() if activation.startswith("relu") else gradient.all(), name


def test_every_activation_has_a_formula_here() -> None:
    assert set(FORMULAS) == set(ACTIVATIONS)
