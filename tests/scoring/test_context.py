"""Losses by the length of the past, on texts of which it is known how much a past is worth."""

from lmladder.arrays import IntArray
from lmladder.models.counts import CountTables
from lmladder.models.ngram import AddK, KneserNey
from lmladder.rng import stream
from lmladder.scoring import ContextLosses, context_ranges, predict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

VOCABULARY = 5


@given(st.integers(1, 5000))
def test_the_ranges_cover_every_length_once_and_there_are_few(longest: int) -> None:
    first, last = context_ranges(longest)
    assert first[0] == 1
    assert last[-1] == longest
    np.testing.assert_array_equal(first[1:], last[:-1] + 1)
    assert (first <= last).all()
    assert len(last) <= 2 * longest.bit_length()


def test_short_pasts_have_a_range_each() -> None:
    first, last = context_ranges(16)
    assert (first[:4].tolist(), last[:4].tolist()) == ([1, 2, 3, 4], [1, 2, 3, 4])
    assert last.tolist() == [1, 2, 3, 4, 6, 8, 12, 16]


def test_a_range_has_the_mean_of_its_tokens_and_the_error_of_its_rows() -> None:
    nats = stream(0, "nats").random((7, 6))
    found = ContextLosses.of_rows(nats)
    assert found.last.tolist() == [1, 2, 3, 4, 6]
    rows = nats[:, 4:6].mean(axis=1)
    assert found.nats[-1] == pytest.approx(nats[:, 4:6].mean())
    assert found.standard_error[-1] == pytest.approx(rows.std(ddof=1) / 7**0.5)
    assert found.nats[2] == pytest.approx(nats[:, 2].mean())


def test_the_error_of_one_row_is_unknown() -> None:
    found = ContextLosses.of_rows(np.ones((1, 3)))
    assert found.nats.tolist() == [1, 1, 1]
    assert np.isnan(found.standard_error).all()


def test_the_error_tells_by_how_much_other_rows_would_differ() -> None:
    rng = stream(0, "errors")
    drawn = [ContextLosses.of_rows(rng.normal(size=(50, 8))) for _ in range(300)]
    spread = np.std([each.nats for each in drawn], axis=0)
    told = np.mean([each.standard_error for each in drawn], axis=0)
    np.testing.assert_allclose(told, spread, rtol=0.15)


def delayed(length: int, delay: int, name: str) -> IntArray:
    """Random tokens, but each is mostly the one `delay` before it."""
    rng = stream(0, name)
    tokens = rng.integers(VOCABULARY, size=length)
    for place in np.flatnonzero(rng.random(length) < 0.9):
        if place >= delay:
            tokens[place] = tokens[place - delay]
    return tokens


def test_the_loss_falls_once_the_past_reaches_back_to_what_decides_and_not_before() -> None:
    delay = 3
    tables = CountTables.count(delayed(20_000, delay, "train"), VOCABULARY, delay + 1)
    rows = delayed(8_000, delay, "rows").reshape(-1, 16)
    knows = predict(KneserNey(tables, delay + 1), rows, batch_tokens=512)
    losses = ContextLosses.of_rows(knows.nats)
    short, long = losses.nats[: delay - 1], losses.nats[delay - 1 :]
    assert (short > 1.4).all()  # log 5 is 1.61
    assert (long < 0.75).all()
    cannot = predict(AddK(tables, delay, 1.0), rows, batch_tokens=512)
    assert (ContextLosses.of_rows(cannot.nats).nats > 1.4).all()
