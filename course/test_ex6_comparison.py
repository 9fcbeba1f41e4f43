from lmladder.experiments import intervals

import numpy as np

SEEDS, BLOCKS = 5, 40


def draw(rng, *means):
    """Return losses of models with these true means: blocks and seeds differ, also by model."""
    shape = len(means), SEEDS, BLOCKS
    text = rng.normal(0, 0.5, BLOCKS) + rng.normal(0, 0.1, (len(means), 1, BLOCKS))
    seeds = rng.normal(0, 0.02, (len(means), SEEDS, 1))
    return np.array(means)[:, None, None] + text + seeds + rng.normal(0, 0.01, shape)


def test_interval_is_right_by_hand(answer):
    a, b = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 8.0]]), np.ones((2, 3))
    difference, low, high = answer.interval(a, b, level=0.1)
    # Means over blocks 1, 4: sd sqrt(4.5). Means over seeds 1, 2, 4.5: variance 3.25.
    by_seeds = answer.student(1, 0.1) ** 2 * 4.5 / 2
    by_text = answer.student(2, 0.1) ** 2 * 3.25 / 3
    np.testing.assert_allclose(difference, 2.5)
    np.testing.assert_allclose([high - 2.5, 2.5 - low], np.sqrt(by_seeds + by_text))


def test_what_both_models_have_in_common_changes_nothing(answer):
    a, b = draw(np.random.default_rng(0), 2.0, 2.1)
    common = np.random.default_rng(1).normal(0, 5, a.shape)
    np.testing.assert_allclose(answer.interval(a, b), answer.interval(a + common, b + common))


def test_interval_of_models_without_seeds_is_that_of_lmladder(answer):
    a, b = (np.tile(each[:1], (SEEDS, 1)) for each in draw(np.random.default_rng(2), 2.0, 2.0))
    _, low, high = answer.interval(a, b)
    resampled = intervals.resampled_nats(np.stack([a[0], b[0]]), np.ones(BLOCKS))
    draws, errors = intervals.draw_errors(resampled, BLOCKS, np.zeros(2), np.ones(2))
    real = intervals.critical_value(draws, errors) * errors[0, 1]
    np.testing.assert_allclose((high - low) / 2, real, rtol=0.05)


def test_about_95_percent_of_intervals_contain_the_true_difference(answer):
    rng = np.random.default_rng(3)
    found = [answer.interval(*draw(rng, 2.0, 2.1)) for _ in range(400)]
    contained = np.mean([low < -0.1 < high for _, low, high in found])
    assert 0.94 < contained < 0.995, f"{contained:.1%} contain it"


def test_of_four_equal_models_few_tables_have_a_difference(answer):
    rng = np.random.default_rng(4)
    tables = [dict(zip("abcd", draw(rng, 2, 2, 2, 2), strict=True)) for _ in range(200)]
    wrong = np.mean([bool(answer.significant(table)) for table in tables])
    assert wrong < 0.05, f"{wrong:.1%} have one"


def test_true_differences_are_found_with_the_better_model_first(answer):
    table = dict(zip("abc", draw(np.random.default_rng(5), 2.0, 2.5, 1.5), strict=True))
    assert answer.significant(table) == {("a", "b"), ("c", "a"), ("c", "b")}
    assert answer.significant(dict.fromkeys("ab", table["a"])) == set()
