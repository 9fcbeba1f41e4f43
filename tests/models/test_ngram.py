"""The count models against their formulas, written out once more with dicts and loops."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from lmladder.arrays import Array, IntArray
from lmladder.errors import InputError
from lmladder.models.counts import CountTables
from lmladder.models.ngram import (
    DEFAULT_DISCOUNTS,
    AddK,
    CountModel,
    KneserNey,
    count_ladder,
    discounts,
)
from lmladder.rng import stream

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

Gram = tuple[int, ...]
Probability = Callable[[int, Gram], float]

SETTINGS = settings(max_examples=60, derandomize=True, deadline=None, database=None)


# --- The reference: probability(w, h), straight from the formulas ---------------------------------


def grams_of(text: list[int], order: int) -> list[Gram]:
    return [tuple(text[i : i + order]) for i in range(len(text) - order + 1)]


def slow_add_k(text: list[int], vocabulary_size: int, order: int, k: float) -> Probability:
    counts = [Counter(grams_of(text, n)) for n in range(order + 1)]

    def probability(token: int, past: Gram) -> float:
        h = past[len(past) - min(order - 1, len(past)) :]
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

    return lambda token, past: recursion(token, past[len(past) - min(order - 1, len(past)) :])


# --- Texts and models -----------------------------------------------------------------------------


def made_text(length: int, vocabulary_size: int, name: str = "text") -> IntArray:
    """A text with habits: some n-grams are frequent, many are rare; token V - 1 never occurs."""
    rng = stream(0, name)
    steps = np.minimum(rng.geometric(0.55, size=length), vocabulary_size - 1)
    tokens: IntArray = np.cumsum(steps * rng.integers(1, 3, size=length)) % (vocabulary_size - 1)
    return tokens


def ladder_of(
    text: IntArray, vocabulary_size: int, orders: tuple[int, ...] = (1, 2, 3, 5)
) -> dict[str, CountModel]:
    tables = CountTables.count(text, vocabulary_size, max(3, *orders))
    return count_ladder(tables, add_k=0.3, kneser_ney_orders=orders)


VOCABULARY_SIZE = 7
TEXT = made_text(400, VOCABULARY_SIZE)
LADDER = ladder_of(TEXT, VOCABULARY_SIZE)
every_member = pytest.mark.parametrize("member", LADDER)


def rows_with_seen_and_unseen_contexts() -> IntArray:
    unseen = stream(1, "rows").integers(VOCABULARY_SIZE, size=(6, 9))
    return np.concatenate([unseen, TEXT[:54].reshape(6, 9), TEXT[-9:].reshape(1, 9)])


def assert_agrees(model: CountModel, reference: Probability, rows: IntArray) -> None:
    nats = model.nats(rows)
    for r, row in enumerate(rows.tolist()):
        for t in range(len(row)):
            past = tuple(row[:t])
            expected = [reference(v, past) for v in range(model.vocabulary_size)]
            log_p = model.next_log_probabilities(rows[r : r + 1, :t])[0]
            np.testing.assert_allclose(np.exp(log_p), expected, rtol=0, atol=1e-10)
            if t > 0:
                np.testing.assert_allclose(nats[r, t - 1], -np.log(expected[row[t]]), atol=1e-10)


# --- The formulas ---------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_add_k_is_its_formula(order: int) -> None:
    model = AddK(CountTables.count(TEXT, VOCABULARY_SIZE, 4), order, 0.3)
    reference = slow_add_k(TEXT.tolist(), VOCABULARY_SIZE, order, 0.3)
    assert_agrees(model, reference, rows_with_seen_and_unseen_contexts())


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_kneser_ney_is_its_formula(order: int) -> None:
    model = KneserNey(CountTables.count(TEXT, VOCABULARY_SIZE, 6), order)
    reference = slow_kneser_ney(TEXT.tolist(), VOCABULARY_SIZE, order)
    assert_agrees(model, reference, rows_with_seen_and_unseen_contexts())


@SETTINGS
@given(
    text=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    row=st.lists(st.integers(0, 3), max_size=7),
    order=st.integers(1, 5),
)
def test_any_small_text_gives_the_formulas(text: list[int], row: list[int], order: int) -> None:
    tables = CountTables.count(np.array(text), 4, order)
    rows = np.array([row], dtype=np.int64)
    assert_agrees(KneserNey(tables, order), slow_kneser_ney(text, 4, order), rows)
    assert_agrees(AddK(tables, order, 1.0), slow_add_k(text, 4, order, 1.0), rows)


def test_the_formula_tests_meet_estimated_and_default_discounts() -> None:
    tables = CountTables.count(TEXT, VOCABULARY_SIZE, 5)
    used = [discounts(counts) for counts in [*tables.continuation_counts, tables.counts(5)]]
    assert DEFAULT_DISCOUNTS in used
    assert any(three != DEFAULT_DISCOUNTS for three in used)


def test_discounts_follow_chen_and_goodman() -> None:
    counts = np.repeat([0, 1, 2, 3, 4, 5], [9, 40, 20, 10, 6, 3])
    y = 40 / (40 + 2 * 20)
    expected = (1 - 2 * y * 20 / 40, 2 - 3 * y * 10 / 20, 3 - 4 * y * 6 / 10)
    assert discounts(counts) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    "times",
    [[], [5], [0, 3, 2, 1], [3, 0, 2, 1], [3, 2, 0, 1], [3, 2, 1, 0], [1, 1, 9, 1]],
    ids=["no-counts", "n1-alone", "n1=0", "n2=0", "n3=0", "n4=0", "negative-D2"],
)
def test_discounts_that_cannot_be_estimated_are_the_default(times: list[int]) -> None:
    counts = np.repeat(np.arange(1, len(times) + 1), times)
    assert discounts(counts) == DEFAULT_DISCOUNTS


def test_a_word_that_follows_one_word_alone_is_a_poor_guess_elsewhere() -> None:
    san, francisco, the, a, dog, cat = range(6)
    text = [san, francisco] * 5 + [the, dog, a, dog, san, dog, the, cat, a, cat, san, francisco]
    log_p = KneserNey(CountTables.count(np.array(text), 7, 2), 2).next_log_probabilities
    after_unseen = log_p(np.array([[6]]))[0]
    assert text.count(francisco) > text.count(dog)
    assert after_unseen[dog] > after_unseen[francisco]


# --- What every member promises -------------------------------------------------------------------


@every_member
@pytest.mark.parametrize("length", [0, 1, 2, 3, 9])
def test_probabilities_sum_to_one_in_seen_unseen_and_short_contexts(
    member: str, length: int
) -> None:
    rows = rows_with_seen_and_unseen_contexts()
    # The text's last tokens are a context that nothing follows.
    contexts = np.concatenate([rows[:, :length], rows[:, 9 - length :]])
    sums = np.exp(LADDER[member].next_log_probabilities(contexts)).sum(axis=1)
    np.testing.assert_allclose(sums, 1, rtol=1e-13)


@every_member
def test_no_token_is_impossible(member: str) -> None:
    rows = rows_with_seen_and_unseen_contexts()
    assert np.all(np.isfinite(LADDER[member].next_log_probabilities(rows)))


@every_member
def test_nats_and_next_log_probabilities_agree(member: str) -> None:
    model, rows = LADDER[member], rows_with_seen_and_unseen_contexts()
    nats = model.nats(rows)
    for t in range(1, rows.shape[1]):
        log_p = model.next_log_probabilities(rows[:, :t])
        here = -log_p[np.arange(len(rows)), rows[:, t]]
        np.testing.assert_allclose(nats[:, t - 1], here, rtol=0, atol=1e-12)


@every_member
def test_later_tokens_do_not_change_earlier_nats(member: str) -> None:
    model, rows = LADDER[member], rows_with_seen_and_unseen_contexts()
    changed = rows.copy()
    changed[:, 5:] = (changed[:, 5:] + 1) % VOCABULARY_SIZE
    np.testing.assert_array_equal(model.nats(changed)[:, :4], model.nats(rows)[:, :4])


@every_member
def test_tokens_before_the_context_do_not_matter(member: str) -> None:
    model, rows = LADDER[member], rows_with_seen_and_unseen_contexts()
    context = rows[:, rows.shape[1] - model.context_length :]
    np.testing.assert_array_equal(
        model.next_log_probabilities(rows), model.next_log_probabilities(context)
    )


@every_member
def test_rows_scored_separately_equal_rows_scored_together(member: str) -> None:
    model, rows = LADDER[member], rows_with_seen_and_unseen_contexts()
    one_by_one = np.concatenate([model.nats(row[np.newaxis]) for row in rows])
    np.testing.assert_array_equal(one_by_one, model.nats(rows))


@every_member
@pytest.mark.parametrize("shape", [(2, 0), (2, 1), (0, 0), (0, 5)])
def test_empty_rows_have_no_nats_but_a_next_token(member: str, shape: tuple[int, int]) -> None:
    model, rows = LADDER[member], np.zeros(shape, dtype=np.int64)
    assert model.nats(rows).shape == (shape[0], max(shape[1] - 1, 0))
    assert model.next_log_probabilities(rows).shape == (shape[0], VOCABULARY_SIZE)


@every_member
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_the_dtype_of_tokens_does_not_matter(member: str, dtype: type) -> None:
    model, rows = LADDER[member], rows_with_seen_and_unseen_contexts()
    nats = model.nats(rows.astype(dtype))
    assert nats.dtype == np.float64
    np.testing.assert_array_equal(nats, model.nats(rows))


@every_member
@pytest.mark.parametrize("token", [-1, VOCABULARY_SIZE])
def test_a_token_outside_the_vocabulary_is_refused(member: str, token: int) -> None:
    rows = np.array([[0, token, 1]])
    with pytest.raises(ValueError, match=r"tokens must lie in \[0, 7\)"):
        LADDER[member].nats(rows)
    with pytest.raises(ValueError, match=r"tokens must lie in \[0, 7\)"):
        LADDER[member].next_log_probabilities(rows)


@every_member
def test_tokens_that_are_no_rows_are_refused(member: str) -> None:
    with pytest.raises(ValueError, match=r"shape \(rows, length\)"):
        LADDER[member].nats(TEXT)


def test_members_know_their_context_and_size() -> None:
    distinct = [len(set(grams_of(TEXT.tolist(), n))) for n in range(1, 6)]
    facts = {n: (m.context_length, m.n_parameters, m.max_length) for n, m in LADDER.items()}
    assert facts == {
        "uniform": (0, 0, None),
        "unigram": (0, distinct[0], None),
        "bigram": (1, sum(distinct[:2]), None),
        "trigram": (2, sum(distinct[:3]), None),
        "kneser_ney_1": (0, distinct[0], None),
        "kneser_ney_2": (1, sum(distinct[:2]), None),
        "kneser_ney_3": (2, sum(distinct[:3]), None),
        "kneser_ney_5": (4, sum(distinct), None),
    }


def test_the_ladder_is_in_order_whatever_order_is_asked_for() -> None:
    tables = CountTables.count(TEXT, VOCABULARY_SIZE, 4)
    ladder = count_ladder(tables, add_k=1.0, kneser_ney_orders=[4, 2, 4])
    assert list(ladder) == [
        "uniform", "unigram", "bigram", "trigram", "kneser_ney_2", "kneser_ney_4",
    ]  # fmt: skip


# --- Edges and errors -----------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_text_shorter_than_the_order_still_gives_a_ladder(length: int) -> None:
    ladder = ladder_of(np.arange(length), vocabulary_size=4, orders=(3, 6))
    rows = np.array([[0, 1, 2, 3, 0, 1, 2]])
    for model in ladder.values():
        assert np.all(np.isfinite(model.nats(rows)))
        assert np.exp(model.next_log_probabilities(rows)).sum() == pytest.approx(1)


def test_add_k_in_an_unseen_context_is_uniform() -> None:
    log_p = LADDER["bigram"].next_log_probabilities(np.array([[VOCABULARY_SIZE - 1]]))
    np.testing.assert_allclose(log_p, -np.log(VOCABULARY_SIZE), rtol=1e-15)


def test_an_empty_text_is_an_input_error() -> None:
    with pytest.raises(InputError, match="length 0"):
        CountTables.count(np.zeros(0, dtype=np.int64), 4, 3)


@pytest.mark.parametrize("k", [0, -1.0, np.inf, np.nan])
def test_add_k_needs_a_finite_k_above_zero(k: float) -> None:
    with pytest.raises(InputError, match="above 0"):
        AddK(CountTables.count(TEXT, VOCABULARY_SIZE, 2), 2, k)


@pytest.mark.parametrize("order", [0, 3])
def test_an_order_that_was_not_counted_is_an_input_error(order: int) -> None:
    tables = CountTables.count(TEXT, VOCABULARY_SIZE, 2)
    with pytest.raises(InputError, match=f"Kneser-Ney model of order {order} .* orders 1 to 2"):
        KneserNey(tables, order)
    with pytest.raises(InputError, match=f"add-k model of order {order} .* orders 1 to 2"):
        AddK(tables, order, 1.0)


def test_counting_to_order_zero_is_an_input_error() -> None:
    with pytest.raises(InputError, match="at least 1"):
        CountTables.count(TEXT, VOCABULARY_SIZE, 0)


def test_keys_beyond_64_bits_are_an_input_error() -> None:
    with pytest.raises(InputError, match="64 bits"):
        CountTables.count(np.array([0, 1, 2, 3]), 2**61, 2)


def test_a_large_vocabulary_is_counted_exactly() -> None:
    vocabulary_size = 2**40
    text = np.array([2**40 - 1, 5, 2**40 - 1, 5, 2**33, 5, 2**40 - 1])
    tables = CountTables.count(text, vocabulary_size, 3)
    assert [tables.counts(n).tolist() for n in (1, 2, 3)] == [[3, 1, 3], [1, 2, 1, 2], [1] * 5]


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.array([0, 4]), r"\[0, 4\)"),
        (np.array([-1, 0]), r"\[0, 4\)"),
        (np.array([0.0, 1.0]), "integers, not float64"),
        (np.zeros((2, 3), dtype=np.int64), r"shape \(length,\)"),
    ],
)
def test_tokens_that_are_no_text_cannot_be_counted(tokens: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CountTables.count(tokens, 4, 2)


# --- Tables ---------------------------------------------------------------------------------------


@SETTINGS
@given(text=st.lists(st.integers(0, 3), min_size=1, max_size=40), order=st.integers(1, 5))
def test_tables_hold_the_counts_of_a_dict(text: list[int], order: int) -> None:
    tables = CountTables.count(np.array(text), 4, order)
    for n in range(1, order + 1):
        expected = Counter(grams_of(text, n))
        assert tables.size(n) == len(expected)
        assert tables.counts(n).tolist() == [expected[gram] for gram in sorted(expected)]
    for n, continuations in enumerate(tables.continuation_counts, 1):
        before = Counter(longer[1:] for longer in set(grams_of(text, n + 1)))
        assert continuations.tolist() == [before[gram] for gram in sorted(set(grams_of(text, n)))]


@pytest.mark.parametrize("length", [2, 400])
def test_tables_survive_the_round_trip_through_arrays(length: int) -> None:
    tables = CountTables.count(TEXT[:length], VOCABULARY_SIZE, 5)
    again = CountTables.from_arrays(tables.arrays(), VOCABULARY_SIZE)
    assert again.order == tables.order
    for name, array in tables.arrays().items():
        assert again.arrays()[name].dtype == array.dtype
        np.testing.assert_array_equal(again.arrays()[name], array)
    rows = rows_with_seen_and_unseen_contexts()
    np.testing.assert_array_equal(KneserNey(again, 5).nats(rows), KneserNey(tables, 5).nats(rows))


def test_arrays_are_compact() -> None:
    arrays = CountTables.count(np.tile(np.arange(200), 500), 200, 2).arrays()
    assert {name: array.dtype.name for name, array in arrays.items()} == {
        "keys_1": "uint8", "counts_1": "uint16", "keys_2": "uint16", "counts_2": "uint16",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("keys_1", lambda a: a[::-1]),
        ("keys_1", lambda a: a + VOCABULARY_SIZE),
        ("keys_2", lambda a: a.astype(np.float64)),
        ("keys_2", lambda a: a.reshape(1, -1)),
        ("keys_2", lambda a: np.append(a[:-1], a[-2])),
        ("keys_3", lambda a: a.astype(np.int64) - 1_000),
        ("counts_1", lambda a: a[:-1]),
        ("counts_1", lambda a: a.astype(np.uint64) + 2**63),
        ("counts_2", lambda a: a * 0),
        ("counts_2", lambda a: a.astype(np.float64)),
        ("counts_3", lambda a: a + 1),
    ],
)
def test_malformed_arrays_are_refused_by_name(name: str, damage: Callable[[Array], Array]) -> None:
    arrays = CountTables.count(TEXT, VOCABULARY_SIZE, 3).arrays()
    with pytest.raises(ValueError, match=f"^{name} "):
        CountTables.from_arrays({**arrays, name: damage(arrays[name])}, VOCABULARY_SIZE)


def test_an_ngram_whose_suffix_was_not_counted_is_refused() -> None:
    # The text 012 has no 10, so no 010 either.
    arrays = CountTables.count(np.array([0, 1, 2]), 3, 3).arrays()
    arrays["keys_3"] = np.array([0 * 3 + 0])
    with pytest.raises(ValueError, match=r"^keys_3 holds an n-gram whose suffix was not counted"):
        CountTables.from_arrays(arrays, 3)


@pytest.mark.parametrize("missing", ["keys_1", "counts_2", "keys_3"])
def test_a_missing_array_is_refused(missing: str) -> None:
    arrays = CountTables.count(TEXT, VOCABULARY_SIZE, 3).arrays()
    del arrays[missing]
    with pytest.raises(ValueError, match="count tables are arrays keys_1, counts_1"):
        CountTables.from_arrays(arrays, VOCABULARY_SIZE)


def test_no_arrays_are_no_tables() -> None:
    with pytest.raises(ValueError, match="count tables are arrays"):
        CountTables.from_arrays({}, VOCABULARY_SIZE)


# --- Known answers --------------------------------------------------------------------------------


def test_the_bigram_approaches_the_entropy_of_a_markov_source() -> None:
    rng = stream(0, "markov")
    transitions = rng.dirichlet(np.full(6, 0.5), size=6)
    cumulative = transitions.cumsum(axis=1).tolist()
    text = [0]
    for u in rng.random(60_000).tolist():
        text.append(min(sum(bound < u for bound in cumulative[text[-1]]), 5))
    train, unseen_text = np.array(text[:40_000]), np.array(text[40_000:])
    true_nats = -np.log(transitions[unseen_text[:-1], unseen_text[1:]]).mean()

    ladder = ladder_of(train, vocabulary_size=6, orders=(2,))
    nats = {name: model.nats(unseen_text[np.newaxis]).mean() for name, model in ladder.items()}
    assert abs(nats["bigram"] - true_nats) < 0.002
    assert abs(nats["kneser_ney_2"] - true_nats) < 0.002
    assert nats["unigram"] > true_nats + 0.1


@pytest.fixture(scope="module")
def shakespeare() -> dict[str, float]:
    """Nats per validation token of each member, fitted to 90 % of Tiny Shakespeare's characters."""
    folder = Path(__file__).parents[2] / "data"
    path = Path(os.environ.get("LMLADDER_DATA", folder)) / "tinyshakespeare.txt"
    if not path.exists():
        pytest.skip(f"Tiny Shakespeare is not at {path}; LMLADDER_DATA names its folder")
    characters = np.array([ord(c) for c in path.read_bytes().decode("utf-8")])
    alphabet, tokens = np.unique(characters, return_inverse=True)
    n_train = int(0.9 * len(tokens))
    tables = CountTables.count(tokens[:n_train], len(alphabet), 8)
    ladder = count_ladder(tables, add_k=1.0, kneser_ney_orders=[3, 5, 8])
    past = 7  # tokens of the training text that stand before the first scored token
    row = tokens[np.newaxis, n_train - 1 - past :]
    scores = {name: model.nats(row)[0, past:] for name, model in ladder.items()}
    assert {len(nats) for nats in scores.values()} == {111_540}
    return {name: float(nats.mean()) for name, nats in scores.items()}


def test_shakespeare_has_its_known_scores(shakespeare: dict[str, float]) -> None:
    floors = {name: round(shakespeare[name], 4) for name in ("uniform", "unigram", "bigram")}
    assert floors == {"uniform": 4.1744, "unigram": 3.3473, "bigram": 2.4819}


def test_kneser_ney_is_clearly_better_than_the_trigram(shakespeare: dict[str, float]) -> None:
    assert shakespeare["kneser_ney_3"] < shakespeare["trigram"] - 0.02
    assert shakespeare["kneser_ney_5"] < shakespeare["trigram"] - 0.4
    assert shakespeare["kneser_ney_8"] < shakespeare["kneser_ney_5"]
