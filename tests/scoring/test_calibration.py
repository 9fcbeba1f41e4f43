"""Whether models are as sure as they are right, on predictions whose calibration is known."""

from lmladder.rng import stream
from lmladder.scoring import BINS, Reliability

import numpy as np
import pytest


def test_a_model_that_is_right_as_often_as_it_says_has_hardly_an_error() -> None:
    rng = stream(0, "calibrated")
    confidence = rng.uniform(0.1, 1, size=(400, 500))
    found = Reliability.of(confidence, rng.random(confidence.shape) < confidence)
    assert found.tokens.sum() == confidence.size
    assert found.expected_calibration_error < 0.005
    there = found.tokens > 0
    np.testing.assert_allclose(found.accuracy[there], found.confidence[there], atol=0.02)


@pytest.mark.parametrize(("said", "right", "error"), [(0.9, 0.5, 0.4), (0.3, 0.7, 0.4), (1, 1, 0)])
def test_a_model_that_is_too_sure_or_not_sure_enough_is_off_by_the_difference(
    said: float, right: float, error: float
) -> None:
    hit = np.arange(1000) < 1000 * right
    found = Reliability.of(np.full(1000, float(said)), hit)
    assert found.expected_calibration_error == pytest.approx(error)


def test_the_error_is_a_mean_over_tokens_and_not_over_bins() -> None:
    confidence = np.array([0.95] * 30 + [0.5] * 10)
    hit = np.array([True] * 30 + [False] * 10)
    found = Reliability.of(confidence, hit)
    assert found.expected_calibration_error == pytest.approx(0.75 * 0.05 + 0.25 * 0.5)


def test_errors_of_one_bin_cancel_and_those_of_two_do_not() -> None:
    hit = np.array([True, False])
    assert Reliability.of(np.array([0.5, 0.5]), hit).expected_calibration_error == 0
    apart = Reliability.of(np.array([0.4, 0.6]), ~hit)
    assert apart.expected_calibration_error == pytest.approx(0.4)


def test_a_bin_holds_its_upper_edge_and_not_its_lower_one() -> None:
    edges = np.arange(1, BINS + 1) / BINS
    assert Reliability.of(edges, np.ones(BINS, bool)).tokens.tolist() == [1] * BINS
    above = np.nextafter(edges[:-1], 1) + 1e-12
    assert Reliability.of(above, np.ones(BINS - 1, bool)).tokens.tolist() == [0] + [1] * (BINS - 1)


def test_an_empty_bin_has_no_numbers() -> None:
    found = Reliability.of(np.array([0.99]), np.array([True]))
    assert np.isnan(found.accuracy[:-1]).all()
    assert np.isnan(found.confidence[:-1]).all()
