"""Intervals, compared with a bootstrap in loops, with Student's t, and by simulation."""

import math

from lmladder.experiments import intervals as module
from lmladder.experiments.intervals import (
    against_base,
    critical_value,
    draw_errors,
    over_seeds,
    resampled_nats,
)
from lmladder.system.streams import stream

import numpy as np
import pytest

BLOCKS = 256


def all_pairs(*sampled):
    """Return the critical value and the standard errors of all differences."""
    draws, errors = draw_errors(*sampled)
    return critical_value(draws, errors), errors


def test_the_bootstrap_equals_one_in_loops(monkeypatch):
    """Texts of n - 1 drawn blocks, the same for all runs; nats and tokens are summed apart."""
    monkeypatch.setattr(module, "RESAMPLES", 5)
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


def test_an_interval_of_deterministic_models_is_that_of_a_paired_t_test():
    """Its hardness, a hundred times larger than the difference, cancels; t(24) has 2.064 at 95%."""
    hardness, own = stream(0, "hardness").normal(1, 1.0, 25), stream(0, "own").normal(0, 0.02, 25)
    resampled = resampled_nats(np.array([hardness, hardness + own]), np.ones(25))
    critical, errors = all_pairs(resampled, 25, np.zeros(2), np.ones(2))
    expected = 2.064 * own.std(ddof=1) / 5
    assert critical * errors[0, 1] == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize(("seeds", "student"), [(2, 12.706), (3, 4.303), (6, 2.571)])
def test_an_interval_of_seeds_against_a_deterministic_model_is_that_of_student(seeds, student):
    critical, errors = all_pairs(
        np.ones((4000, 2)), 10_000, np.array([0.0, 4.0]), np.array([1.0, seeds])
    )
    assert critical * errors[0, 1] == pytest.approx(student * 2 / math.sqrt(seeds), rel=0.1)


def test_an_interval_against_a_base_has_the_critical_value_of_dunnett():
    """Of 4 comparisons with many degrees of freedom: 2.44; of all pairs it would be 2.73."""
    seeds = np.full(5, 1000.0)
    drawn = draw_errors(np.zeros((4000, 5)), BLOCKS, np.ones(5), seeds, to_base=True)
    margins, p_values = against_base(np.array([0.0, 0.1, -0.1, 0.0, 0.0]), 0, *drawn)
    assert margins[1:] == pytest.approx([2.44 * math.sqrt(2 / 1000)] * 4, rel=0.03)
    assert p_values == pytest.approx([1, 0.09, 0.09, 1, 1], abs=0.02)


# --- Simulated tables -----------------------------------------------------------------------------


class Tables:
    """Simulated tables of configurations, with their standard deviations and numbers of seeds."""

    def __init__(self, name, count, deviation=lambda i: 1.0, seeds=lambda i: 3):
        self.name = name
        self.deviations = np.array([deviation(i) for i in range(count)])
        self.seeds = np.array([float(seeds(i)) for i in range(count)])

    def draw(self, number, better=0.0):
        """Yield, for each table, which row is significantly worse than which column."""
        for scores, *sampled in self.sample(number, better):
            critical, errors = all_pairs(*sampled)
            yield scores[:, None] - scores > critical * errors + 1e-9

    def p_values(self, number, better=0.0):
        """Yield, for each table, the p-values of the differences to the first configuration."""
        for scores, *sampled in self.sample(number, better):
            yield against_base(scores, 0, *draw_errors(*sampled, to_base=True))[1][1:]

    def sample(self, number, better):
        """Yield the scores of each table, of which the first is better, and what is sampled."""
        rng, count = stream(0, self.name), len(self.seeds)
        true = np.where(np.arange(count) == 0, -better, 0)
        for _ in range(number):
            scores = true + self.deviations / np.sqrt(self.seeds) * rng.standard_normal(count)
            freedom = np.maximum(self.seeds - 1, 1)
            variances = self.deviations**2 * rng.chisquare(freedom) / freedom
            yield scores, np.zeros((300, count)), BLOCKS, variances, self.seeds


SIZES = {2: 400, 5: 200, 20: 80, 100: 24}  # configurations, tables
TABLES = [
    *(Tables(f"{count} equal", count) for count in SIZES),
    *(Tables(f"{count} unequal", count, lambda i: 10.0 ** (i % 2)) for count in SIZES),
    *(Tables(f"{n} one noisy", n, lambda i: 10.0 if i == 0 else 1.0) for n in (5, 20)),
    Tables("20 of all scales", 20, lambda i: 2.0**i),
    Tables("20 noisy with fewer seeds", 20, lambda i: 3.0 ** (i % 2), lambda i: (10, 2)[i % 2]),
    Tables("2 random among 10 deterministic", 12, lambda i: float(i < 2)),
    Tables("19 random among 1 deterministic", 20, lambda i: float(i > 0)),
]


def most(number: int) -> float:
    """Return the bound of the number of tables with a false rank: four standard errors above 5%."""
    return 0.05 * number + 4 * math.sqrt(0.05 * 0.95 * number)


@pytest.mark.parametrize("each", TABLES, ids=lambda each: each.name)
def test_at_most_5_percent_of_tables_of_equal_configurations_have_a_false_rank(each):
    number = SIZES.get(len(each.seeds), 100)
    false = sum(worse.any() for worse in each.draw(number))
    assert false <= most(number), f"{false} of {number}"


@pytest.mark.parametrize(
    "each", [each for each in TABLES if "one noisy" not in each.name], ids=lambda each: each.name
)
def test_at_most_5_percent_of_tables_of_equal_configurations_have_a_false_p_value(each):
    """Unless only the base is noisy, which the documentation describes."""
    number = 100
    false = sum(p.min() <= 0.05 for p in each.p_values(number))
    assert false <= most(number), f"{false} of {number}"


def test_a_true_difference_of_4_deviations_to_the_base_is_found_in_80_percent():
    """Of three seeds each; the intervals of all pairs find 7 deviations so often."""
    drawn = list(Tables("20 power", 20).p_values(50, better=4))
    assert np.mean(drawn <= np.float64(0.05)) >= 0.8


@pytest.mark.parametrize("count", SIZES)
def test_a_true_difference_of_7_deviations_is_ranked_in_80_percent(count):
    drawn = list(Tables(f"{count} power", count).draw(SIZES[count] // 2, better=7))
    ranked = sum(worse[1:, 0].mean() for worse in drawn)
    assert ranked >= 0.8 * len(drawn)


@pytest.mark.parametrize(("count", "blocks"), [(2, 30), (2, 200), (5, 60), (20, 200)])
def test_at_most_5_percent_of_tables_of_deterministic_models_have_a_false_rank(count, blocks):
    """Their losses are drawn from one distribution: any difference is chance."""
    number = 300 // count
    rng = stream(0, f"texts {count} {blocks}")
    hardness = rng.normal(1, 0.1, (number, 1, blocks))
    nats = hardness + rng.normal(0, 0.02, (number, count, blocks))
    resampled = resampled_nats(nats.reshape(-1, blocks), np.ones(blocks))
    false = 0
    for scores, texts in zip(nats.mean(axis=2), np.split(resampled, number, axis=1), strict=True):
        critical, errors = all_pairs(texts, blocks, np.zeros(count), np.ones(count))
        false += (scores[:, None] - scores > critical * errors).any()
    assert false <= most(number), f"{false} of {number}"


@pytest.mark.parametrize("count", [2, 5, 20])
def test_what_seeds_do_to_all_configurations_cancels_in_differences(count):
    """Its deviation is ten times that of each; a difference of 7 deviations is still found."""
    rng, number = stream(0, f"{count} with shared seeds"), 100
    found = {False: 0, True: 0}
    for better in found:
        for _ in range(number):
            scores = rng.standard_normal((count, 3)) + 10 * rng.standard_normal(3)
            scores[1:] += 7.0 * better
            variances, shared = over_seeds(scores)
            means, seeds = scores.mean(axis=1), np.full(count, 3.0)
            sampled = np.zeros((300, count)), BLOCKS, variances, seeds, shared
            critical, errors = all_pairs(*sampled)
            worse = means[:, None] - means > critical * errors
            found[better] += worse[1:, 0].mean() if better else worse.any()
    assert found[False] <= most(number)
    assert found[True] >= 0.6 * number


def test_what_seeds_do_to_all_configurations_counts_against_a_deterministic_model():
    """As an interval of Student's for the mean of three seeds: 4.303 standard errors."""
    variances, seeds = np.array([0.0, 1e-6]), np.array([1.0, 3.0])
    critical, errors = all_pairs(np.zeros((4000, 2)), 10_000, variances, seeds, 4.0)
    assert critical * errors[0, 1] == pytest.approx(4.303 * 2 / math.sqrt(3), rel=0.1)


def test_the_variance_of_a_configuration_is_that_besides_the_mean_of_a_seed():
    scores = np.array([[1.0, 5.0, 9.0], [3.0, 5.0, 13.0]])  # differences 2, 0, 4
    variances, shared = over_seeds(scores)
    np.testing.assert_allclose(variances, [2.0, 2.0])  # a difference has 4
    assert shared == pytest.approx(np.var([2, 5, 11], ddof=1))
