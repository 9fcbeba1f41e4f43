"""A mixture: a distribution at each position, with weights that expectation maximization finds."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmladder.models import restore_models
from lmladder.models.kind import model_settings
from lmladder.models.mixture import TEXTS, MixtureSettings, Weights, entropy
from lmladder.system.arrays import FloatArray
from lmladder.system.errors import InputError
from lmladder.system.files import write_json
from lmladder.system.settings import validate
from lmladder.system.streams import stream
from lmladder.training.checkpoint import Checkpoint
from tests.models.examples import (
    COUNT_MODELS,
    COUNTS,
    MIXTURES,
    TABLES,
    draw,
    mixture,
)
from tests.models.test_contract import checkpoint

import numpy as np
import pytest

GIVEN = {
    "members": ["a", "b"], "weights_by": ["a"], "knots": 5, "prior": 20.0, "iterations": 300,
    "weights_from": None, "checkpoint": "latest", "min_context": 0.5, "batch_tokens": 4096,
}  # fmt: skip
SETTINGS: Any = validate(MixtureSettings, GIVEN)


def test_it_is_the_sum_of_its_members_with_the_weights_of_their_entropies() -> None:
    mixed, tokens = mixture(MIXTURES["mixture"]), draw("tokens", 5, 6)
    logs = [each.log_probabilities(tokens) for each in mixed.members]
    entropies = np.stack([-(np.exp(each) * each).sum(axis=-1) for each in logs[:2]])
    weights = mixed.weights(entropies)
    expected = sum(weights[..., i, None] * np.exp(each) for i, each in enumerate(logs))
    np.testing.assert_allclose(np.exp(mixed.log_probabilities(tokens)), expected, rtol=1e-12)
    assert weights.reshape(-1, 3).std(axis=0).min() > 0.01
    assert mixed.n_parameters == sum(each.n_parameters for each in mixed.members)


def test_weights_are_those_of_the_table_at_knots_and_between_them_between() -> None:
    table = np.eye(4)
    weights = Weights(np.array([[0.0, 1.0], [0.0, 2.0]]), table)
    corners = [[0.0, 0.0], [0.0, 2.0], [1.0, 0.0], [1.0, 2.0]]
    np.testing.assert_array_equal(weights(np.transpose(corners)), table)
    np.testing.assert_array_equal(weights(np.array([-3.0, 5.0])), table[1])  # as at the ends
    np.testing.assert_allclose(weights(np.array([0.5, 0.5])), [0.375, 0.125, 0.375, 0.125])


def text_of_known_weights(tokens: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return log probabilities of two members, entropies, and the weight of the first member."""
    rng = stream(0, "text")
    entropies = rng.random((1, tokens))
    weight = 0.9 - 0.7 * entropies[0]
    from_first = rng.random(tokens) < weight
    # Each member prefers its own kind of token, 9 to 1.
    is_kind = rng.random(tokens) < np.where(from_first, 0.9, 0.1)
    first = np.where(is_kind, 0.9, 0.1)
    return np.log(np.stack([first, 1 - first], axis=-1)), entropies, weight


def test_it_finds_the_weights_that_a_text_was_drawn_with() -> None:
    logs, entropies, weight = text_of_known_weights(15_000)
    found = Weights.fitted(logs, entropies, SETTINGS.model_copy(update={"knots": 3}))(entropies)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
    assert abs(found[:, 0] - weight).max() < 0.04
    constant = Weights.fitted(logs, entropies[:0], SETTINGS)(entropies[:0])
    np.testing.assert_allclose(constant[0], weight.mean(), atol=0.01)


def test_a_combination_without_tokens_has_constant_weights() -> None:
    logs, entropies, _ = text_of_known_weights(500)
    twice = np.repeat(entropies, 2, axis=0)  # so the corners of other entropies have no tokens
    fitted = Weights.fitted(logs, twice, SETTINGS.model_copy(update={"prior": 1e-3}))
    constant = Weights.fitted(logs, twice[:0], SETTINGS)
    ends = np.array([[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(fitted(ends), np.repeat(constant.table, 2, axis=0), rtol=1e-9)


@pytest.mark.parametrize("least", [-900.0, -np.inf])
def test_a_member_that_gives_a_token_a_probability_of_0_does_no_harm(least: float) -> None:
    logs = np.array([[least, -1.0], [-1.0, least], [least, 2 * least]] * 10)
    weights = Weights.fitted(logs, np.zeros((1, 30)), SETTINGS)
    assert np.isfinite(weights.table).all()
    assert (weights.table > 0).all()
    assert entropy(np.array([*np.log([0.5, 0.5]), least])) == pytest.approx(np.log(2))


# --- Checkpoints and settings ---------------------------------------------------------------------


def saved(**changed: Any) -> Checkpoint:
    """Return the checkpoint of a mixture of count models."""
    members = {"counts": {"kind": "counts", **COUNTS.model_dump()}}
    given = {"members": ["kneser_ney_4", "bigram"], "weights_by": ["kneser_ney_4"], "knots": 2}
    settings: Any = validate(MixtureSettings, {**GIVEN, **given, **changed})
    arrays = {f"members.counts.{name}": each for name, each in TABLES.arrays().items()}
    for index, text in enumerate(TEXTS):
        arrays[f"weights.{text}.knots"] = np.array([[0.5, 2.0]])
        arrays[f"weights.{text}.table"] = np.array([[0.5, 0.5], [0.1 * index, 1 - 0.1 * index]])
    return replace(checkpoint("mixture", settings, arrays), members=members)


def test_a_checkpoint_has_its_members_and_three_sets_of_weights(tmp_path: Path) -> None:
    saved().save(tmp_path / "checkpoint.safetensors")
    loaded = Checkpoint.load(tmp_path / "checkpoint.safetensors")
    mixed: Any = restore_models(loaded)["mixture"]
    tokens = draw("tokens", 5, 7)
    for index, each in enumerate((mixed, *mixed.cross_fitted)):
        np.testing.assert_allclose(each.weights.table[1], [0.1 * index, 1 - 0.1 * index])
        expected = COUNT_MODELS["bigram"].nll(tokens)
        np.testing.assert_array_equal(each.members[1].nll(tokens), expected)
    assert len({each.nll(tokens).sum() for each in (mixed, *mixed.cross_fitted)}) == 3


def test_a_file_has_the_weights_that_were_written(tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    for weights_by in (["kneser_ney_4"], []):
        settings: Any = model_settings(saved(weights_by=weights_by))
        knots = np.array([[0.1, 0.2]] * len(weights_by)).reshape(-1, 2)
        table = np.array([[0.3, 0.7], [1.0, 0.0]][: 2 ** len(weights_by)])
        write_json(path, Weights(knots, table).facts(settings))
        found = Weights.load(path, settings)
        np.testing.assert_array_equal(found.knots, knots)
        np.testing.assert_array_equal(found.table, table)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"table": [[1.5, -0.5], [0.5, 0.5]]}, "its weights are not shares that sum to 1"),
        ({"members": ["bigram", "kneser_ney_4"]}, "its members are ['bigram', 'kneser_ney_4']"),
    ],
)
def test_a_file_without_weights_of_the_mixture_is_rejected(
    changed: Any, message: str, tmp_path: Path
) -> None:
    settings: Any = model_settings(saved())
    weights = Weights(np.array([[0.1, 0.2]]), np.array([[0.3, 0.7], [1.0, 0.0]]))
    path = tmp_path / "weights.json"
    write_json(path, weights.facts(settings) | changed)
    with pytest.raises(InputError, match=re.escape(f"{path} does not fit this mixture: {message}")):
        Weights.load(path, settings)
