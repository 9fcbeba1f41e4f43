"""Blocks partition the text, their nats sum to the score, and the file gives back what it was."""

from lmladder.rng import stream
from lmladder.scoring import BlockNats, block_starts, score

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

TEXT = BlockNats("ab" * 32, (1, 9), (8, 8), {"mlp": (1.25, 2.5), "a,b": (0.0, 1e-6)})


class Halves:
    """Every token costs what it is, divided by two."""

    vocabulary_size, n_parameters, context_length, max_length = 7, 0, 3, None

    def nats(self, tokens):
        return tokens[:, 1:] / 2

    def next_log_probabilities(self, tokens):
        raise NotImplementedError


@given(n_tokens=st.integers(0, 10**7))
@settings(max_examples=200, derandomize=True, deadline=None, database=None)
def test_blocks_are_alike_long_and_few(n_tokens):
    starts = block_starts(n_tokens)
    lengths = np.diff(starts, append=n_tokens)
    assert len(starts) <= 256
    assert lengths.sum() == n_tokens
    if n_tokens:
        assert starts[0] == 0
        assert lengths.max() - lengths.min() <= 1
        assert lengths.min() >= min(512, n_tokens)


@pytest.mark.parametrize("n_tokens", [1, 511, 1024, 5000])
def test_the_nats_of_blocks_are_those_of_their_tokens(n_tokens):
    tokens = stream(0, "tokens").integers(7, size=n_tokens)
    found = score(
        Halves(), tokens, tokens[:1], n_bytes=n_tokens, least_context=0.5, batch_tokens=64
    )
    blocks = BlockNats.of_whole_text("ab", n_tokens, {"halves": found.block_nats})
    expected = [
        tokens[first : first + length].sum() / 2
        for first, length in zip(blocks.first, blocks.tokens, strict=True)
    ]
    assert found.block_nats == tuple(expected)
    assert sum(found.block_nats) == found.nats


def test_the_file_gives_back_what_was_written():
    found = BlockNats.from_csv(
        BlockNats(TEXT.data, TEXT.first, TEXT.tokens, {"mlp": (1.25, 2.5)}).to_csv()
    )
    assert found.text == TEXT.text
    assert found.nats["mlp"].tolist() == [1.25, 2.5]


def test_other_data_or_other_blocks_are_another_text():
    others = [
        BlockNats("cd" * 32, (1, 9), (8, 8), {}),
        BlockNats("ab" * 32, (0, 8), (8, 8), {}),
        BlockNats("ab" * 32, (1, 9), (8, 7), {}),
    ]
    assert TEXT.text not in [other.text for other in others]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data,first,tokens,mlp\n",
        "a,b\n1,2\n",
        "data,first,tokens,mlp\nab,0,8,1.0\nab,8,8\n",
        "data,first,tokens,mlp\nab,0,8,1.0\ncd,8,8,1.0\n",
        "data,first,tokens,mlp\nab,0,8,nan\n",
        "data,first,tokens,mlp\nab,0,8,much\n",
        "data,first,tokens,mlp\nab,0,many,1.0\n",
    ],
)
def test_a_damaged_file_is_refused(text):
    with pytest.raises(ValueError, match=r"expected|finite|convert|literal"):
        BlockNats.from_csv(text)
