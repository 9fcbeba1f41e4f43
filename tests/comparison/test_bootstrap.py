"""The statistics, against a bootstrap written out in loops, against Student, and by simulation."""

import math

from lmladder.comparison import bootstrap
from lmladder.comparison.bootstrap import RESAMPLES, interval, other_seeds, resampled_nats
from lmladder.rng import stream

import numpy as np
import pytest

SIMULATIONS = 600


def test_the_bootstrap_is_the_one_written_out_in_loops(monkeypatch):
    """Texts of n - 1 drawn blocks, the same for all runs; nats and tokens are summed apart."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 5)
    rng = stream(0, "nats")
    nats, tokens = rng.uniform(1, 9, (3, 7)), rng.integers(4, 9, 7).astype(float)
    draws = stream(0, "blocks of the text").multinomial(6, [1 / 7] * 7, size=5)
    expected = []
    for times in draws:
        text = [block for block in range(7) for _ in range(times[block])]
        assert len(text) == 6
        length = sum(tokens[block] for block in text)
        expected.append([sum(run[block] for block in text) / length for run in nats])
    np.testing.assert_allclose(resampled_nats(nats, tokens), expected, rtol=1e-12)


def test_the_spread_of_resampled_means_is_the_standard_error():
    nats = stream(0, "nats").normal(1, 0.1, (1, 25))
    means = resampled_nats(nats, np.ones(25))[:, 0]
    assert means.mean() == pytest.approx(nats.mean(), abs=0.002)
    assert means.std() == pytest.approx(nats.std(ddof=1) / 5, rel=0.05)


def test_the_interval_holds_the_middle_95_percent():
    low, high = interval(np.arange(1001.0))
    assert (low, high) == pytest.approx((25, 975))


def test_other_seeds_add_what_students_test_would():
    """scipy.stats.t.ppf(0.975, 3) = 3.1824; the two lines have s^2 = (2 + 8) / (2 + 1)."""
    added = other_seeds([1.0, 2.0, 3.0], [5.0, 9.0], "a line")
    error = math.sqrt((2 + 8) / 3 * (1 / 3 + 1 / 2))
    low, high = interval(added)
    assert low == pytest.approx(-3.1824 * error, rel=0.1)
    assert high == pytest.approx(3.1824 * error, rel=0.1)


def test_single_seeds_tell_nothing_of_others_and_equal_ones_that_there_is_no_spread():
    assert not other_seeds([1.0], [2.0], "a line").any()
    assert not other_seeds([1.0, 1.0], [2.0], "a line").any()


def test_draws_are_the_same_each_time_and_of_each_line_its_own():
    first, again, other = (other_seeds([1.0, 2.0], [1.5], name) for name in ("a", "a", "b"))
    assert (first == again).all()
    assert (first != other).any()
    assert len(first) == RESAMPLES


@pytest.mark.parametrize(
    ("blocks", "seeds", "spread"), [(195, 1, 0.0), (60, 1, 0.0), (100, 3, 0.003), (100, 5, 0.1)]
)
def test_of_runs_without_a_true_difference_one_in_twenty_is_called_different(blocks, seeds, spread):
    """Two lines whose texts and seeds are drawn alike: any difference is chance."""
    rng = stream(0, f"simulation {blocks} {seeds}")
    hardness = rng.normal(1, 0.1, (SIMULATIONS, 1, blocks))

    def line():
        of_line = rng.normal(0, 0.02, (SIMULATIONS, 1, blocks))
        of_seeds = rng.normal(0, spread, (SIMULATIONS, seeds, 1))
        return hardness + of_line + of_seeds

    first, second = line(), line()
    tokens = np.ones(blocks)
    resampled = [
        resampled_nats(nats.reshape(-1, blocks), tokens)
        .reshape(RESAMPLES, SIMULATIONS, seeds)
        .mean(axis=2)
        for nats in (first, second)
    ]
    called = 0
    for each in range(SIMULATIONS):
        scores = (nats[each].mean(axis=1) for nats in (first, second))
        differences = resampled[0][:, each] - resampled[1][:, each]
        low, high = interval(differences + other_seeds(*scores, str(each)))
        called += low > 0 or high < 0
    assert 0.025 <= called / SIMULATIONS <= 0.075  # 5 %, and three standard errors of it


def test_a_true_difference_is_found():
    """A hundredth of the blocks' own spread would drown in it, were they not paired."""
    hardness = stream(0, "hardness").normal(1, 1.0, 200)
    own = stream(0, "own").normal(0, 0.05, 200)
    means = resampled_nats(np.array([hardness, hardness + own + 0.02]), np.ones(200))
    low, high = interval(means[:, 1] - means[:, 0])
    assert 0 < low < 0.02 < high < 0.04
