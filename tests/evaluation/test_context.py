"""Losses by the length of the context, on texts for which the benefit of context is known."""

from lmladder.evaluation import ContextLosses, context_ranges
from lmladder.system.streams import stream

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


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
