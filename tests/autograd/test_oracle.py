"""The same models built twice, of Tensors and of Values, agree in the loss and in every gradient.

The Tensor side is the product. The Value side is written from the formulas of the papers.
"""

from collections.abc import Callable
from typing import Any

from lmladder.models import NeuralLanguageModel
from lmladder.models.mlp import MlpSettings
from lmladder.models.transformer import TransformerSettings
from lmladder.system.arrays import IntArray
from lmladder.system.streams import stream
from tests.autograd import formulas
from tests.autograd.formulas import FORMULAS, Values, data_of, gradients_of, values_of
from tests.models import examples
from tests.models.examples import MLP, MODERN, build, changed

import numpy as np
import pytest

VOCABULARY, CONTEXT = 5, 4
TOKENS: IntArray = np.array([[0, 1, 2, 3, 4], [2, 2, 4, 2, 1]])
TRANSFORMER = changed(examples.TRANSFORMER, d_model=4, context_length=CONTEXT, dropout=0.0)


class Weights(dict[str, Values]):
    """A model's parameters as Values, by their names."""

    def linear(self, layer: str, x: Values) -> Values:
        product = x @ self[f"{layer}.weight"]
        return product + self[f"{layer}.bias"] if f"{layer}.bias" in self else product

    def convolution(self, branch: str, x: Values) -> Values:
        weight = self.get(f"{branch}_convolution.weight")
        return x if weight is None else formulas.causal_convolution(x, weight)

    def norm(self, layer: str, x: Values) -> Values:
        weight = self[f"{layer}.weight"]
        if f"{layer}.bias" in self:
            return formulas.layer_norm(x, weight, self[f"{layer}.bias"])
        return formulas.rms_norm(x, weight)


def earlier(tokens: IntArray, lag: int) -> IntArray:
    """Return the token some positions before each; VOCABULARY where there is none."""
    return np.pad(tokens, [(0, 0), (lag, 0)], constant_values=VOCABULARY)[:, :-lag]


def hashed(numbers: IntArray, rows: int) -> IntArray:
    """Return the row of a table for each number, by Fibonacci hashing in 32 bits."""
    return np.array(
        [
            [each * 2_654_435_761 % 2**32 * rows // 2**32 for each in some]
            for some in numbers.tolist()
        ]
    )


def transformer_logits(w: Weights, tokens: IntArray, settings: TransformerSettings) -> Values:
    """Return the logits of the Transformer: (sequences, time) -> (sequences, time, vocabulary)."""
    positions = np.arange(tokens.shape[1])
    x = w["tokens.weight"][tokens]
    if settings.positions == "learned":
        x = x + w["positions.weight"][positions]
    if settings.bigram_embeddings:
        x = x + w["pairs.weight"][earlier(tokens, 1) * VOCABULARY + tokens]
    if rows := settings.trigram_embeddings:
        pairs = earlier(tokens, 2) * (VOCABULARY + 1) + earlier(tokens, 1)
        x = x + w["triples.weight"][hashed(pairs * VOCABULARY + tokens, rows)]
    for layer in range(settings.n_layer):
        block, last = f"blocks.{layer}", layer == settings.n_layer - 1
        inside = w.convolution(f"{block}.attention", w.norm(f"{block}.attention_norm", x))
        q, k, v = (
            w.linear(f"{block}.attention.{name}", inside)
            .reshape(*tokens.shape, settings.n_head, -1)
            .swapaxes(1, 2)  # (sequences, heads, time, head_size)
            for name in ("query", "key", "value")
        )
        if settings.qk_norm:
            q, k = (formulas.rms_norm(each, 1) for each in (q, k))
        if settings.positions == "rotary":
            q, k = (formulas.rotary(each, positions) for each in (q, k))
        window = settings.last_window if last else settings.window
        heads = formulas.causal_attention(q, k, v, window=window or None).swapaxes(1, 2)
        if settings.gated_attention:
            gate = formulas.sigmoid(inside @ w[f"{block}.attention.gate"])
            heads = heads * (2 * gate[..., None])
        heads = heads.reshape(x.shape)
        x = x + w.linear(f"{block}.attention.output", heads)
        inside = w.convolution(f"{block}.feed_forward", w.norm(f"{block}.feed_forward_norm", x))
        hidden = FORMULAS[settings.activation](w.linear(f"{block}.feed_forward.up_proj", inside))
        x = x + w.linear(f"{block}.feed_forward.down_proj", hidden)
    x = w.norm("norm", x)
    logits = x @ w["tokens.weight"].T if settings.tied else w.linear("unembedding", x)
    return pointed(w, logits, x, tokens) if settings.pointer else logits


def pointed(w: Weights, logits: Values, x: Values, tokens: IntArray) -> Values:
    """Return the log probabilities of a head and a pointer, from the vectors that both read."""
    query = w.linear("pointer.query", x)
    key = formulas.causal_convolution(w.linear("pointer.key", x), w["pointer.before.weight"])
    value = values_of(np.eye(VOCABULARY)[tokens])
    q, k, v = (each[:, None] for each in (query, key, value))
    weights = formulas.causal_attention(q, k, v)[:, 0]
    gate = (x @ w["pointer.gate"] + w["pointer.gate_bias"])[..., 0]
    return formulas.log_mixture(logits, gate, weights)


def mlp_logits(w: Weights, tokens: IntArray, settings: MlpSettings) -> Values:
    """Return the logits of the MLP; before the first token, all are missing."""
    missing = ((0, 0), (settings.context_length - 1, 0))
    padded = np.pad(tokens, missing, constant_values=VOCABULARY)
    windows = np.lib.stride_tricks.sliding_window_view(padded, settings.context_length, axis=1)
    x = w["embedding.weight"][windows].reshape(*tokens.shape, -1)
    for layer in range(len(settings.hidden_sizes)):
        x = FORMULAS[settings.activation](w.linear(f"layers.{layer}", x))
    return w.linear("unembedding", x)


MODELS: dict[str, tuple[Any, Callable[[Weights, IntArray, Any], Values]]] = {
    "transformer": (TRANSFORMER, transformer_logits),
    "modern transformer": (changed(TRANSFORMER, **MODERN), transformer_logits),
    "normalized queries": (
        changed(TRANSFORMER, qk_norm=True, attention_bias=False),
        transformer_logits,
    ),
    "convolution": (changed(TRANSFORMER, convolution=2), transformer_logits),
    "mlp": (
        changed(MLP, context_length=CONTEXT, embedding_size=2, hidden_sizes=[6, 4]),
        mlp_logits,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_agrees_with_its_formula_in_the_loss_and_in_every_gradient(name: str) -> None:
    settings, logits_of = MODELS[name]
    model: NeuralLanguageModel = build(settings, VOCABULARY)
    model.astype(np.float64)
    parameters = model.parameters()
    for name, tensor in parameters.items():  # biases and norms too
        tensor.value = stream(1, name).normal(0, 0.7, tensor.shape)
    w = Weights({name: values_of(tensor.value) for name, tensor in parameters.items()})
    expected = formulas.cross_entropy(logits_of(w, TOKENS[:, :-1], settings), TOKENS[:, 1:])
    loss = model.loss(TOKENS)
    assert loss.item() == pytest.approx(data_of(expected).item(), rel=1e-12)
    expected.backward()
    loss.backward()
    for parameter, tensor in parameters.items():
        gradient: Any = tensor.grad
        np.testing.assert_allclose(
            gradient, gradients_of(w[parameter]), 1e-9, 1e-15, err_msg=parameter
        )
        # A bias of the keys adds the same to all scores of a query, so its gradient is 0; most
        # pairs and triples of tokens are not in the text.
        some_are_0 = parameter.endswith(("attention.key.bias", "pairs.weight", "triples.weight"))
        assert (np.abs(gradient) > 1e-15).all() != some_are_0, parameter
