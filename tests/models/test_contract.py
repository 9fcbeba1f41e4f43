"""What every rung of the ladder keeps, whether it counts or learns."""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lmladder.arrays import IntArray
from lmladder.autograd import gradcheck
from lmladder.autograd.gradcheck import TOLERANCE
from lmladder.checkpoint import COUNTS, Checkpoint
from lmladder.config import BigramConfig, MlpArchitecture, TransformerArchitecture
from lmladder.errors import InputError
from lmladder.models import (
    ARCHITECTURES,
    NETWORKS,
    LanguageModel,
    NeuralLanguageModel,
    build_neural,
)
from lmladder.models.counts import CountTables
from lmladder.models.ngram import count_ladder
from lmladder.nn import ACTIVATIONS, NORMS, POSITIONS
from lmladder.optim import Adam
from lmladder.rng import stream

import numpy as np
import pytest

VOCABULARY = 11
CONTEXT = 6
TEXT: IntArray = stream(0, "text").integers(VOCABULARY, size=400)
COUNTING = BigramConfig(add_k=0.5, kneser_ney_orders=[2, 4])
TABLES = CountTables.count(TEXT, VOCABULARY, 4)

MLP = MlpArchitecture(
    context_length=CONTEXT, embedding_size=5, hidden_sizes=[12, 7], activation="tanh"
)
TRANSFORMER = TransformerArchitecture(
    n_layer=2, n_head=2, d_model=8, context_length=CONTEXT, activation="gelu_tanh", dropout=0.2
)
ARCHITECTURE: dict[str, MlpArchitecture | TransformerArchitecture] = {
    "mlp": MLP,
    "rnn": replace(MLP, network="rnn"),
    "gru": replace(MLP, network="gru"),
    "transformer": TRANSFORMER,
    "modern transformer": replace(
        TRANSFORMER,
        activation="silu",
        gated=True,
        norm="rmsnorm",
        qk_norm=True,
        positions="rotary",
        bias=False,
        tied=False,
    ),
    "bare transformer": replace(
        TRANSFORMER,
        activation="relu",
        dropout=0.0,
        norm="rmsnorm",
        norm_weights=False,
        embedding_norm=True,
        final_norm=False,
        bias=False,
        tied=False,
        init_deviation=0.05,
        residual_scaling=False,
    ),
}
NEURAL = list(ARCHITECTURE)
CHOICES: list[dict[str, Any]] = [  # of a Transformer, one by one
    *({"norm": norm} for norm in NORMS),
    *({"positions": positions} for positions in POSITIONS),
    *({"activation": activation} for activation in ACTIVATIONS),
    {"gated": True},
    {"gated": True, "bias": False},
    {"feed_forward_factor": 1.0},
    {"norm_weights": False},
    {"norm": "rmsnorm", "norm_weights": False},
    {"embedding_norm": True},
    {"embedding_norm": True, "positions": "none"},
    {"final_norm": False},
    {"qk_norm": True},
    {"qk_norm": True, "positions": "rotary"},
    {"bias": False},
    {"attention_bias": False},
    {"tied": False},
    {"init_deviation": 0.1, "residual_scaling": False},
]
every_choice = pytest.mark.parametrize("choice", CHOICES, ids=str)


def build(name: str, seed: int = 0, dtype: type = np.float32) -> NeuralLanguageModel:
    """A neural rung whose weights are so large that its guesses differ."""
    return enlarged(
        build_neural(ARCHITECTURE[name], VOCABULARY, rng=stream(seed, "weights")), dtype
    )


def enlarged(model: NeuralLanguageModel, dtype: type = np.float32) -> NeuralLanguageModel:
    """The model with larger weights, and biases and norms that are not at 0 and 1."""
    for parameter, tensor in model.parameters().items():
        tensor.value += (0.3 * stream(1, parameter).standard_normal(tensor.shape)).astype("f4")
    model.astype(dtype)
    return model


COUNT_MODELS: dict[str, LanguageModel] = dict(count_ladder(TABLES, **asdict(COUNTING)))
RUNGS: dict[str, Callable[[], LanguageModel]] = {
    **{name: lambda name=name: COUNT_MODELS[name] for name in COUNT_MODELS},  # type: ignore[misc]
    **{name: lambda name=name: build(name) for name in NEURAL},  # type: ignore[misc]
}
every_rung = pytest.mark.parametrize("rung", RUNGS)
every_neural_rung = pytest.mark.parametrize("rung", NEURAL)


def rows(length: int, count: int = 5) -> IntArray:
    return stream(2, "rows").integers(VOCABULARY, size=(count, length))


def test_all_rungs_are_here() -> None:
    assert set(COUNT_MODELS) == {
        "uniform", "unigram", "bigram", "trigram", "kneser_ney_2", "kneser_ney_4",
    }  # fmt: skip
    kinds = {type(each) for each in ARCHITECTURE.values()}
    assert kinds == {schema for schema, _ in ARCHITECTURES.values()}
    assert set(NETWORKS) <= set(ARCHITECTURE)


# --- The contract ---------------------------------------------------------------------------------


@every_rung
def test_probabilities_sum_to_1(rung: str) -> None:
    model = RUNGS[rung]()
    for length in range(1, CONTEXT + 1):
        found = model.next_log_probabilities(rows(length))
        assert found.shape == (5, VOCABULARY)
        assert found.dtype == np.float64
        assert np.isfinite(found).all()
        np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-12)


@every_rung
def test_nats_are_those_of_the_next_token_at_each_position(rung: str) -> None:
    model, tokens = RUNGS[rung](), rows(CONTEXT + 1)
    nats = model.nats(tokens)
    assert nats.shape == (5, CONTEXT)
    assert nats.dtype == np.float64
    for position in range(CONTEXT):
        log_probabilities = model.next_log_probabilities(tokens[:, : position + 1])
        expected = -log_probabilities[np.arange(5), tokens[:, position + 1]]
        np.testing.assert_allclose(nats[:, position], expected, rtol=2e-5)


@every_rung
def test_the_distributions_of_a_row_are_those_after_each_of_its_positions(rung: str) -> None:
    model, tokens = RUNGS[rung](), rows(CONTEXT)
    for length in range(1, CONTEXT + 1):
        found = model.log_probabilities(tokens[:, :length])
        assert (found.shape, found.dtype) == ((5, length, VOCABULARY), np.float64)
        for position in range(length):
            expected = model.next_log_probabilities(tokens[:, : position + 1])
            np.testing.assert_allclose(found[:, position], expected, rtol=2e-5)


@every_rung
def test_later_tokens_do_not_change_earlier_scores(rung: str) -> None:
    model, tokens = RUNGS[rung](), rows(CONTEXT + 1)
    nats = model.nats(tokens)
    for changed in range(1, CONTEXT + 1):
        other = tokens.copy()
        other[:, changed:] = (other[:, changed:] + 1) % VOCABULARY
        np.testing.assert_array_equal(model.nats(other)[:, : changed - 1], nats[:, : changed - 1])


@every_rung
def test_every_token_of_the_context_matters_and_none_before_it(rung: str) -> None:
    model = RUNGS[rung]()
    length = model.context_length if model.max_length else model.context_length + 3
    tokens = TEXT[None, : max(length, 1)]
    alike = np.repeat(tokens, VOCABULARY - 1, axis=0)  # as many rows, as sums depend on shapes
    expected = model.next_log_probabilities(alike)
    for position in range(length):
        others = alike.copy()
        others[:, position] = np.delete(np.arange(VOCABULARY), tokens[0, position])
        found = model.next_log_probabilities(others)
        inside = position >= length - model.context_length
        assert (found != expected).any() == inside


@every_rung
def test_rows_are_scored_independently(rung: str) -> None:
    model, tokens = RUNGS[rung](), rows(CONTEXT + 1)
    together = model.nats(tokens)
    for i in range(len(tokens)):
        np.testing.assert_allclose(model.nats(tokens[i : i + 1])[0], together[i], rtol=1e-5)


@every_rung
def test_token_arrays_of_any_integer_type_score_alike(rung: str) -> None:
    model, tokens = RUNGS[rung](), rows(CONTEXT)
    for dtype in (np.uint8, np.int32):
        np.testing.assert_array_equal(model.nats(tokens.astype(dtype)), model.nats(tokens))
        np.testing.assert_array_equal(
            model.next_log_probabilities(tokens.astype(dtype)), model.next_log_probabilities(tokens)
        )


@every_neural_rung
def test_a_vocabulary_of_all_bytes_takes_bytes(rung: str) -> None:
    model = build_neural(ARCHITECTURE[rung], 256, rng=stream(0, "bytes"))
    tokens = stream(0, "tokens").integers(256, size=(3, 4))
    np.testing.assert_array_equal(model.nats(tokens.astype(np.uint8)), model.nats(tokens))


@every_rung
def test_scoring_changes_neither_the_tokens_nor_the_model(rung: str) -> None:
    model, tokens = RUNGS[rung](), rows(CONTEXT)
    tokens.flags.writeable = False
    np.testing.assert_array_equal(model.nats(tokens), model.nats(tokens))
    model.next_log_probabilities(tokens)
    if isinstance(model, NeuralLanguageModel):
        assert all(each.grad is None for each in model.parameters().values())


ORIGIN: dict[str, Any] = {
    "seed": 0,
    "vocabulary_size": VOCABULARY,
    "tokenizer": {"name": "char", "characters": "abcdefghijk"},
    "data_digest": "data",
    "code_digest": "code",
}


def checkpoint(
    architecture: MlpArchitecture | TransformerArchitecture, model: NeuralLanguageModel
) -> Checkpoint:
    return Checkpoint(
        kind="mlp" if isinstance(architecture, MlpArchitecture) else "transformer",
        config=asdict(architecture),
        model={name: each.value for name, each in model.parameters().items()},
        **ORIGIN,
    )


@every_rung
def test_save_and_load_reproduce_the_scores_bit_for_bit(rung: str, tmp_path: Path) -> None:
    model, tokens = RUNGS[rung](), rows(CONTEXT + 1)
    if isinstance(model, NeuralLanguageModel):
        name, saved = model.name, checkpoint(ARCHITECTURE[rung], model)
    else:
        name = rung
        saved = Checkpoint(kind=COUNTS, config=asdict(COUNTING), model=TABLES.arrays(), **ORIGIN)
    saved.save(tmp_path / "checkpoint.safetensors")
    loaded = Checkpoint.load(tmp_path / "checkpoint.safetensors").restore_models()[name]
    np.testing.assert_array_equal(loaded.nats(tokens), model.nats(tokens))
    np.testing.assert_array_equal(
        loaded.next_log_probabilities(tokens[:, 1:]), model.next_log_probabilities(tokens[:, 1:])
    )
    assert loaded.n_parameters == model.n_parameters
    assert loaded.context_length == model.context_length
    assert loaded.max_length == model.max_length


# --- Learning models ------------------------------------------------------------------------------


def weights(name: str, seed: int) -> dict[str, Any]:
    model = build_neural(ARCHITECTURE[name], VOCABULARY, rng=stream(seed, "weights"))
    return {parameter: each.value for parameter, each in model.parameters().items()}


@every_neural_rung
def test_same_seed_same_weights_and_another_seed_others(rung: str) -> None:
    first, again, other = weights(rung, 0), weights(rung, 0), weights(rung, 1)
    drawn = [name for name, array in first.items() if array.std() > 0]  # no zeros, no ones
    assert drawn
    for name, array in first.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, again[name])
    assert all((first[name] != other[name]).any() for name in drawn)


@every_neural_rung
def test_a_new_model_knows_next_to_nothing(rung: str) -> None:
    model = build_neural(ARCHITECTURE[rung], 65, rng=stream(0, "weights"))
    tokens = stream(0, "rows").integers(65, size=(16, CONTEXT + 1))
    assert model.loss(tokens).item() == pytest.approx(math.log(65), abs=0.02)


@every_neural_rung
def test_loss_is_the_mean_of_the_nats(rung: str) -> None:
    model, tokens = build(rung), rows(CONTEXT + 1)
    assert model.loss(tokens).item() == pytest.approx(model.nats(tokens).mean(), rel=1e-6)


@pytest.mark.parametrize("dropping", [False, True])
@every_neural_rung
def test_gradients_of_the_loss_agree_with_differences(rung: str, dropping: bool) -> None:
    model, tokens = build(rung, dtype=np.float64), rows(CONTEXT + 1)
    parameters = list(model.parameters().values())
    worst = gradcheck(
        lambda *_: model.loss(tokens, stream(0, "dropout") if dropping else None),
        parameters,
        rng=stream(0, "directions"),
    )
    assert worst < TOLERANCE
    assert all(each.grad is not None and each.grad.any() for each in parameters)


@every_neural_rung
def test_gradient_reaches_no_embedding_of_a_later_token(rung: str) -> None:
    model = build(rung)
    table = next(iter(model.parameters().values()))  # the token embeddings come first
    tokens = np.arange(CONTEXT)[None]  # each token once
    for position in range(CONTEXT):
        table.grad = None
        model.hidden(tokens)[:, position].sum().backward()
        assert table.grad is not None
        touched = table.grad.any(axis=1)
        assert touched[: position + 1].all()
        assert not touched[position + 1 : CONTEXT].any()


@every_neural_rung
def test_it_overfits_one_batch(rung: str) -> None:
    model = build_neural(ARCHITECTURE[rung], VOCABULARY, rng=stream(0, "weights"))
    tokens = stream(3, "rows").permuted(np.tile(np.arange(VOCABULARY), (2, 1)), axis=1)
    tokens = tokens[:, : CONTEXT + 1]
    tokens[1, 0] = (tokens[0, 0] + 1) % VOCABULARY
    parameters = model.parameters()
    optimizer = Adam(parameters, learning_rate=0.02, betas=(0.9, 0.99), epsilon=1e-8)
    for step in range(150):
        model.loss(tokens).backward()
        optimizer.step(step)
        for tensor in parameters.values():
            tensor.grad = None
    assert model.loss(tokens).item() < 0.05


@every_neural_rung
def test_dropout_is_for_training_only_and_follows_its_stream(rung: str) -> None:
    model, tokens = build(rung), rows(CONTEXT + 1)
    calm = model.loss(tokens).item()
    assert model.loss(tokens, stream(0, "d")).item() == model.loss(tokens, stream(0, "d")).item()
    drops = getattr(ARCHITECTURE[rung], "dropout", 0) > 0
    assert (model.loss(tokens, stream(0, "d")).item() != calm) == drops


def test_dropout_falls_on_the_embeddings_too() -> None:
    bare = TransformerArchitecture(
        n_layer=0, n_head=2, d_model=8, context_length=CONTEXT, activation="gelu", dropout=0.5
    )
    model, tokens = build_neural(bare, VOCABULARY, rng=stream(0, "weights")), rows(CONTEXT)
    dropped = model.hidden(tokens, stream(0, "dropout")).value
    assert (dropped != model.hidden(tokens).value).any()


@pytest.mark.parametrize("positions", POSITIONS)
def test_the_transformer_takes_no_more_than_its_context(positions: str) -> None:
    architecture = replace(TRANSFORMER, positions=positions)
    model = build_neural(architecture, VOCABULARY, rng=stream(0, "weights"))
    model.nats(rows(CONTEXT + 1))
    with pytest.raises(IndexError):
        model.nats(rows(CONTEXT + 2))


def test_the_mlp_marks_tokens_that_are_missing() -> None:
    model = build("mlp")
    tokens = rows(CONTEXT + 1)
    longer = np.concatenate([np.zeros((5, 4), int), tokens], axis=1)
    short, long = model.nats(tokens), model.nats(longer)[:, 4:]
    assert (short[:, : CONTEXT - 1] != long[:, : CONTEXT - 1]).all()
    np.testing.assert_allclose(short[:, CONTEXT - 1 :], long[:, CONTEXT - 1 :], rtol=1e-5)


# --- Choices --------------------------------------------------------------------------------------


@every_choice
def test_gradients_with_every_choice_agree_with_differences(choice: dict[str, Any]) -> None:
    architecture = replace(TRANSFORMER, **choice)
    model = enlarged(build_neural(architecture, VOCABULARY, rng=stream(0, "w")), np.float64)
    parameters, tokens = list(model.parameters().values()), rows(CONTEXT + 1)
    worst = gradcheck(lambda *_: model.loss(tokens), parameters, rng=stream(0, "directions"))
    assert worst < TOLERANCE
    assert all(each.grad is not None and each.grad.any() for each in parameters)


def test_the_default_transformer_draws_its_weights_in_the_order_of_its_parameters() -> None:
    model = build_neural(TRANSFORMER, VOCABULARY, rng=stream(0, "w"))
    rng = stream(0, "w")
    for name, tensor in model.parameters().items():
        if name.endswith("bias"):
            expected = np.zeros(tensor.shape)
        elif tensor.ndim == 1:
            expected = np.ones(tensor.shape)
        else:
            ends_a_branch = name.endswith(("output.weight", "contract.weight"))
            expected = rng.standard_normal(tensor.shape) * (0.01 if ends_a_branch else 0.02)
        np.testing.assert_array_equal(tensor.value, expected.astype(np.float32), err_msg=name)


@every_choice
def test_a_checkpoint_restores_every_choice(choice: dict[str, Any]) -> None:
    architecture = replace(TRANSFORMER, **choice)
    model = enlarged(build_neural(architecture, VOCABULARY, rng=stream(0, "w")))
    (restored,) = checkpoint(architecture, model).restore_models().values()
    tokens = rows(CONTEXT + 1)
    np.testing.assert_array_equal(restored.nats(tokens), model.nats(tokens))


def test_every_choice_changes_the_model() -> None:
    tokens = rows(CONTEXT + 1)
    others = [each for each in CHOICES if replace(TRANSFORMER, **each) != TRANSFORMER]
    assert len(CHOICES) - len(others) == 3  # norm, positions and activation as they are
    losses = {
        enlarged(build_neural(replace(TRANSFORMER, **each), VOCABULARY, rng=stream(0, "w")))
        .loss(tokens)
        .item()
        for each in [{}, *others]
    }
    assert len(losses) == len(others) + 1


def test_without_positions_a_single_layer_cannot_tell_the_order_of_the_past() -> None:
    tokens = np.arange(CONTEXT)[None]
    swapped = tokens.copy()
    swapped[0, :2] = 1, 0
    for positions in POSITIONS:
        architecture = replace(TRANSFORMER, n_layer=1, positions=positions)
        model = enlarged(build_neural(architecture, VOCABULARY, rng=stream(0, "w")), np.float64)
        there, here = (model.next_log_probabilities(each) for each in (tokens, swapped))
        assert np.allclose(there, here, rtol=1e-12) == (positions == "none")


def test_a_context_that_no_array_is_sized_by_may_be_longer_than_the_model_is_large() -> None:
    for architecture in (
        replace(TRANSFORMER, positions="rotary", context_length=10**6),
        replace(MLP, network="gru", context_length=10**6),
    ):
        model = build_neural(architecture, VOCABULARY, rng=stream(0, "w"))
        (restored,) = checkpoint(architecture, model).restore_models().values()
        assert restored.max_length == 10**6


REFUSED: list[tuple[str, MlpArchitecture | TransformerArchitecture]] = [
    ("mlp.activation must be one of relu,.* not rleu", replace(MLP, activation="rleu")),
    ("mlp.network must be one of mlp, rnn, gru, not lstm", replace(MLP, network="lstm")),
    ("mlp.activation=relu .* tanh", replace(MLP, network="rnn", activation="relu")),
    ("mlp.hidden_sizes is empty", replace(MLP, network="gru", hidden_sizes=[])),
    ("transformer.activation must be", replace(TRANSFORMER, activation="swish")),
    ("transformer.norm must be", replace(TRANSFORMER, norm="batchnorm")),
    ("transformer.positions must be", replace(TRANSFORMER, positions="alibi")),
    ("n_head=3 does not divide transformer.d_model=8", replace(TRANSFORMER, n_head=3)),
    ("n_head=0 does not divide", replace(TRANSFORMER, n_head=0)),
    ("positions=rotary .* must be even", replace(TRANSFORMER, n_head=8, positions="rotary")),
    (
        "positions=sinusoidal .*d_model=5 must be even",
        replace(TRANSFORMER, n_head=1, d_model=5, positions="sinusoidal"),
    ),
    ("feed_forward_factor=0.1", replace(TRANSFORMER, feed_forward_factor=0.1)),
    ("feed_forward_factor=inf", replace(TRANSFORMER, feed_forward_factor=math.inf)),
    ("feed_forward_factor=nan", replace(TRANSFORMER, feed_forward_factor=math.nan)),
]


@pytest.mark.parametrize(("message", "architecture"), REFUSED, ids=[each for each, _ in REFUSED])
def test_what_cannot_be_built_is_refused_by_the_name_of_its_key(
    message: str, architecture: MlpArchitecture | TransformerArchitecture
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build_neural(architecture, 5, rng=stream(0, "w"))
    assert "\n" not in str(caught.value)


# --- Sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_layer", "n_head", "d_model", "context_length", "expected"),
    [(6, 6, 192, 256, 2_731_200), (4, 4, 128, 128, 818_048)],
)
def test_the_transformer_has_the_parameters_of_its_formula(
    n_layer: int, n_head: int, d_model: int, context_length: int, expected: int
) -> None:
    model = build_neural(
        TransformerArchitecture(n_layer, n_head, d_model, context_length, "gelu", 0.0),
        65,
        rng=stream(0, "w"),
    )
    d = d_model
    attention, feed_forward, norm = 4 * (d * d + d), (d * 4 * d + 4 * d) + (4 * d * d + d), 2 * d
    block = attention + feed_forward + 2 * norm
    assert model.n_parameters == (65 + context_length) * d + n_layer * block + norm == expected


def test_the_mlp_has_the_parameters_of_its_formula() -> None:
    first, second = CONTEXT * 5 * 12 + 12, 12 * 7 + 7
    embeddings, head = (VOCABULARY + 1) * 5, 7 * VOCABULARY + VOCABULARY
    assert build("mlp").n_parameters == embeddings + first + second + head


@pytest.mark.parametrize(("network", "gates"), [("rnn", 1), ("gru", 3)])
def test_a_recurrent_network_has_the_parameters_of_its_formula(network: str, gates: int) -> None:
    first, second = (gates * (n * m + m * m + m) for n, m in [(5, 12), (12, 7)])
    embeddings, head = VOCABULARY * 5, 7 * VOCABULARY + VOCABULARY
    assert build(network).n_parameters == embeddings + first + second + head


def test_a_gated_feed_forward_layer_has_two_thirds_of_the_width() -> None:
    plain, gated = (
        build_neural(
            replace(TRANSFORMER, d_model=24, bias=False, gated=gated),
            VOCABULARY,
            rng=stream(0, "w"),
        )
        for gated in (False, True)
    )
    assert gated.parameters()["blocks.0.feed_forward.gate.weight"].shape == (24, 64)
    assert gated.n_parameters == plain.n_parameters


@every_neural_rung
def test_hidden_matrices_are_all_matrices_but_embeddings_and_head(rung: str) -> None:
    model = build(rung)
    matrices = {name for name, each in model.parameters().items() if each.ndim == 2}
    ends = {"embedding.weight", "tokens.weight", "positions.weight", "unembedding.weight"}
    assert set(model.hidden_matrices()) == matrices - ends
