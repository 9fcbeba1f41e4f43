"""Choosing tokens, and the loop that asks for them."""

import math
from collections.abc import Callable

from lmladder.arrays import FloatArray, IntArray
from lmladder.config import MlpArchitecture, TransformerArchitecture
from lmladder.errors import InputError, RunError
from lmladder.models import LanguageModel, build_neural
from lmladder.models.decoding import Decoder
from lmladder.models.ngram import Uniform
from lmladder.rng import stream
from lmladder.sampling import Continuation, Strategy, complete, generate
from lmladder.sampling.generation import draw
from lmladder.sampling.strategies import likeliest
from lmladder.text import CharTokenizer

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


def kept(*tokens: int) -> FloatArray:
    """The probabilities where only these tokens are left."""
    expected = np.zeros(5)
    expected[list(tokens)] = PROBABILITIES[list(tokens)]
    return expected / expected.sum()


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy(top_p=1.0), PROBABILITIES),
        (Strategy(top_p=0.9), kept(1, 2, 4)),
        (Strategy(top_p=0.899), kept(1, 2, 4)),
        (Strategy(top_p=0.91), kept(0, 1, 2, 4)),
        (Strategy(top_p=0.7), kept(1, 2)),
        (Strategy(top_p=0.69), kept(1, 2)),
        (Strategy(top_p=0.71), kept(1, 2, 4)),
        (Strategy(top_p=0.4), kept(1)),
        (Strategy(top_p=1e-9), kept(1)),
        (Strategy(min_p=0.1), PROBABILITIES),
        (Strategy(min_p=0.13), kept(1, 2, 4)),
        (Strategy(min_p=0.51), kept(1, 2)),
        (Strategy(min_p=1.0), kept(1)),
        (Strategy(top_k=2, top_p=0.58), kept(1, 2)),  # of the two left, 1 has 4 of 7
        (Strategy(top_k=2, top_p=0.57), kept(1)),
        (Strategy(top_k=4, min_p=0.2), kept(1, 2, 4)),
        (Strategy(top_p=0.95, min_p=0.51), kept(1, 2)),
        (Strategy(0.5, top_p=0.54), kept(1)),  # squared, 1 has 0.16 of 0.295, or 0.542
        (Strategy(0.5, top_p=0.55), kept(1, 2) ** 2),
        (Strategy(0.5, min_p=0.26), kept(1, 2) ** 2),
        (Strategy(2.0, min_p=0.6), kept(1, 2, 4) ** 0.5),
    ],
    ids=str,
)
def test_frequencies_match_what_the_filters_leave(strategy: Strategy, expected: FloatArray) -> None:
    assert chi_square(draws(strategy, LOGS), expected / expected.sum()) < CHI_SQUARE_4


@pytest.mark.parametrize(
    ("strategy", "powers"),
    [
        (Strategy(repetition_penalty=1.5), [1, 1.5, 1, 1.5, 1]),
        (Strategy(repetition_penalty=0.5), [1, 0.5, 1, 0.5, 1]),
        (Strategy(2.0, repetition_penalty=3.0), [0.5, 1.5, 0.5, 1.5, 0.5]),
    ],
    ids=str,
)
def test_the_penalty_is_for_tokens_that_were_there(strategy: Strategy, powers: list[float]) -> None:
    seen = np.array([False, True, False, True, False])
    rng = stream(0, "draws")
    counts = np.bincount([strategy.choose(LOGS, rng, seen) for _ in range(4000)], minlength=5)
    expected = PROBABILITIES ** np.array(powers)
    assert chi_square(counts, expected / expected.sum()) < CHI_SQUARE_4


def test_the_penalty_comes_before_the_other_filters_and_greedy_choice() -> None:
    seen = np.arange(5) == 1  # 0.4 becomes 0.16
    for strategy in (
        Strategy(0, repetition_penalty=2.0),
        Strategy(top_k=1, repetition_penalty=2.0),
        Strategy(top_p=0.1, repetition_penalty=2.0),
        Strategy(min_p=1.0, repetition_penalty=2.0),
    ):
        assert strategy.choose(LOGS, stream(0, "unused"), seen) == 2
        assert strategy.choose(LOGS, stream(0, "unused")) == 1


@pytest.mark.parametrize("count", [1, 2, 7, 25, 199, 200, 300, None])
@pytest.mark.parametrize("different", [1, 3, 10**9])
def test_the_likeliest_are_those_of_a_stable_sort(count: int | None, different: int) -> None:
    values = stream(0, "values").integers(different, size=200).astype(float)
    values[::9] = -np.inf
    expected = sorted(range(200), key=lambda place: -values[place])[:count]
    assert likeliest(values, count).tolist() == expected


def test_every_filter_leaves_at_least_the_likeliest_of_equal_tokens() -> None:
    logs = np.log(np.full(4, 0.25))
    for strategy in (Strategy(top_p=1e-300), Strategy(top_k=1), Strategy(top_p=0.25)):
        assert draws(strategy, logs, 50)[0] == 50
    assert (draws(Strategy(min_p=1.0), logs, 200) > 0).all()


@pytest.mark.parametrize("top_p", [1.0, np.nextafter(1, 0)])
def test_a_share_of_all_leaves_all(top_p: float) -> None:
    logs = np.log(stream(0, "weights").dirichlet(np.ones(1000)))
    for seed in range(300):
        chosen = Strategy(top_p=top_p).choose(logs, stream(seed, "draw"))
        assert chosen == Strategy().choose(logs, stream(seed, "draw"))


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_p": 0.0}, "top-p must be more than 0 and at most 1, not 0.0"),
        ({"top_p": 1.1}, "top-p must be .* not 1.1"),
        ({"top_p": math.nan}, "top-p must be .* not nan"),
        ({"min_p": -0.1}, "min-p must be between 0 and 1, not -0.1"),
        ({"min_p": 1.1}, "min-p must be .* not 1.1"),
        ({"min_p": math.nan}, "min-p must be .* not nan"),
        ({"repetition_penalty": 0.0}, "repetition penalty must be .* more than 0, not 0.0"),
        ({"repetition_penalty": -1.0}, "repetition penalty must be .* not -1.0"),
        ({"repetition_penalty": math.inf}, "repetition penalty must be .* not inf"),
        ({"repetition_penalty": math.nan}, "repetition penalty must be .* not nan"),
    ],
    ids=str,
)
def test_other_settings_that_make_no_sense_are_refused(
    settings: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Strategy(**settings)  # type: ignore[arg-type]


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

    def decoder(self) -> Decoder:
        return Decoder(self)


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


# --- Caches and rows ------------------------------------------------------------------------------

STRATEGIES = [
    Strategy(0),
    Strategy(0, repetition_penalty=1.3),
    Strategy(0.8, 40),
    Strategy(top_p=0.9),
    Strategy(1.5, min_p=0.05, repetition_penalty=1.2),
]
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=str)


def transformer(context_length: int = 8) -> LanguageModel:
    """One whose guesses differ."""
    architecture = TransformerArchitecture(2, 2, 8, context_length, "gelu_tanh", 0.0)
    model = build_neural(architecture, 50, rng=stream(0, "weights"))
    for name, tensor in model.parameters().items():
        tensor.value += (0.5 * stream(1, name).standard_normal(tensor.shape)).astype("f4")
    return model


@pytest.mark.parametrize("prompt", [[7], list(range(30))], ids=["short", "beyond the context"])
@every_strategy
def test_the_cache_changes_no_token_far_beyond_the_context(
    strategy: Strategy, prompt: list[int]
) -> None:
    for model in (transformer(), transformer(5), transformer(1)):
        cached, anew = (
            list(generate(model, prompt, tokens=200, strategy=strategy, seed=3, cache=cache))
            for cache in (True, False)
        )
        assert cached == anew


def rows_of(model: LanguageModel, strategy: Strategy, seed: int, rows: int) -> list[Continuation]:
    made = [Continuation() for _ in range(rows)]
    for _ in draw(model, [3, 4], made, tokens=60, strategy=strategy, seed=seed):
        pass
    return made


@every_strategy
def test_each_of_several_samples_is_what_its_seed_draws_alone(strategy: Strategy) -> None:
    model = transformer()
    together = rows_of(model, strategy, 5, 4)
    for i, row in enumerate(together):
        (alone,) = rows_of(model, strategy, 5 + i, 1)
        assert row.tokens == alone.tokens
        assert row.log_probability == pytest.approx(alone.log_probability, abs=1e-4)


def test_samples_that_end_leave_the_others_as_they_were() -> None:
    model = transformer()
    tokenizer = CharTokenizer("".join(map(chr, range(65, 115))))

    def sampled(samples: int, seed: int) -> list[Continuation]:
        return complete(
            model,
            tokenizer,
            [3],
            tokens=60,
            strategy=Strategy(),
            seed=seed,
            samples=samples,
            stop=["A", "BC", "q"],
        )

    together = sampled(8, 0)
    lengths = {len(each.tokens) for each in together}
    assert len(lengths) > 3
    for seed, each in enumerate(together):
        (alone,) = sampled(1, seed)
        assert (each.text, each.finish_reason) == (alone.text, alone.finish_reason)


def test_the_log_probability_is_the_models_own_whatever_the_strategy() -> None:
    model = transformer(200)
    for strategy in STRATEGIES:
        (made,) = rows_of(model, strategy, 0, 1)
        nats = model.nats(np.array([[3, 4, *made.tokens]]))[0, 1:]
        assert made.log_probability == pytest.approx(-nats.sum(), abs=1e-3)


def test_the_penalty_knows_the_prompt_and_what_was_made() -> None:
    made = run_with(Uniform(6), Strategy(0, repetition_penalty=2.0), [0, 2, 2], 4)
    assert made == [1, 3, 4, 5]


def run_with(model: LanguageModel, strategy: Strategy, prompt: list[int], tokens: int) -> list[int]:
    return list(generate(model, prompt, tokens=tokens, strategy=strategy, seed=0))


@pytest.mark.parametrize("prompt", [[-1], [50], [3, 99]])
def test_a_prompt_with_a_token_that_is_none_is_refused(prompt: list[int]) -> None:
    with pytest.raises(InputError, match=r"tokens of the prompt must be in \[0, 50\)"):
        run(transformer(), prompt, 1)


def test_a_probability_that_is_no_number_ends_the_run() -> None:
    class Damaged(Recorder):
        def next_log_probabilities(self, tokens: IntArray) -> FloatArray:
            logs = super().next_log_probabilities(tokens)
            logs[0, 7] = np.nan
            return logs

    with pytest.raises(RunError, match="not numbers"):
        run(Damaged(8, 8), [0], 1)
