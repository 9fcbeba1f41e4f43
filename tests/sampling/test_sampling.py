"""Choosing tokens, and the loop that generates them; test_statistics.py checks frequencies."""

from typing import Any

from lmladder.data import CharTokenizer
from lmladder.models import LanguageModel
from lmladder.models.ngram import Uniform
from lmladder.sampling import Continuation, Strategy, complete, generate
from lmladder.sampling.generation import draw
from lmladder.sampling.strategies import most_likely
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.errors import InputError
from lmladder.system.streams import stream
from tests.models.examples import TRANSFORMER, Fake, build, changed

import numpy as np
import pytest

PROBABILITIES = np.array([0.05, 0.4, 0.3, 0.05, 0.2])
LOGS = np.log(PROBABILITIES)

# --- Strategies -----------------------------------------------------------------------------------


def draws(strategy: Strategy, logs: FloatArray = LOGS, count: int = 300) -> list[int]:
    rng = stream(0, "draws")
    return [strategy.choose(logs, rng) for _ in range(count)]


@pytest.mark.parametrize(
    ("strategy", "kept"),
    [
        (Strategy(top_k=99), {0, 1, 2, 3, 4}),
        (Strategy(top_p=0.9), {1, 2, 4}),
        (Strategy(top_p=0.91), {0, 1, 2, 4}),
        (Strategy(min_p=0.51), {1, 2}),
        (Strategy(top_k=2, top_p=0.58), {1, 2}),  # of the two left, 1 has 4 of 7
        (Strategy(top_k=2, top_p=0.57), {1}),
        (Strategy(temperature=0.5, top_p=0.54), {1}),  # squared, 1 has 0.16 of 0.295, or 0.542
        (Strategy(temperature=0.5, top_p=0.55), {1, 2}),
        *((Strategy(temperature=each), {1}) for each in (0, 1e-3, 1e-100, 1e-310, 5e-324)),
        *((Strategy(temperature=each), {0, 1, 2, 3, 4}) for each in (1.0, 1e6, 1e308)),
    ],
    ids=str,
)
def test_which_tokens_a_strategy_keeps(strategy: Strategy, kept: set[int]) -> None:
    assert set(draws(strategy)) == kept


def test_of_equal_tokens_the_first_leads_and_an_impossible_one_is_never_chosen() -> None:
    logs = np.log(np.full(4, 0.25))
    for settings in ({"top_p": 1e-300}, {"top_p": 0.25}, {"top_k": 1}, {"temperature": 0}):
        assert set(draws(Strategy(**settings), logs)) == {0}  # type: ignore[arg-type]
    assert set(draws(Strategy(top_k=2), logs)) == {0, 1}
    assert set(draws(Strategy(min_p=1.0), logs)) == {0, 1, 2, 3}
    assert set(draws(Strategy(), np.array([-np.inf, 0.0, -np.inf, 0.0]))) == {1, 3}


@pytest.mark.parametrize("count", [1, 2, 7, 25, 199, 200, 300, None])
def test_the_most_likely_are_those_of_a_stable_sort(count: int | None) -> None:
    for different in (1, 3, 10**9):
        values = stream(0, "values").integers(different, size=200).astype(float)
        values[::9] = -np.inf
        expected = sorted(range(200), key=lambda i, values=values: -values[i])[:count]
        assert most_likely(values, count).tolist() == expected


# --- Generation -----------------------------------------------------------------------------------


class Counter(Fake):
    """Records what it is asked, and prefers the token after the last one."""

    def __init__(self, context_length: int, max_length: int | None):
        super().__init__(10, context_length, max_length, logs=self.count)
        self.asked: list[list[int]] = []

    def count(self, tokens: IntArray) -> FloatArray:
        assert len(tokens) == 1
        self.asked.append(tokens[0].tolist())
        weights = np.ones(10)
        weights[(tokens[0, -1] + 1) % 10] = 50
        return np.log(weights / weights.sum())[None]


def run(
    model: LanguageModel, prompt: Any, tokens: int, strategy: Strategy | None = None, **options: Any
) -> list[int]:
    chosen = strategy or Strategy(temperature=0)
    return list(generate(model, prompt, tokens=tokens, strategy=chosen, **({"seed": 0} | options)))


def test_tokens_are_generated_one_by_one_as_many_as_asked_for() -> None:
    for tokens in (0, 25):
        assert run(Counter(8, 8), [3], tokens) == [(4 + i) % 10 for i in range(tokens)]
    model = Counter(8, 8)
    made = generate(model, [3], tokens=5, strategy=Strategy(temperature=0), seed=0)
    assert [next(made), next(made)] == [4, 5]
    assert len(model.asked) == 2


@pytest.mark.parametrize("n_prompt", [1, 7, 8, 9, 11, 12, 13, 50])
def test_no_model_is_given_more_than_it_takes(n_prompt: int) -> None:
    prompt = [i % 10 for i in range(n_prompt)]
    for max_length in (1, 2, 3, 8):
        model = Counter(max_length, max_length)
        text = prompt + run(model, prompt, 30)
        for i, asked in enumerate(model.asked):
            context = text[: n_prompt + i]
            assert max_length >= len(asked) >= min(len(context), max(1, max_length // 2))
            assert asked == context[-len(asked) :]
    for context_length in (0, 1, 5):  # of a model that takes any length
        model = Counter(context_length, None)
        text = prompt + run(model, prompt, 9)
        shown = max(1, context_length)
        assert model.asked == [text[: n_prompt + i][-shown:] for i in range(9)]


def test_generation_follows_its_seed() -> None:
    first, again, other = (run(Uniform(50), [0], 40, Strategy(), seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert first[:10] == run(Uniform(50), [0], 10, Strategy())


def test_a_prompt_that_cannot_be_continued_is_rejected() -> None:
    for prompt in ([-1], [50], [3, 99]):
        with pytest.raises(InputError, match=r"tokens of the prompt must be in \[0, 50\)"):
            run(Uniform(50), prompt, 1)
    with pytest.raises(InputError, match="the prompt is empty"):
        run(Uniform(50), [], 3)


# --- Caches and several samples -------------------------------------------------------------------

STRATEGIES = [
    Strategy(temperature=0),
    Strategy(temperature=0.8, top_k=40, repetition_penalty=1.3),
    Strategy(temperature=1.5, top_p=0.9, min_p=0.05),
]
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=str)


def transformer(context_length: int = 8, **changes: Any) -> Any:
    settings = changed(TRANSFORMER, context_length=context_length, **changes)
    return build(settings, 50, spread=0.5)


def several(model: LanguageModel, strategy: Strategy, seed: int, count: int) -> list[Continuation]:
    made = [Continuation() for _ in range(count)]
    for _ in draw(model, [3, 4], made, tokens=40, strategy=strategy, seed=seed):
        pass
    return made


@every_strategy
def test_each_of_several_samples_is_what_its_seed_draws_alone(strategy: Strategy) -> None:
    model = transformer(200)
    for i, each in enumerate(several(model, strategy, 5, 4)):
        (alone,) = several(model, strategy, 5 + i, 1)
        assert each.tokens == alone.tokens
        assert each.finish_reason == "length"
        nats = model.nll(np.array([[3, 4, *each.tokens]]))[0, 1:]  # without the strategy
        assert each.log_probability == pytest.approx(-nats.sum(), abs=1e-3)


def test_samples_that_end_leave_the_others_as_they_were() -> None:
    model, tokenizer = transformer(), CharTokenizer("".join(map(chr, range(65, 115))))

    def sampled(samples: int, seed: int) -> list[Continuation]:
        options: dict[str, Any] = {"seed": seed, "samples": samples, "stop": ["A", "BC", "q"]}
        return complete(model, tokenizer, [3], tokens=60, strategy=Strategy(), **options)

    together = sampled(8, 0)
    assert len({len(each.tokens) for each in together}) > 3
    for seed, each in enumerate(together):
        (alone,) = sampled(1, seed)
        assert (each.text, each.finish_reason) == (alone.text, alone.finish_reason)
