"""Choosing tokens, and the loop that asks for them."""

import math
from collections.abc import Callable

from lmladder.arrays import FloatArray, IntArray
from lmladder.config import MlpArchitecture, TransformerArchitecture
from lmladder.errors import InputError
from lmladder.models import LanguageModel, build_neural
from lmladder.models.ngram import Uniform
from lmladder.rng import stream
from lmladder.sampling import Strategy, generate

import numpy as np
import pytest

PROBABILITIES = np.array([0.05, 0.4, 0.3, 0.05, 0.2])
LOGS = np.log(PROBABILITIES)

# --- Strategies -----------------------------------------------------------------------------------


def draws(strategy: Strategy, logs: FloatArray, count: int = 4000) -> IntArray:
    rng = stream(0, "draws")
    return np.bincount([strategy.choose(logs, rng) for _ in range(count)], minlength=len(logs))


def chi_square(counts: IntArray, probabilities: FloatArray) -> float:
    assert not counts[probabilities == 0].any()
    possible = probabilities > 0
    expected = counts.sum() * probabilities[possible]
    return float(((counts[possible] - expected) ** 2 / expected).sum())


CHI_SQUARE_4 = 18.5  # exceeded with probability 0.001 by 4 degrees of freedom


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_match_the_probabilities_at_a_temperature(temperature: float) -> None:
    expected = PROBABILITIES ** (1 / temperature)
    counts = draws(Strategy(temperature), LOGS)
    assert chi_square(counts, expected / expected.sum()) < CHI_SQUARE_4


@pytest.mark.parametrize("top_k", [1, 2, 3, 5, 99])
def test_top_k_leaves_the_likeliest_in_their_proportions(top_k: int) -> None:
    expected = PROBABILITIES.copy()
    expected[np.argsort(-PROBABILITIES, kind="stable")[top_k:]] = 0
    counts = draws(Strategy(1.0, top_k), LOGS)
    assert chi_square(counts, expected / expected.sum()) < CHI_SQUARE_4


def test_top_k_takes_the_first_of_equal_tokens() -> None:
    counts = draws(Strategy(1.0, 2), np.log(np.full(4, 0.25)), 200)
    assert (counts > 0).tolist() == [True, True, False, False]


@pytest.mark.parametrize("shift", [0.0, 1000.0, -1000.0])
def test_log_probabilities_need_not_be_normalised(shift: float) -> None:
    np.testing.assert_array_equal(
        draws(Strategy(), LOGS + shift, 300), draws(Strategy(), LOGS, 300)
    )


def test_an_impossible_token_is_never_chosen() -> None:
    logs = np.array([-np.inf, 0.0, -np.inf, 0.0, -np.inf])
    counts = draws(Strategy(), logs, 500)
    assert not counts[[0, 2, 4]].any()
    assert counts[[1, 3]].all()


def test_temperature_0_takes_the_likeliest_and_of_equal_ones_the_first() -> None:
    greedy = Strategy(0)
    assert greedy.choose(LOGS, stream(0, "unused")) == 1
    assert greedy.choose(np.log([0.2, 0.4, 0.4]), stream(0, "unused")) == 1


@pytest.mark.parametrize("temperature", [1e-3, 1e-100, 1e-310, 5e-324])
def test_a_temperature_near_0_takes_the_likeliest(temperature: float) -> None:
    assert draws(Strategy(temperature), LOGS, 50)[1] == 50


@pytest.mark.parametrize("temperature", [1e6, 1e308])
def test_a_huge_temperature_takes_any(temperature: float) -> None:
    assert chi_square(draws(Strategy(temperature), LOGS), np.full(5, 0.2)) < CHI_SQUARE_4


@pytest.mark.parametrize("temperature", [-1.0, math.nan, math.inf])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(InputError, match="temperature must be"):
        Strategy(temperature)


@pytest.mark.parametrize("top_k", [0, -3])
def test_top_k_below_1_is_refused(top_k: int) -> None:
    with pytest.raises(InputError, match=f"top-k must be at least 1, not {top_k}"):
        Strategy(1.0, top_k)


# --- Generation -----------------------------------------------------------------------------------


class Recorder:
    """A model that keeps what it was asked and then prefers the token after the last one."""

    vocabulary_size = 10
    n_parameters = 0

    def __init__(self, context_length: int, max_length: int | None) -> None:
        self.context_length = context_length
        self.max_length = max_length
        self.asked: list[list[int]] = []

    def nats(self, tokens: IntArray) -> FloatArray:
        raise NotImplementedError

    def next_log_probabilities(self, tokens: IntArray) -> FloatArray:
        assert tokens.shape[0] == 1
        self.asked.append(tokens[0].tolist())
        weights = np.ones(10)
        weights[(tokens[0, -1] + 1) % 10] = 50
        return np.log(weights / weights.sum())[None]


def run(
    model: LanguageModel, prompt: list[int], tokens: int, temperature: float = 0.0, seed: int = 0
) -> list[int]:
    return list(generate(model, prompt, tokens=tokens, strategy=Strategy(temperature), seed=seed))


@pytest.mark.parametrize("tokens", [0, 1, 25])
def test_generate_yields_as_many_tokens_as_asked_for(tokens: int) -> None:
    model = Recorder(8, 8)
    assert run(model, [3], tokens) == [(4 + i) % 10 for i in range(tokens)]
    assert len(model.asked) == tokens


def test_tokens_are_asked_for_one_by_one() -> None:
    model = Recorder(8, 8)
    tokens = generate(model, [3], tokens=5, strategy=Strategy(0), seed=0)
    assert [next(tokens), next(tokens)] == [4, 5]
    assert len(model.asked) == 2


def test_the_window_moves_on_by_half_where_the_text_outgrows_it() -> None:
    model = Recorder(8, 8)
    made = run(model, [0], 30)
    text = [0, *made]
    starts = [0] * 8 + [4] * 4 + [8] * 4 + [12] * 4 + [16] * 4 + [20] * 4 + [24] * 2
    assert model.asked == [text[start : i + 1] for i, start in enumerate(starts)]


@pytest.mark.parametrize("n_prompt", [1, 7, 8, 9, 11, 12, 13, 50])
@pytest.mark.parametrize("max_length", [1, 2, 3, 8])
def test_no_model_is_asked_for_more_than_its_longest_row(max_length: int, n_prompt: int) -> None:
    model = Recorder(max_length, max_length)
    prompt = [i % 10 for i in range(n_prompt)]
    text = prompt + run(model, prompt, 30)
    assert len(model.asked) == 30
    for i, asked in enumerate(model.asked):
        past = text[: n_prompt + i]
        assert max_length >= len(asked) >= min(len(past), max(1, max_length // 2))
        assert asked == past[-len(asked) :]


@pytest.mark.parametrize("context_length", [0, 1, 5])
def test_a_model_of_any_length_is_shown_its_context_alone(context_length: int) -> None:
    model = Recorder(context_length, None)
    text = [1, 2, 3, *run(model, [1, 2, 3], 9)]
    shown = max(1, context_length)
    assert model.asked == [text[: i + 3][-shown:] for i in range(9)]


def test_generation_follows_its_seed() -> None:
    model = Uniform(50)
    first, again, other = (run(model, [0], 40, 1.0, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_shorter_run_is_the_beginning_of_a_longer_one() -> None:
    model = Uniform(50)
    assert run(model, [0], 40, 1.0)[:10] == run(model, [0], 10, 1.0)


def test_generated_frequencies_match_the_model() -> None:
    class Fixed(Recorder):
        def next_log_probabilities(self, tokens: IntArray) -> FloatArray:
            return LOGS[None]

    counts = np.bincount(run(Fixed(1, None), [0], 2000, 1.0), minlength=5)
    assert chi_square(counts, PROBABILITIES) < CHI_SQUARE_4


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(InputError, match="the prompt is empty"):
        run(Recorder(8, 8), [], 3)


def test_the_prompt_is_left_as_it_was() -> None:
    prompt = [1, 2, 3]
    run(Recorder(8, 8), prompt, 5)
    assert prompt == [1, 2, 3]


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: build_neural(MlpArchitecture(4, 3, [5], "relu"), 256, rng=rng),
        lambda rng: build_neural(TransformerArchitecture(1, 2, 4, 6, "silu", 0.5), 256, rng=rng),
        lambda _: Uniform(256),
    ],
    ids=["mlp", "transformer", "uniform"],
)
def test_a_prompt_of_bytes_is_continued_as_one_of_integers(
    make: Callable[[np.random.Generator], LanguageModel],
) -> None:
    model = make(stream(0, "weights"))
    encoded = np.frombuffer(b"ab", dtype=np.uint8)  # as the byte tokenizer gives them
    as_bytes = list(generate(model, encoded, tokens=12, strategy=Strategy(1.0), seed=0))
    assert as_bytes == run(model, [97, 98], 12, 1.0)
    assert all(type(token) is int for token in as_bytes)
