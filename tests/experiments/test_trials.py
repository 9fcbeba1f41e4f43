"""The sequential test by simulation and against Student's t, and the ledger."""

import math

from benchmarks.trials import QUESTIONS, fixed_pairs, simulate
from lmladder.experiments.trials import (
    BETTER,
    EQUAL,
    MAX_PAIRS,
    MIN_PAIRS,
    UNDECIDED,
    WORSE,
    Estimate,
    Trial,
    add_to_ledger,
    critical_values,
    estimate,
    read_ledger,
    text_margin,
)
from lmladder.system.errors import InputError
from lmladder.system.streams import stream

import numpy as np
import pytest

TRIAL = Trial(
    rung="mlp", change="mlp.activation=relu", equal="tokens", text="0a", inputs="1b",
    smallest=0.005, pairs=3, looks=1, base=0.5, difference=-0.01, low=-0.015, high=-0.005,
    answer=BETTER,
)  # fmt: skip


def test_of_200_changes_without_effect_at_most_5_percent_are_kept():
    answers, _ = simulate(0.0)
    assert answers[BETTER] <= 0.05 * QUESTIONS
    assert answers[WORSE] <= 0.05 * QUESTIONS
    assert answers[EQUAL] >= 0.8 * QUESTIONS


def test_a_gain_of_three_deviations_is_found_in_fewer_runs_than_by_a_fixed_design():
    answers, pairs = simulate(0.01)
    found = answers[BETTER] / QUESTIONS
    assert found >= 0.8
    assert pairs < fixed_pairs(0.01, found)


def test_a_loss_of_the_smallest_difference_of_interest_is_rarely_called_none():
    answers, _ = simulate(-0.005)
    assert answers[EQUAL] <= 0.05 * QUESTIONS
    assert answers[BETTER] <= 0.01 * QUESTIONS


def test_all_looks_together_have_the_level_of_the_test():
    """New paths, and a look at each number of pairs, whatever the deviation is."""
    drawn = stream(1, "paths").normal(0, 7.0, (20_000, MAX_PAIRS))
    ended = np.zeros(len(drawn), bool)
    for pairs, critical in critical_values().items():
        part = drawn[:, :pairs]
        t = np.abs(part.mean(axis=1)) / part.std(axis=1, ddof=1) * math.sqrt(pairs)
        ended |= t > critical
    assert ended.mean() == pytest.approx(0.05, abs=0.005)
    assert [*critical_values()] == [*range(MIN_PAIRS, MAX_PAIRS + 1)]


def test_an_interval_has_the_critical_value_of_its_number_of_pairs():
    found = estimate([-0.01, -0.02, -0.03])
    margin = critical_values()[3] * 0.01 / math.sqrt(3)
    assert (found.mean, found.high) == pytest.approx((-0.02, -0.02 + margin))
    assert estimate([-0.01, -0.02]).answer(0.005) == UNDECIDED
    wider = estimate([-0.01, -0.02, -0.03], text_margin=0.04)
    assert wider.high - wider.mean == pytest.approx(math.hypot(margin, 0.04))


@pytest.mark.parametrize(
    ("low", "high", "answer"),
    [
        (-0.02, -0.01, BETTER),
        (0.001, 0.002, WORSE),
        (-0.004, 0.004, EQUAL),
        (-0.004, 0.006, UNDECIDED),
        (0.0, 0.0, EQUAL),
    ],
)
def test_the_interval_determines_the_answer(low, high, answer):
    assert Estimate((low + high) / 2, low, high).answer(0.005) == answer


def test_the_uncertainty_from_the_text_is_that_of_its_blocks_and_grows_with_the_questions():
    own = stream(0, "blocks").normal(-0.1, 0.02, 400)
    tokens = np.full(400, 10.0)
    error = own.std(ddof=1) / 20  # of the mean, per token
    # 97.5% and 99.17%, two-sided, of Student's t with 399 degrees of freedom
    for questions, quantile in ((1, 2.2502), (2, 2.6527)):
        assert text_margin(own * 10, tokens, questions) == pytest.approx(quantile * error, rel=1e-3)
    assert text_margin(own[:19] * 10, tokens[:19], 1) == math.inf
    levels = [0.05 / (n * (n + 1)) for n in range(1, 10_000)]
    assert 0.0499 < sum(levels) <= 0.05


def test_the_ledger_keeps_one_line_of_each_question_in_their_order(tmp_path):
    path = tmp_path / "trials.csv"
    assert read_ledger(path) == []
    few = {
        "change": "mlp.a=1 mlp.b=[2,3]",
        "inputs": "2b",
        "pairs": 2,
        "low": -math.inf,
        "high": math.inf,
    }
    other = TRIAL.model_copy(update=few)
    elsewhere = TRIAL.model_copy(update={"text": "0b", "against": "12"})
    elsewhere = elsewhere.confirmed_by(Estimate(-0.01, -0.02, -0.005), 0.25)
    for each in (TRIAL, other, elsewhere):
        add_to_ledger(path, each)
    again = TRIAL.model_copy(update={"pairs": 4, "looks": 2})
    add_to_ledger(path, again)
    assert read_ledger(path) == [again, other, elsewhere]
    third = TRIAL.model_copy(update={"inputs": "3b"})
    assert [each.number(read_ledger(path)) for each in (again, other, third)] == [1, 2, 3]


def test_a_damaged_ledger_is_reported_in_one_line(tmp_path):
    path = tmp_path / "trials.csv"
    add_to_ledger(path, TRIAL)
    good = path.read_text()
    for damaged in (good.replace(",3,1,", ",three,1,"), good + "mlp\n", good + "\udcff,\n"):
        path.write_text(damaged, errors="surrogateescape")
        with pytest.raises(InputError, match=r"trials\.csv is damaged: .+"):
            read_ledger(path)
