"""Groups of parameters cover every model, and what is not finite is found where it begins."""

import math
import tracemalloc
from collections.abc import Iterator

from lmladder.autograd import CapturedLoss, Tensor
from lmladder.config import MlpArchitecture, TransformerArchitecture
from lmladder.models import ARCHITECTURES, build_neural
from lmladder.models.neural import NeuralLanguageModel
from lmladder.system.arrays import IntArray
from lmladder.system.streams import stream
from lmladder.training.gradient_norms import first_not_finite, parameter_groups

import numpy as np
import pytest

SETTINGS: dict[str, MlpArchitecture | TransformerArchitecture] = {
    "mlp": MlpArchitecture(
        context_length=3, embedding_size=4, hidden_sizes=[8, 8], activation="tanh"
    ),
    "transformer": TransformerArchitecture(
        n_layer=2, n_head=2, d_model=8, context_length=6, activation="gelu", dropout=0.1
    ),
}
GROUPS = {
    "mlp": ["embedding", "layers", "head"],
    "transformer": ["embedding", "norm", "attention", "feed_forward"],
}
every_model = pytest.mark.parametrize("kind", ARCHITECTURES)


def make(kind: str) -> NeuralLanguageModel:
    return build_neural(SETTINGS[kind], 7, rng=stream(0, "weights"))


def rows() -> IntArray:
    return np.asarray(stream(0, "rows").integers(0, 7, (4, 7)))


def losses(model: NeuralLanguageModel, *batches: IntArray) -> Iterator[Tensor]:
    return (model.loss(batch) for batch in batches)


@every_model
def test_each_parameter_is_in_one_group(kind: str) -> None:
    model = make(kind)
    grouped = [id(each) for tensors in parameter_groups(model).values() for each in tensors]
    assert sorted(grouped) == sorted(id(each) for each in model.parameters().values())


@every_model
def test_the_groups_of_a_model_are_its_kinds_of_layers(kind: str) -> None:
    assert list(parameter_groups(make(kind))) == GROUPS[kind]


def test_a_group_holds_the_same_layers_of_all_blocks() -> None:
    model = make("transformer")
    names = {id(tensor): name for name, tensor in model.parameters().items()}
    groups = {
        group: {names[id(each)] for each in tensors}
        for group, tensors in parameter_groups(model).items()
    }
    assert groups["embedding"] == {"tokens.weight", "positions.weight"}
    assert groups["norm"] >= {"norm.weight", "blocks.0.attention_norm.bias"}
    assert groups["attention"] >= {"blocks.0.attention.key.bias", "blocks.1.attention.key.bias"}
    assert all(".feed_forward." in name for name in groups["feed_forward"])


@every_model
def test_nothing_is_found_where_all_is_finite_and_nothing_is_changed(kind: str) -> None:
    model = make(kind)
    before = {name: each.value.copy() for name, each in model.parameters().items()}
    assert first_not_finite(model, [model.loss(rows(), stream(0, "dropout"))]) is None
    for name, tensor in model.parameters().items():
        assert tensor.grad is None
        np.testing.assert_array_equal(tensor.value, before[name])


@every_model
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_parameter_that_is_not_finite_is_named(kind: str, value: float) -> None:
    model = make(kind)
    for name, tensor in model.parameters().items():
        kept = tensor.value.copy()
        tensor.value.flat[-1] = value
        assert first_not_finite(model, losses(model, rows())) == f"parameter {name}"
        tensor.value[...] = kept


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("mlp", "layers.1"),
        ("mlp", "unembedding"),
        ("transformer", "blocks.0.attention.query"),
        ("transformer", "blocks.1.attention.key"),
        ("transformer", "blocks.1.feed_forward.up_proj"),
        ("transformer", "norm"),
    ],
)
def test_the_layer_whose_output_overflows_is_named(kind: str, layer: str) -> None:
    model = make(kind)
    weight = model.parameters()[f"{layer}.weight"].value
    weight[...] = 3e38 * np.sign(weight)
    assert first_not_finite(model, losses(model, rows())) == f"the output of {layer}"


def test_a_result_without_parameters_is_named_by_the_layer_before() -> None:
    model = make("transformer")
    model.parameters()["blocks.0.attention.query.weight"].value[...] *= 1e25
    model.parameters()["blocks.0.attention.key.weight"].value[...] *= 1e25
    found = first_not_finite(model, losses(model, rows()))
    assert found == "what follows blocks.0.attention.value"


def test_a_gradient_that_overflows_on_the_way_back_is_named() -> None:
    model = make("mlp")
    model.parameters()["unembedding.weight"].value[...] *= 1e25
    found = first_not_finite(model, losses(model, rows()))
    assert found == "gradient of what follows layers.1"


def test_every_batch_is_looked_at() -> None:
    model = make("mlp")
    model.parameters()["embedding.weight"].value[6] = 3e38  # one token's
    assert first_not_finite(model, losses(model, rows() % 6)) is None
    found = first_not_finite(model, losses(model, rows() % 6, np.full((4, 7), 6)))
    assert found == "the output of layers.0"


def test_a_batch_is_searched_in_the_memory_of_one_of_its_parts() -> None:
    model, batch = make("transformer"), np.resize(rows(), (512, 7))
    captured = CapturedLoss(model.loss, model.parameters().values())

    def peak(losses: Iterator[Tensor]) -> int:
        tracemalloc.start()
        assert first_not_finite(model, losses) is None
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    whole = peak(losses(model, batch))
    assert peak(captured.losses(batch, None)) < whole / 3
