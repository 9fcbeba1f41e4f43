"""The count models against their formulas, written once more with dicts and loops."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from lmladder.models.counts import CountTables
from lmladder.models.ngram import (
    DEFAULT_DISCOUNTS,
    AddK,
    CountModel,
    CountSettings,
    KneserNey,
    count_ladder,
    discounts,
)
from lmladder.system.arrays import Array, IntArray
from lmladder.system.errors import InputError
from lmladder.system.streams import stream

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

Gram = tuple[int, ...]
Probability = Callable[[int, Gram], float]

EXAMPLES = settings(max_examples=60, derandomize=True, deadline=None, database=None)
small_texts = st.lists(st.integers(0, 3), min_size=1, max_size=40)


def test_a_text_that_is_counted_in_parts_has_the_same_tables(monkeypatch, capsys):
    tokens = stream(0, "text").integers(5, size=200).astype(np.uint8)
    whole = CountTables.count(tokens, 5, order=4)
    expected = [*whole.arrays().values(), *whole.continuation_counts]
    assert not capsys.readouterr().err
    monkeypatch.setattr("lmladder.models.counts.PART", 7)
    monkeypatch.setattr("lmladder.models.counts.BYTES", 2**50)
    tables = CountTables.count(tokens, 5, order=4)
    in_parts = [*tables.arrays().values(), *tables.continuation_counts]
    assert "warning: 200 tokens may have more n-grams of up to 4" in capsys.readouterr().err
    assert [*map(bytes, in_parts)] == [*map(bytes, expected)]
    assert [each.dtype for each in in_parts] == [each.dtype for each in expected]


# --- The reference: probability(w, h), from the formulas ------------------------------------------


def grams_of(text: list[int], order: int) -> list[Gram]:
    return [tuple(text[i : i + order]) for i in range(len(text) - order + 1)]


def slow_add_k(text: list[int], vocabulary_size: int, order: int, k: float) -> Probability:
    counts = [Counter(grams_of(text, n)) for n in range(order + 1)]

    def probability(token: int, preceding: Gram) -> float:
        h = preceding[len(preceding) - min(order - 1, len(preceding)) :]
        followers = counts[len(h) + 1]
        n_followed = sum(followers[(*h, v)] for v in range(vocabulary_size))
        return (followers[(*h, token)] + k) / (n_followed + k * vocabulary_size)

    return probability


def slow_discounts(counts: list[int]) -> tuple[float, ...]:
    n1, n2, n3, n4 = (counts.count(r) for r in (1, 2, 3, 4))
    if n1 == 0 or n2 == 0 or n3 == 0 or n4 == 0:
        return DEFAULT_DISCOUNTS
    y = n1 / (n1 + 2 * n2)
    three = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return three if all(d > 0 for d in three) else DEFAULT_DISCOUNTS


def slow_kneser_ney(text: list[int], vocabulary_size: int, order: int) -> Probability:
    adjusted: dict[int, Counter[Gram]] = {order: Counter(grams_of(text, order))}
    for n in range(1, order):
        adjusted[n] = Counter(longer[1:] for longer in set(grams_of(text, n + 1)))
    discount_of = {n: slow_discounts(list(a.values())) for n, a in adjusted.items()}

    def recursion(token: int, h: Gram) -> float:
        n = len(h) + 1
        lower = recursion(token, h[1:]) if h else 1 / vocabulary_size
        followers = [adjusted[n][(*h, v)] for v in range(vocabulary_size)]
        total = sum(followers)
        if total == 0:
            return lower
        taken = [discount_of[n][min(a, 3) - 1] if a else 0.0 for a in followers]
        return (followers[token] - taken[token] + sum(taken) * lower) / total

    return lambda token, h: recursion(token, h[max(len(h) - order + 1, 0) :])


def assert_agrees(model: CountModel, reference: Probability, sequences: IntArray) -> None:
    nats, logs = model.nll(sequences), model.log_probabilities(sequences)
    for i, sequence in enumerate(sequences.tolist()):
        for t in range(len(sequence)):
            expected = [reference(v, tuple(sequence[:t])) for v in range(model.vocabulary_size)]
            log_p = model.next_log_probabilities(sequences[i : i + 1, :t])[0]
            np.testing.assert_allclose(np.exp(log_p), expected, rtol=0, atol=1e-10)
            if t > 0:
                assert nats[i, t - 1] == pytest.approx(-np.log(expected[sequence[t]]), abs=1e-10)
                np.testing.assert_array_equal(logs[i, t - 1], log_p)


# --- The formulas ---------------------------------------------------------------------------------


def habitual_text(length: int) -> IntArray:
    """Some n-grams are frequent, many are rare; the last token of the vocabulary never occurs."""
    rng = stream(0, "text")
    steps = np.minimum(rng.geometric(0.55, size=length), V - 1)
    tokens: IntArray = np.cumsum(steps * rng.integers(1, 3, size=length)) % (V - 1)
    return tokens


V = 7
TEXT = habitual_text(400)
TABLES = CountTables.count(TEXT, V, 6)
LADDER = count_ladder(TABLES, CountSettings(add_k=0.3, kneser_ney_orders=[1, 2, 3, 5]))


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_add_k_and_kneser_ney_are_their_formulas(order: int) -> None:
    unseen = stream(1, "sequences").integers(V, size=(6, 9))
    # The text's last tokens are a context that nothing follows.
    sequences = np.concatenate([unseen, TEXT[:54].reshape(6, 9), TEXT[-9:].reshape(1, 9)])
    text = TEXT.tolist()
    assert_agrees(AddK(TABLES, order, 0.3), slow_add_k(text, V, order, 0.3), sequences)
    assert_agrees(KneserNey(TABLES, order), slow_kneser_ney(text, V, order), sequences)


@EXAMPLES
@given(text=small_texts, sequence=st.lists(st.integers(0, 3), max_size=7), order=st.integers(1, 5))
def test_any_small_text_gives_the_formulas(
    text: list[int], sequence: list[int], order: int
) -> None:
    tables = CountTables.count(np.array(text), 4, order)
    sequences = np.array([sequence], dtype=np.int64)
    assert_agrees(KneserNey(tables, order), slow_kneser_ney(text, 4, order), sequences)
    assert_agrees(AddK(tables, order, 1.0), slow_add_k(text, 4, order, 1.0), sequences)


def test_discounts_follow_chen_and_goodman() -> None:
    counts = np.repeat([0, 1, 2, 3, 4, 5], [9, 40, 20, 10, 6, 3])
    y = 40 / (40 + 2 * 20)
    expected = (1 - 2 * y * 20 / 40, 2 - 3 * y * 10 / 20, 3 - 4 * y * 6 / 10)
    assert discounts(counts) == pytest.approx(expected, rel=1e-15)
    for n in ([], [5], [0, 3, 2, 1], [3, 0, 2, 1], [3, 2, 0, 1], [3, 2, 1, 0], [1, 1, 9, 1]):
        # n1, n2, n3 or n4 is 0, or D2 is negative
        assert discounts(np.repeat(np.arange(1, len(n) + 1), n)) == DEFAULT_DISCOUNTS
    used = [discounts(each) for each in [*TABLES.continuation_counts, TABLES.counts(6)]]
    assert DEFAULT_DISCOUNTS in used  # so the formula tests have both kinds
    assert set(used) != {DEFAULT_DISCOUNTS}


# --- The ladder -----------------------------------------------------------------------------------


CONTEXTS = {"unigram": 0, "bigram": 1, "trigram": 2}
CONTEXTS |= {f"kneser_ney_{order}": order - 1 for order in (1, 2, 3, 5)}


def test_models_know_their_context_and_size() -> None:
    distinct = [len(set(grams_of(TEXT.tolist(), n))) for n in range(1, 6)]
    facts = [(name, m.context_length, m.n_parameters, m.max_length) for name, m in LADDER.items()]
    assert facts == [
        ("uniform", 0, 0, None),
        *((name, n, sum(distinct[: n + 1]), None) for name, n in CONTEXTS.items()),
    ]
    others = count_ladder(TABLES, CountSettings(add_k=1.0, kneser_ney_orders=[4, 2, 4]))
    assert list(others)[4:] == ["kneser_ney_2", "kneser_ney_4"]


def count(tokens: Array, vocabulary_size: int = 4) -> Any:
    return CountTables.count(tokens, vocabulary_size, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: count(np.array([0, 1, 2, 3]), 2**61), InputError, "exceed 64 bits"),
        (lambda: count(np.array([0, 4])), ValueError, r"must be in \[0, 4\), got 0 to 4"),
        (lambda: LADDER["trigram"].nll(np.array([[0, -1, 1]])), ValueError, r"\[0, 7\), got -1"),
    ],
)
def test_what_cannot_be_counted_is_rejected(
    call: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()


# --- Tables ---------------------------------------------------------------------------------------


def test_a_large_vocabulary_is_counted_exactly() -> None:
    text = np.array([2**40 - 1, 5, 2**40 - 1, 5, 2**33, 5, 2**40 - 1])
    tables = CountTables.count(text, 2**40, 3)
    assert [tables.counts(n).tolist() for n in (1, 2, 3)] == [[3, 1, 3], [1, 2, 1, 2], [1] * 5]
