"""Losses by the length of the context, on texts for which the benefit of context is known."""

from lmladder.evaluation import ContextLosses, context_ranges, predict
from lmladder.models.counts import CountTables
from lmladder.models.ngram import AddK, KneserNey
from lmladder.system.arrays import IntArray
from lmladder.system.streams import stream

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

VOCABULARY = 5


@given(st.integers(1, 5000))
def test_the_ranges_cover_every_length_once_and_are_few(longest: int) -> None:
    first, last = context_ranges(longest)
    assert (first[0], last[-1]) == (1, longest)
    np.testing.assert_array_equal(first[1:], last[:-1] + 1)
    assert (first <= last).all()
    assert len(last) <= 2 * longest.bit_length()
    assert context_ranges(16)[1].tolist() == [1, 2, 3, 4, 6, 8, 12, 16]


def test_a_range_has_the_mean_of_its_tokens_and_the_error_of_its_sequences() -> None:
    nats = stream(0, "nats").random((7, 6))
    found = ContextLosses.of_sequences(nats)
    assert found.last.tolist() == [1, 2, 3, 4, 6]
    assert found.nats[-1] == pytest.approx(nats[:, 4:6].mean())
    assert found.nats[2] == pytest.approx(nats[:, 2].mean())
    means = nats[:, 4:6].mean(axis=1)
    assert found.standard_error[-1] == pytest.approx(means.std(ddof=1) / 7**0.5)
    single = ContextLosses.of_sequences(np.ones((1, 3)))
    assert single.nats.tolist() == [1, 1, 1]
    assert np.isnan(single.standard_error).all()


def delayed(length: int, delay: int, name: str) -> IntArray:
    """Random tokens, but each is mostly the one `delay` before it."""
    rng = stream(0, name)
    tokens = rng.integers(VOCABULARY, size=length)
    for i in np.flatnonzero(rng.random(length) < 0.9):
        tokens[i] = tokens[i - delay] if i >= delay else tokens[i]
    return tokens


def test_the_loss_falls_once_the_context_includes_what_determines_a_token() -> None:
    delay = 3
    tables = CountTables.count(delayed(20_000, delay, "train"), VOCABULARY, delay + 1)
    sequences = delayed(8_000, delay, "sequences").reshape(-1, 16)
    long, short = (
        ContextLosses.of_sequences(predict(model, sequences, batch_tokens=512).nats).nats
        for model in (KneserNey(tables, delay + 1), AddK(tables, delay, 1.0))
    )
    assert (long[: delay - 1] > 1.4).all()  # log 5 is 1.61
    assert (long[delay - 1 :] < 0.75).all()
    assert (short > 1.4).all()
