"""The protocol of scoring, seen through models that report what they were shown."""

import math

from lmladder.arrays import FloatArray, IntArray
from lmladder.config import MlpArchitecture, TransformerArchitecture
from lmladder.models import LanguageModel, build_neural
from lmladder.models.counts import CountTables
from lmladder.models.ngram import count_ladder
from lmladder.rng import stream
from lmladder.scoring import Score, score, token_nats

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

VOCABULARY = 7
SETTINGS = settings(max_examples=150, derandomize=True, deadline=None, database=None)


class Probe:
    """A model whose "nats" tell what it saw: the token, the one before it, how many before it."""

    vocabulary_size = VOCABULARY
    n_parameters = 0

    def __init__(self, context_length: int, max_length: int | None) -> None:
        self.context_length = context_length
        self.max_length = max_length
        self.shapes: list[tuple[int, ...]] = []

    def nats(self, tokens: IntArray) -> FloatArray:
        self.shapes.append(tokens.shape)
        rows, length = tokens.shape
        assert self.max_length is None or length <= self.max_length + 1
        seen = np.broadcast_to(np.arange(1, length), (rows, length - 1))
        return tokens[:, 1:] + 10.0 * tokens[:, :-1] + 100.0 * seen

    def next_log_probabilities(self, tokens: IntArray) -> FloatArray:
        raise NotImplementedError


def read(nats: FloatArray) -> tuple[IntArray, IntArray, IntArray]:
    """Token, the one before it, and how many were seen, of each score of a `Probe`."""
    numbers = nats.astype(np.int64)
    return numbers % 10, numbers // 10 % 10, numbers // 100


def draw(name: str, length: int) -> IntArray:
    return stream(0, name).integers(VOCABULARY, size=length)


# --- Each token once, with its context ------------------------------------------------------------


@given(
    n_tokens=st.integers(1, 40),
    n_past=st.integers(1, 20),
    length=st.integers(1, 12),
    bounded=st.booleans(),
    least_context=st.sampled_from([0.0, 0.3, 0.5, 0.75, 0.99]),
    batch_tokens=st.sampled_from([1, 5, 16, 1000]),
)
@SETTINGS
def test_every_token_is_scored_once_with_at_least_the_promised_context(
    n_tokens: int,
    n_past: int,
    length: int,
    bounded: bool,
    least_context: float,
    batch_tokens: int,
) -> None:
    model = Probe(length, length if bounded else None)
    tokens, past = draw("tokens", n_tokens), draw("past", n_past)
    nats = token_nats(model, tokens, past, least_context=least_context, batch_tokens=batch_tokens)
    token, before, seen = read(nats)
    np.testing.assert_array_equal(token, tokens)
    np.testing.assert_array_equal(before, np.append(past[-1], tokens[:-1]))
    promised = length
    if bounded:
        promised = max(1, min(length - 1, math.ceil(length * least_context)))
    available = n_past + np.arange(n_tokens)
    assert (seen >= np.minimum(available, promised)).all()
    assert all(rows == 1 or rows * (width - 1) <= batch_tokens for rows, width in model.shapes)


@pytest.mark.parametrize("max_length", [8, None])
@pytest.mark.parametrize("n_past", [1, 3, 4, 5, 30])
@pytest.mark.parametrize("n_tokens", [1, 2, 3, 4, 5, 8, 9])
def test_a_text_shorter_than_a_window_is_scored_in_one(
    n_tokens: int, n_past: int, max_length: int | None
) -> None:
    model = Probe(8, max_length)
    tokens, past = draw("tokens", n_tokens), draw("past", n_past)
    token, _, seen = read(token_nats(model, tokens, past, least_context=0.5, batch_tokens=100))
    np.testing.assert_array_equal(token, tokens)
    lead = min(n_past, 4 if max_length else 8)
    if lead + n_tokens <= 9:
        np.testing.assert_array_equal(seen, lead + np.arange(n_tokens))


@pytest.mark.parametrize("max_length", [8, None])
def test_an_empty_text_has_no_scores(max_length: int | None) -> None:
    found = token_nats(
        Probe(8, max_length), draw("t", 0), draw("p", 3), least_context=0.5, batch_tokens=9
    )
    assert found.shape == (0,)


def test_later_windows_begin_no_further_back_than_they_promise() -> None:
    model = Probe(8, 8)
    _, _, seen = read(
        token_nats(model, draw("t", 33), draw("p", 1), least_context=0.5, batch_tokens=8)
    )
    # 8 tokens, then 4 more a window, each after at least 4 others; the text ends the last window
    expected = [*range(1, 9), *[5, 6, 7, 8] * 6, 8]
    np.testing.assert_array_equal(seen, expected)


def test_the_past_of_one_token_is_enough() -> None:
    nats = token_nats(Probe(8, 8), draw("t", 20), draw("p", 1), least_context=0.5, batch_tokens=64)
    np.testing.assert_array_equal(read(nats)[0], draw("t", 20))


def test_only_the_end_of_the_past_is_read() -> None:
    long = draw("past", 50)
    tokens = draw("tokens", 30)
    for max_length in (8, None):
        model = Probe(8, max_length)
        found = [
            token_nats(model, tokens, past, least_context=0.5, batch_tokens=16)
            for past in (long, long[-8:])
        ]
        np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("max_length", [8, None])
def test_an_empty_past_is_refused(max_length: int | None) -> None:
    with pytest.raises(ValueError, match="at least one token before"):
        token_nats(
            Probe(8, max_length), draw("t", 9), draw("p", 0), least_context=0.5, batch_tokens=9
        )


def test_small_integer_types_do_not_overflow() -> None:
    tokens, past = draw("t", 30), draw("p", 9)
    model = Probe(8, 8)
    wide, narrow = (
        token_nats(model, tokens.astype(t), past.astype(t), least_context=0.5, batch_tokens=16)
        for t in (np.int64, np.uint8)
    )
    np.testing.assert_array_equal(wide, narrow)


# --- Real models ----------------------------------------------------------------------------------


def neural(name: str) -> LanguageModel:
    model = build_neural(
        {
            "mlp": MlpArchitecture(4, 3, [8], "tanh"),
            "transformer": TransformerArchitecture(1, 2, 4, 6, "gelu", 0.0),
        }[name],
        VOCABULARY,
        rng=stream(0, name),
    )
    for parameter, tensor in model.parameters().items():
        tensor.value += (0.5 * stream(1, parameter).standard_normal(tensor.shape)).astype("f4")
    return model


TABLES = CountTables.count(draw("training", 300), VOCABULARY, 3)
MODELS: dict[str, LanguageModel] = {
    **count_ladder(TABLES, add_k=0.5, kneser_ney_orders=[3]),
    "mlp": neural("mlp"),
    "transformer": neural("transformer"),
}
every_model = pytest.mark.parametrize("name", MODELS)


@every_model
def test_scores_do_not_depend_on_the_size_of_batches(name: str) -> None:
    model, tokens, past = MODELS[name], draw("tokens", 101), draw("past", 40)
    expected = token_nats(model, tokens, past, least_context=0.5, batch_tokens=10_000)
    for batch_tokens in (1, 7, 8, 64):
        found = token_nats(model, tokens, past, least_context=0.5, batch_tokens=batch_tokens)
        tolerance = 1e-6 if name in ("mlp", "transformer") else 0
        np.testing.assert_allclose(found.sum(), expected.sum(), rtol=tolerance)
        np.testing.assert_allclose(found, expected, rtol=10 * tolerance)


def one_by_one(
    model: LanguageModel, tokens: IntArray, past: IntArray, least_context: float
) -> list[float]:
    """The protocol once more, token by token: what does each one see, and what does it cost?

    Targets are numbered from the second token read. Windows hold max_length of them; each begins
    where its first new target sees least_context of max_length, the last where the text ends it.
    """
    length = model.max_length or 10**9
    overlap = math.ceil(length * least_context) if model.max_length else model.context_length
    read = [*past[len(past) - min(len(past), max(overlap, 1)) :], *tokens]
    n_targets = len(read) - 1
    costs = []
    start, end = 0, min(length, n_targets)
    for target in range(n_targets):
        if target == end:
            end = min(end + length - overlap, n_targets)
            start = end - length
        seen = np.array([read[start : target + 1]])
        costs.append(-float(model.next_log_probabilities(seen)[0, read[target + 1]]))
    return costs[-len(tokens) :]


@pytest.mark.parametrize("least_context", [0.0, 0.5, 0.8])
@every_model
def test_scores_equal_those_of_one_token_at_a_time(name: str, least_context: float) -> None:
    model, tokens, past = MODELS[name], draw("tokens", 29), draw("past", 5)
    found = token_nats(model, tokens, past, least_context=least_context, batch_tokens=20)
    np.testing.assert_allclose(found, one_by_one(model, tokens, past, least_context), rtol=3e-5)


@every_model
def test_a_later_token_does_not_change_earlier_scores(name: str) -> None:
    model, tokens, past = MODELS[name], draw("tokens", 30), draw("past", 5)
    other = tokens.copy()
    other[17:] = (other[17:] + 1) % VOCABULARY
    first, second = (
        token_nats(model, each, past, least_context=0.5, batch_tokens=20)
        for each in (tokens, other)
    )
    np.testing.assert_array_equal(first[:17], second[:17])


# --- Score ----------------------------------------------------------------------------------------


def test_score_of_a_known_text() -> None:
    known = Score(tokens=4, bytes=8, nats=8 * math.log(2))
    assert known.nats_per_token == pytest.approx(2 * math.log(2))
    assert known.perplexity == pytest.approx(4)
    assert known.bits_per_byte == pytest.approx(1)


def test_the_score_of_the_uniform_model_is_its_vocabulary() -> None:
    found = score(
        MODELS["uniform"],
        draw("t", 50),
        draw("p", 1),
        n_bytes=100,
        least_context=0.5,
        batch_tokens=16,
    )
    assert found.tokens == 50
    assert found.bytes == 100
    assert found.perplexity == pytest.approx(VOCABULARY)
    assert found.bits_per_byte == pytest.approx(math.log2(VOCABULARY) / 2)


@every_model
def test_the_total_is_the_sum_over_tokens(name: str) -> None:
    arguments = {"least_context": 0.5, "batch_tokens": 16}
    model, tokens, past = MODELS[name], draw("t", 40), draw("p", 9)
    found = score(model, tokens, past, n_bytes=40, **arguments)  # type: ignore[arg-type]
    nats = token_nats(model, tokens, past, **arguments)  # type: ignore[arg-type]
    assert found.nats == pytest.approx(math.fsum(nats), rel=1e-12)
