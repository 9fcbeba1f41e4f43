"""Blocks partition the text, and their nats sum to the score."""

from lmladder.evaluation import Score, block_starts, token_nll
from lmladder.system.streams import stream
from tests.models.examples import Fake

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


@given(n_tokens=st.integers(0, 10**7))
@settings(max_examples=200, derandomize=True, deadline=None, database=None)
def test_blocks_have_similar_lengths_and_are_few(n_tokens: int) -> None:
    starts = block_starts(n_tokens)
    lengths = np.diff(starts, append=n_tokens)
    assert len(starts) <= 256
    assert lengths.sum() == n_tokens
    if n_tokens:
        assert starts[0] == 0
        assert lengths.max() - lengths.min() <= 1
        assert lengths.min() >= min(512, n_tokens)


@pytest.mark.parametrize("n_tokens", [1, 511, 1024, 5000])
def test_the_nats_of_blocks_are_those_of_their_tokens(n_tokens: int) -> None:
    tokens = stream(0, "tokens").integers(7, size=n_tokens)
    halves = Fake(7, 3, nll=lambda tokens: tokens[:, 1:] / 2)
    nats = token_nll(halves, tokens, tokens[:1], min_context=0.5, batch_tokens=64)
    found = Score.of(nats, n_tokens)
    parts = np.split(tokens, block_starts(n_tokens)[1:])
    assert found.block_losses == tuple(each.sum() / 2 for each in parts)
    assert sum(found.block_losses) == found.nats
