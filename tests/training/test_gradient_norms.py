"""Groups of parameters cover every model, and what is not finite is found where it begins."""

import math
from collections.abc import Iterator

from lmladder.autograd import Tensor
from lmladder.models import NeuralLanguageModel
from lmladder.system.arrays import IntArray
from lmladder.training.gradient_norms import first_not_finite, parameter_groups
from tests.models.examples import GRU, MLP, TRANSFORMER, build, draw

import numpy as np
import pytest

SETTINGS = {
    "mlp": MLP.model_copy(update={"hidden_sizes": [8, 8]}),
    "gru": GRU,
    "transformer": TRANSFORMER,
}
GROUPS = {
    "mlp": ["embedding", "layers", "head"],
    "gru": ["embedding", "candidate", "head", "gates"],
    "transformer": ["embedding", "norm", "attention", "feed_forward"],
}
BATCH = draw("batch", 4, 7)
every_model = pytest.mark.parametrize("kind", SETTINGS)


def make(kind: str) -> NeuralLanguageModel:
    model: NeuralLanguageModel = build(SETTINGS[kind])
    return model


def losses(model: NeuralLanguageModel, *batches: IntArray) -> Iterator[Tensor]:
    return (model.loss(batch) for batch in batches)


@every_model
def test_each_parameter_is_in_one_group_by_its_kind_of_layer(kind: str) -> None:
    model = make(kind)
    groups = parameter_groups(model)
    assert list(groups) == GROUPS[kind]
    grouped = [id(each) for tensors in groups.values() for each in tensors]
    assert sorted(grouped) == sorted(id(each) for each in model.parameters().values())


@every_model
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_parameter_that_is_not_finite_is_named(kind: str, value: float) -> None:
    model = make(kind)
    assert first_not_finite(model, losses(model, BATCH)) is None
    for name, tensor in model.parameters().items():
        kept = tensor.value.copy()
        tensor.value.flat[-1] = value
        assert first_not_finite(model, losses(model, BATCH)) == f"parameter {name}"
        assert tensor.grad is None
        tensor.value[...] = kept


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("mlp", "unembedding"),
        ("transformer", "blocks.1.feed_forward.up_proj"),
        ("transformer", "norm"),
    ],
)
def test_the_layer_whose_output_overflows_is_named(kind: str, layer: str) -> None:
    model = make(kind)
    weight = model.parameters()[f"{layer}.weight"].value
    weight[...] = 3e38 * np.sign(weight)
    assert first_not_finite(model, losses(model, BATCH)) == f"the output of {layer}"


def test_every_loss_and_its_gradient_are_searched() -> None:
    model, rare = make("mlp"), 10
    model.parameters()["embedding.weight"].value[rare] = 3e38
    found = first_not_finite(model, losses(model, BATCH % rare, np.full((4, 7), rare)))
    assert found == "the output of layers.0"
    model = make("mlp")
    model.parameters()["unembedding.weight"].value[...] *= 1e25
    found = first_not_finite(model, losses(model, BATCH))
    assert found == "gradient of what follows layers.1"
