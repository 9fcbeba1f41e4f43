"""Groups of parameters cover every model."""

from dataclasses import replace

from lmladder.models import NeuralLanguageModel
from lmladder.training.gradient_norms import parameter_groups
from tests.models.examples import GRU, MLP, TRANSFORMER, build

import pytest

SETTINGS = {"mlp": replace(MLP, hidden_sizes=[8, 8]), "gru": GRU, "transformer": TRANSFORMER}
GROUPS = {
    "mlp": ["embedding", "layers", "head"],
    "gru": ["embedding", "input", "recurrent", "head"],
    "transformer": ["embedding", "norm", "attention", "feed_forward"],
}
every_model = pytest.mark.parametrize("kind", SETTINGS)


def make(kind: str) -> NeuralLanguageModel:
    model: NeuralLanguageModel = build(SETTINGS[kind])
    return model


@every_model
def test_each_parameter_is_in_one_group_by_its_kind_of_layer(kind: str) -> None:
    model = make(kind)
    groups = parameter_groups(model)
    assert list(groups) == GROUPS[kind]
    grouped = [id(each) for tensors in groups.values() for each in tensors]
    assert sorted(grouped) == sorted(id(each) for each in model.parameters().values())
