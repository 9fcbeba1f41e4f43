"""Fitting a mixture: nothing of a text enters the weights that it is scored with."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lmladder.data import Prepared
from lmladder.data.batches import sequence_starts
from lmladder.evaluation import Score, predict_models, score_models, token_nll
from lmladder.evaluation.ladder import split_nll
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.models import restore_models
from lmladder.models.kind import model_settings
from lmladder.models.mixture import TEXTS, Mixture
from lmladder.system.arrays import FloatArray
from lmladder.system.files import write_json
from lmladder.training.checkpoint import Checkpoint
from tests.data.examples import prepared_text
from tests.models.examples import draw
from tests.models.test_mixture import saved

import numpy as np
import pytest

ALPHABET = "abcdefghijk"
TOKENS = 600  # of the validation text
SETTINGS = EvaluateSettings(
    splits=["val", "test"],
    checkpoint="latest",
    min_context=0.5,
    batch_tokens=256,
    excess_error=0.02,
)


def text_of(folder: Path, *, validation: int = TOKENS, replaced: slice = slice(0)) -> Prepared:
    """Return a prepared text, with other tokens in a part of validation and test."""
    tokens = draw("text", 400 + validation + 100)
    tokens[400:][replaced] = 10 - tokens[400:][replaced]
    tokens[: len(ALPHABET)] = range(len(ALPHABET))
    share = (400.5 / len(tokens), validation / len(tokens))  # rounded down to tokens
    text = "".join(ALPHABET[token] for token in tokens)
    prepared = prepared_text(folder, text, split=(*share, 1 - sum(share)))
    assert len(prepared.val) == validation
    return prepared


def fitted(prepared: Prepared, **changed: Any) -> Checkpoint:
    origin = saved(**changed)
    return Mixture.fit(origin, model_settings(origin), prepared, prepared.directory)


@pytest.mark.parametrize(
    ("replaced", "unchanged"),
    [
        (slice(TOKENS // 2), {"for_first_half"}),
        (slice(TOKENS // 2, TOKENS), {"for_second_half"}),
        (slice(TOKENS, None), {*TEXTS}),
    ],
)
def test_nothing_of_a_text_enters_the_weights_it_is_scored_with(
    replaced: slice, unchanged: set[str], tmp_path: Path
) -> None:
    before = fitted(text_of(tmp_path / "before")).model
    after = fitted(text_of(tmp_path / "after", replaced=replaced)).model
    for text in TEXTS:
        names = [f"weights.{text}.{name}" for name in ("knots", "table")]
        same = [before[name].tobytes() == after[name].tobytes() for name in names]
        assert all(same) == (text in unchanged)


def test_weights_of_another_mixture_are_used_for_all_text(tmp_path: Path) -> None:
    path, prepared = tmp_path / "weights.json", text_of(tmp_path / "text")
    source = fitted(text_of(tmp_path / "other", replaced=slice(None)))
    other: Any = restore_models(source)["mixture"]
    write_json(path, other.weights.facts(model_settings(source)))
    carried: Any = restore_models(fitted(prepared, weights_from=str(path)))["mixture"]
    options = {"min_context": 0.5, "batch_tokens": 256}
    expected = token_nll(other, prepared.val, prepared.train, **options)
    found = split_nll(carried, prepared, "val", **options)
    np.testing.assert_array_equal(found, expected)


def test_validation_text_is_scored_with_the_weights_of_the_other_half(tmp_path: Path) -> None:
    prepared = text_of(tmp_path)
    mixed: Any = restore_models(fitted(prepared))["mixture"]
    half = TOKENS // 2
    options = {"min_context": 0.5, "batch_tokens": 256}
    by_all, first, second = (
        token_nll(each, prepared.val, prepared.train, **options)
        for each in (mixed, *mixed.cross_fitted)
    )
    expected = np.concatenate([first[:half], second[half:]])
    np.testing.assert_allclose(split_nll(mixed, prepared, "val", **options), expected, rtol=1e-6)
    assert abs(by_all - expected).min() > 0
    passage = split_nll(mixed, prepared, "val", half + 9, **options)
    np.testing.assert_allclose(passage, expected[: half + 9], rtol=1e-6)
    test = token_nll(mixed, prepared.test, prepared.val, **options)
    scores = score_models({"mixture": mixed}, prepared, SETTINGS)
    assert scores["mixture", "test"] == Score.of(test, 100)


def test_predictions_of_a_sequence_across_both_halves_are_of_two_models(tmp_path: Path) -> None:
    prepared = text_of(tmp_path, validation=610)  # a sequence contains token 305
    mixed: Any = restore_models(fitted(prepared))["mixture"]
    found = predict_models({"mixture": mixed}, prepared, 256)["mixture"]

    def of(model: Any) -> FloatArray:
        return predict_models({"": model}, prepared, 256)[""][..., 0]

    names = ("max_length", "context_length", "log_probabilities")  # and not what it was fitted on
    first, second = (
        of(SimpleNamespace(**{name: getattr(each, name) for name in names}))
        for each in mixed.cross_fitted
    )
    targets = sequence_starts(610, 3, 610)[:, None] + np.arange(1, 4)
    is_first = targets < 305
    np.testing.assert_allclose(found[..., 0], np.where(is_first, first, second), rtol=1e-5)
    assert (is_first.any(axis=1) & ~is_first.all(axis=1)).sum() == 1
    assert (abs(first - second) > 1e-4 * first).mean() > 0.9
