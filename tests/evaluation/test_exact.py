"""The protocol of scoring, seen through models that report what they read."""

import math
from threading import Barrier
from typing import Any

from lmladder.evaluation import Score, token_nll
from lmladder.kernels import set_threads
from lmladder.system.arrays import FloatArray, IntArray
from tests.models.examples import COUNT_MODELS, VOCABULARY, Fake, draw

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


class Probe(Fake):
    """A model whose "nats" encode the token, the one before it, and the number of those before."""

    def __init__(self, context_length: int, max_length: int | None):
        super().__init__(VOCABULARY, context_length, max_length, nll=self.encode)
        self.shapes: list[tuple[int, ...]] = []

    def encode(self, tokens: IntArray) -> FloatArray:
        self.shapes.append(tokens.shape)
        count, length = tokens.shape
        assert self.max_length is None or length <= self.max_length + 1
        seen = np.broadcast_to(np.arange(1, length), (count, length - 1))
        return tokens[:, 1:] + 100.0 * tokens[:, :-1] + 10_000.0 * seen


def decoded(nats: FloatArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return token, the one before it, and the number of those before, of each score."""
    values = nats.astype(np.int64)
    return values % 100, values // 100 % 100, values // 10_000


def nll(
    model: Any, tokens: IntArray, preceding: IntArray, min_context: float = 0.5, size: int = 16
) -> FloatArray:
    return token_nll(model, tokens, preceding, min_context=min_context, batch_tokens=size)


@given(
    n_tokens=st.integers(1, 40),
    n_preceding=st.integers(1, 20),
    length=st.integers(1, 12),
    bounded=st.booleans(),
    min_context=st.sampled_from([0.0, 0.3, 0.5, 0.75, 0.99]),
    batch_tokens=st.sampled_from([1, 5, 16, 1000]),
)
@settings(max_examples=150, derandomize=True, deadline=None, database=None)
def test_every_token_is_scored_once_with_at_least_the_promised_context(
    n_tokens: int,
    n_preceding: int,
    length: int,
    bounded: bool,
    min_context: float,
    batch_tokens: int,
) -> None:
    model = Probe(length, length if bounded else None)
    tokens, preceding = draw("tokens", n_tokens), draw("preceding", n_preceding)
    token, before, seen = decoded(nll(model, tokens, preceding, min_context, batch_tokens))
    np.testing.assert_array_equal(token, tokens)
    np.testing.assert_array_equal(before, np.append(preceding[-1], tokens[:-1]))
    promised = max(1, min(length - 1, math.ceil(length * min_context))) if bounded else length
    available = n_preceding + np.arange(n_tokens)
    assert (seen >= np.minimum(available, promised)).all()
    assert all(count == 1 or count * (w - 1) <= batch_tokens for count, w in model.shapes)


@pytest.mark.parametrize(("max_length", "window"), [(8, 8), (12, 10), (None, 10)])
def test_windows_of_crops_do_not_overlap_and_begin_with_one_token(
    max_length: int | None, window: int
) -> None:
    model, tokens, preceding = Probe(8, max_length), draw("tokens", 30), draw("preceding", 50)
    token, before, seen = decoded(
        token_nll(model, tokens, preceding, min_context=0.5, batch_tokens=16, crop=10)
    )
    np.testing.assert_array_equal(token, tokens)
    np.testing.assert_array_equal(before, np.append(preceding[-1], tokens[:-1]))
    whole = len(tokens) // window * window
    np.testing.assert_array_equal(seen[:whole], np.arange(whole) % window + 1)
    assert (seen[whole:] >= np.arange(len(tokens) - whole) + 1).all()  # ends with the text


@pytest.mark.parametrize("n_threads", [1, 2])
def test_threads_read_batches_of_a_concurrent_model_at_the_same_time(n_threads: int) -> None:
    set_threads(n_threads)
    tokens, preceding, meeting = draw("tokens", 64), draw("preceding", 50), Barrier(n_threads)

    class Concurrent(Probe):
        is_concurrent = True

        def encode(self, tokens: IntArray) -> FloatArray:
            meeting.wait(timeout=20)
            return super().encode(tokens)

    found = nll(Concurrent(5, None), tokens, preceding)  # 4 batches
    np.testing.assert_array_equal(found, nll(Probe(5, None), tokens, preceding))
    for model in COUNT_MODELS.values():
        set_threads(n_threads)
        found = nll(model, tokens, preceding)
        set_threads(1)
        assert found.tobytes() == nll(model, tokens, preceding).tobytes()


def test_scores_of_known_texts() -> None:
    known = Score(tokens=4, bytes=8, nats=8 * math.log(2))
    assert known.nats_per_token == pytest.approx(2 * math.log(2))
    assert known.perplexity == pytest.approx(4)
    assert known.bits_per_byte == pytest.approx(1)
    assert Score(tokens=1, bytes=1, nats=1e9).perplexity == math.inf
    advanced: list[int] = []
    options = {"min_context": 0.5, "batch_tokens": 16, "advance": advanced.append}
    uniform = COUNT_MODELS["uniform"]
    found = Score.of(token_nll(uniform, draw("t", 50), draw("p", 1), **options), 100)
    assert (found.tokens, found.bytes, sum(advanced)) == (50, 100, 50)
    assert found.bits_per_byte == pytest.approx(math.log2(VOCABULARY) / 2)
