"""What every model satisfies.

tests/evaluation/test_audit.py checks that all scores of a model agree, depend on earlier tokens
alone, and are those of distributions; tests/test_statistics.py checks probabilities.
"""

from pathlib import Path
from typing import Any

from lmladder.autograd import Tensor, gradcheck
from lmladder.autograd.gradcheck import TOLERANCE
from lmladder.models import KINDS, NeuralLanguageModel, restore_models
from lmladder.models.transformer import Block
from lmladder.system.streams import stream
from lmladder.training.checkpoint import Checkpoint
from tests.models.examples import (
    ALL_SETTINGS,
    CHOICES,
    CONTEXT,
    COUNT_MODELS,
    COUNTS,
    EXACT_MIXTURES,
    MIXTURES,
    MLP,
    POSITIONS,
    SETTINGS,
    TABLES,
    TRANSFORMER,
    VOCABULARY,
    WITTEN_BELL,
    build,
    draw,
    fit,
    kind_of,
    model_named,
)

import numpy as np
import pytest

GUESTS = {"callable"}  # in test_guests.py
every_model = pytest.mark.parametrize("name", [*COUNT_MODELS, *SETTINGS, *MIXTURES])
every_model_and_the_oracle = pytest.mark.parametrize(
    "name", [*COUNT_MODELS, *SETTINGS, *MIXTURES, *EXACT_MIXTURES, "oracle"]
)
every_neural_model = pytest.mark.parametrize("name", SETTINGS)


def test_all_kinds_are_here() -> None:
    kinds = {kind_of(each) for each in SETTINGS.values()} | {"counts", "mixture", "oracle"}
    assert {*KINDS} - {"arpa", "hugging_face", "my_bigram", "witten_bell"} == kinds | GUESTS


# --- The contract ---------------------------------------------------------------------------------


@every_model_and_the_oracle
def test_scores_have_their_shapes_and_the_loss_is_their_mean(name: str) -> None:
    model, tokens = model_named(name), draw("tokens", 5, CONTEXT + 1)
    nats, whole = model.nll(tokens), model.log_probabilities(tokens[:, :-1])
    following = model.next_log_probabilities(tokens[:, :-1])
    assert (nats.shape, nats.dtype) == ((5, CONTEXT), np.float64)
    assert (whole.shape, whole.dtype) == ((5, CONTEXT, VOCABULARY), np.float64)
    assert (following.shape, following.dtype) == ((5, VOCABULARY), np.float64)
    if isinstance(model, NeuralLanguageModel):
        assert model.loss(tokens).item() == pytest.approx(nats.mean(), rel=1e-6)


@every_model
def test_every_token_of_the_context_matters_and_none_before_it(name: str) -> None:
    model = model_named(name)
    length = model.context_length if model.max_length else model.context_length + 3
    tokens = draw("text", 1, max(length, 1))
    alike = np.repeat(tokens, VOCABULARY - 1, axis=0)  # as many, since sums depend on shapes
    expected = model.next_log_probabilities(alike)
    for position in range(length):
        others = alike.copy()
        others[:, position] = np.delete(np.arange(VOCABULARY), tokens[0, position])
        found = model.next_log_probabilities(others)
        assert (found != expected).any() == (position >= length - model.context_length)


@every_model_and_the_oracle
def test_scores_depend_on_the_tokens_alone(name: str) -> None:
    """Not on the integer type; neither tokens nor model are changed."""
    model, tokens = model_named(name), draw("tokens", 5, CONTEXT)
    tokens.flags.writeable = False
    nats, logs = model.nll(tokens), model.next_log_probabilities(tokens)
    for dtype in (np.uint8, np.int32, np.int64):
        np.testing.assert_array_equal(model.nll(tokens.astype(dtype)), nats)
        np.testing.assert_array_equal(model.next_log_probabilities(tokens.astype(dtype)), logs)
    if isinstance(model, NeuralLanguageModel):
        assert all(each.grad is None for each in model.parameters().values())


def checkpoint(kind: str, settings: Any, arrays: Any) -> Checkpoint:
    return Checkpoint(
        name=kind,
        kind=kind,
        config=settings.model_dump(),
        seed=0,
        vocabulary_size=VOCABULARY,
        tokenizer={"name": "char", "characters": "abcdefghijk"},
        data_digest="data",
        model=arrays,
    )


@pytest.mark.parametrize("name", [*COUNT_MODELS, *SETTINGS])
def test_save_and_load_reproduce_the_scores_bit_for_bit(name: str, tmp_path: Path) -> None:
    model, tokens = model_named(name), draw("tokens", 5, CONTEXT + 1)
    if isinstance(model, NeuralLanguageModel):
        kind = kind_of(ALL_SETTINGS[name])
        arrays = {key: each.value for key, each in model.parameters().items()}
        saved, name = checkpoint(kind, ALL_SETTINGS[name], arrays), kind
    else:
        own = name == "witten_bell"
        kind, settings = (name, WITTEN_BELL) if own else ("counts", COUNTS)
        saved = checkpoint(kind, settings, TABLES.arrays())
    saved.save(tmp_path / "checkpoint.safetensors")
    loaded = restore_models(Checkpoint.load(tmp_path / "checkpoint.safetensors"))[name]
    np.testing.assert_array_equal(loaded.nll(tokens), model.nll(tokens))
    for fact in ("n_parameters", "context_length", "max_length"):
        assert getattr(loaded, fact) == getattr(model, fact)


# --- Neural models --------------------------------------------------------------------------------


@every_neural_model
def test_same_seed_same_weights_and_another_seed_others(name: str) -> None:
    first, again, other = (build(SETTINGS[name], seed=seed).parameters() for seed in (0, 0, 1))
    fixed = ("pointer.before.weight",)
    drawn = [key for key, each in first.items() if each.value.std() > 0 and key not in fixed]
    for key, each in first.items():
        assert each.dtype == np.float32
        np.testing.assert_array_equal(each.value, again[key].value)
        assert (each.value != other[key].value).any() == (key in drawn)
    assert drawn


@every_neural_model  # the modern and the bare Transformer have all options
def test_gradients_of_the_loss_agree_with_differences(name: str) -> None:
    model, tokens = build(SETTINGS[name], spread=0.3), draw("tokens", 3, CONTEXT + 1)
    model.astype(np.float64)
    parameters = list(model.parameters().values())
    for dropout in ("dropout", None):
        worst = gradcheck(
            lambda *_, dropout=dropout: model.loss(tokens, dropout and stream(0, dropout)),
            parameters,
            rng=stream(0, "directions"),
        )
        assert worst < TOLERANCE
        assert all(each.grad is not None and each.grad.any() for each in parameters)


@every_neural_model
def test_it_overfits_one_batch(name: str) -> None:
    model = build(SETTINGS[name])
    tokens = stream(3, "tokens").permuted(np.tile(np.arange(VOCABULARY), (2, 1)), axis=1)
    tokens = tokens[:, : CONTEXT + 1]
    tokens[1, 0] = (tokens[0, 0] + 1) % VOCABULARY
    fit(model, tokens, rate=0.05, steps=150)
    assert model.loss(tokens).item() < 0.05


def test_dropout_applies_to_the_embeddings_too() -> None:
    model, tokens = build(TRANSFORMER.model_copy(update={"n_layer": 0})), draw("tokens", 5, CONTEXT)
    dropped = model.hidden(tokens, stream(0, "dropout")).value
    assert (dropped != model.hidden(tokens).value).any()


def test_dropout_applies_to_both_branches_of_a_block() -> None:
    block = Block(TRANSFORMER, 0, rng=stream(0, "block"))
    x = Tensor(stream(0, "x").standard_normal((2, CONTEXT, TRANSFORMER.d_model), np.float32))
    for last in (block.attention.output, block.feed_forward.down_proj):
        weight = last.weight
        last.weight = Tensor(np.zeros_like(weight.value))  # leaves the other branch
        kept, dropped = (
            block(x, rng, np.arange(CONTEXT)).value for rng in (None, stream(0, "dropout"))
        )
        last.weight = weight
        assert (kept != dropped).any()


@pytest.mark.parametrize("positions", POSITIONS)
def test_the_transformer_takes_no_more_than_its_context(positions: str) -> None:
    model = build(TRANSFORMER.model_copy(update={"positions": positions}))
    model.nll(draw("tokens", 5, CONTEXT + 1))
    with pytest.raises(IndexError, match="7 positions in a context of 6"):
        model.nll(draw("tokens", 5, CONTEXT + 2))


def test_the_mlp_distinguishes_missing_tokens() -> None:
    model, tokens = model_named("mlp"), draw("tokens", 5, CONTEXT + 1)
    longer = np.concatenate([np.zeros((5, 4), int), tokens], axis=1)
    short, long = model.nll(tokens), model.nll(longer)[:, 4:]
    assert (short[:, : CONTEXT - 1] != long[:, : CONTEXT - 1]).all()
    np.testing.assert_allclose(short[:, CONTEXT - 1 :], long[:, CONTEXT - 1 :], rtol=1e-5)
    model = build(MLP, 256)
    pairs = stream(0, "bytes").integers(256, size=(3, 4))  # 256 itself is a missing token
    np.testing.assert_array_equal(model.nll(pairs.astype(np.uint8)), model.nll(pairs))


# --- Settings -------------------------------------------------------------------------------------


def test_every_choice_changes_the_model() -> None:
    tokens = draw("tokens", 5, CONTEXT + 1)
    others = [each for each in CHOICES if TRANSFORMER.model_copy(update=each) != TRANSFORMER]
    assert len(CHOICES) - len(others) == 3  # norm, positions and activation as they are
    models = [build(TRANSFORMER.model_copy(update=each), spread=0.3) for each in [{}, *others]]
    assert len({model.loss(tokens).item() for model in models}) == len(others) + 1


@every_neural_model
def test_hidden_matrices_are_all_matrices_but_embeddings_and_head(name: str) -> None:
    model = build(SETTINGS[name])
    matrices = {key for key, each in model.parameters().items() if each.ndim == 2}
    tables = (
        *("embedding", "tokens", "positions", "pairs", "triples"),
        *("unembedding", "convolution", "gate", "before"),
    )
    others = {key for key in matrices if key.removesuffix(".weight").endswith(tables)}
    assert set(model.hidden_matrices()) == matrices - others
