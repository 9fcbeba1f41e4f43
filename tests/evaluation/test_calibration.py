"""Whether confidence matches accuracy, on predictions whose calibration is known."""

from lmladder.evaluation import BINS, Reliability
from lmladder.evaluation.ladder import reliability_of

import numpy as np
import pytest


def error(confidence: list[float], hit: list[bool]) -> float:
    return Reliability.of(np.array(confidence), np.array(hit)).expected_calibration_error


def test_known_errors() -> None:
    for confidence, right, expected in [(0.9, 0.5, 0.4), (0.3, 0.7, 0.4), (1.0, 1.0, 0.0)]:
        hit = [i < 1000 * right for i in range(1000)]
        assert error([confidence] * 1000, hit) == pytest.approx(expected)
    # A mean over tokens, not over bins.
    found = error([0.95] * 30 + [0.5] * 10, [True] * 30 + [False] * 10)
    assert found == pytest.approx(0.75 * 0.05 + 0.25 * 0.5)
    # Errors within one bin cancel, those of two bins do not.
    assert error([0.5, 0.5], [True, False]) == 0
    assert error([0.4, 0.6], [False, True]) == pytest.approx(0.4)


def test_a_bin_has_its_upper_edge_and_not_its_lower_one_and_an_empty_one_has_no_mean() -> None:
    edges = np.arange(1, BINS + 1) / BINS
    assert Reliability.of(edges, np.ones(BINS, bool)).tokens.tolist() == [1] * BINS
    above = np.nextafter(edges[:-1], 1) + 1e-12
    found = Reliability.of(above, np.ones(BINS - 1, bool))
    assert found.tokens.tolist() == [0] + [1] * (BINS - 1)
    assert np.isnan(found.accuracy).tolist() == [True] + [False] * (BINS - 1)


def test_predictions_with_less_context_than_in_the_table_are_ignored() -> None:
    confidence = np.tile(np.array([0.1, 0.1, 0.1, 0.9]), (5, 1))
    predictions = np.stack([confidence, confidence, confidence > 0.5], axis=-1)
    for min_context, tokens in ((0.0, 20), (0.5, 10), (0.75, 5), (0.99, 5)):
        assert reliability_of(predictions, min_context).tokens.sum() == tokens
