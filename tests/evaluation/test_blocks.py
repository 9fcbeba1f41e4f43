"""Blocks partition the text, their nats sum to the score, and the file restores them."""

from lmladder.evaluation import BlockLosses, Score, block_starts, token_nll
from lmladder.system.streams import stream
from tests.models.examples import Fake

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

LOSSES = BlockLosses("00" * 32, (1, 9), (8, 8), {"mlp": (1.25, 2.5), "a,b": (0.0, 1e-6)})


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
    blocks = BlockLosses.of_whole_text("ab", n_tokens, {"halves": found.block_losses})
    pairs = zip(blocks.first, blocks.tokens, strict=True)
    expected = [tokens[first : first + length].sum() / 2 for first, length in pairs]
    assert found.block_losses == tuple(expected)
    assert sum(found.block_losses) == found.nats


def test_the_file_restores_what_was_written() -> None:
    text = LOSSES.to_csv()
    assert text.splitlines()[:2] == [
        'data,first,tokens,mlp,"a,b"',
        "0000000000000000,1,8,1.250000,0.000000",
    ]
    found = BlockLosses.from_csv(text)
    assert found.text == LOSSES.text
    assert {name: tuple(nats) for name, nats in found.nats.items()} == LOSSES.nats


@pytest.mark.parametrize(
    "text",
    [
        "data,first,tokens,mlp\n",
        "data,first,tokens,mlp\nab,0,8,1.0\nab,8,8\n",
        "data,first,tokens,mlp\nab,0,8,1.0\ncd,8,8,1.0\n",
        "data,first,tokens,mlp\nab,0,8,nan\n",
    ],
)
def test_a_damaged_file_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        BlockLosses.from_csv(text)
