"""The same models built twice, of Tensors and of Values, agree in the loss and in every gradient.

The Tensor side is the product. The Value side is written from the formulas of the papers.
"""

from collections.abc import Callable
from typing import Any

from lmladder.models import MlpSettings, NeuralLanguageModel, TransformerSettings
from lmladder.system.arrays import IntArray
from lmladder.system.streams import stream
from tests.autograd import formulas
from tests.autograd.formulas import Values, data_of, gradients_of, values_of
from tests.models.examples import build

import numpy as np
import pytest

VOCABULARY, CONTEXT = 5, 4
TOKENS: IntArray = np.array([[0, 1, 2, 3, 4], [2, 2, 4, 0, 1]])
TRANSFORMER = TransformerSettings(
    n_layer=2, n_head=2, d_model=4, context_length=CONTEXT, activation="gelu_tanh", dropout=0.0
)
MLP = MlpSettings(CONTEXT, embedding_size=2, hidden_sizes=[6, 4], activation="tanh")


class Weights(dict[str, Values]):
    """A model's parameters as Values, by their names."""

    def linear(self, layer: str, x: Values) -> Values:
        return x @ self[f"{layer}.weight"] + self[f"{layer}.bias"]

    def layer_norm(self, layer: str, x: Values) -> Values:
        return formulas.layer_norm(x, self[f"{layer}.weight"], self[f"{layer}.bias"])


def transformer_logits(w: Weights, tokens: IntArray) -> Values:
    """Return the logits of the Transformer: (sequences, time) -> (sequences, time, vocabulary)."""
    x = w["tokens.weight"][tokens] + w["positions.weight"][: tokens.shape[1]]
    for block in (f"blocks.{layer}" for layer in range(TRANSFORMER.n_layer)):
        inside = w.layer_norm(f"{block}.attention_norm", x)
        q, k, v = (
            w.linear(f"{block}.attention.{name}", inside)
            .reshape(*tokens.shape, TRANSFORMER.n_head, -1)
            .swapaxes(1, 2)  # (sequences, heads, time, head_size)
            for name in ("query", "key", "value")
        )
        heads = formulas.causal_attention(q, k, v).swapaxes(1, 2).reshape(x.shape)
        x = x + w.linear(f"{block}.attention.output", heads)
        inside = w.layer_norm(f"{block}.feed_forward_norm", x)
        hidden = formulas.gelu_tanh(w.linear(f"{block}.feed_forward.up_proj", inside))
        x = x + w.linear(f"{block}.feed_forward.down_proj", hidden)
    return w.layer_norm("norm", x) @ w["tokens.weight"].T


def mlp_logits(w: Weights, tokens: IntArray) -> Values:
    """Return the logits of the MLP; before the first token, all are missing."""
    padded = np.pad(tokens, ((0, 0), (CONTEXT - 1, 0)), constant_values=VOCABULARY)
    windows = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT, axis=1)
    x = w["embedding.weight"][windows].reshape(*tokens.shape, -1)
    for layer in ("layers.0", "layers.1"):
        x = np.tanh(w.linear(layer, x))
    return w.linear("unembedding", x)


@pytest.mark.parametrize(
    ("settings", "logits_of"), [(TRANSFORMER, transformer_logits), (MLP, mlp_logits)],
    ids=["transformer", "mlp"],
)  # fmt: skip
def test_a_model_agrees_with_its_formula_in_the_loss_and_in_every_gradient(
    settings: Any, logits_of: Callable[[Weights, IntArray], Values]
) -> None:
    model: NeuralLanguageModel = build(settings, VOCABULARY)
    model.astype(np.float64)
    parameters = model.parameters()
    for name, tensor in parameters.items():  # biases and norms too
        tensor.value = stream(1, name).normal(0, 0.7, tensor.shape)
    w = Weights({name: values_of(tensor.value) for name, tensor in parameters.items()})
    expected = formulas.cross_entropy(logits_of(w, TOKENS[:, :-1]), TOKENS[:, 1:])
    loss = model.loss(TOKENS)
    assert loss.item() == pytest.approx(data_of(expected).item(), rel=1e-12)
    expected.backward()
    loss.backward()
    for name, tensor in parameters.items():
        gradient: Any = tensor.grad
        np.testing.assert_allclose(gradient, gradients_of(w[name]), 1e-9, 1e-15, err_msg=name)
        # A bias of the keys adds the same to all scores of a query, so its gradient is 0.
        assert (np.abs(gradient) > 1e-15).all() != name.endswith("attention.key.bias"), name
