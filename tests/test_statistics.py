"""Checks of numbers against what they must be: they catch what looks right and is wrong.

A mask that leaks, a loss in the wrong unit, dropout that is left on: shapes and types stay the
same, and so does the curve's look. Here every architecture, every choice of a Transformer, every
count model and every strategy is held to what probability theory says of it;
docs/reproducibility.md lists the checks.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lmladder.arrays import FloatArray, IntArray
from lmladder.config import MlpArchitecture, TransformerArchitecture
from lmladder.models import LanguageModel, NeuralLanguageModel, build_neural
from lmladder.models.counts import CountTables
from lmladder.models.ngram import count_ladder
from lmladder.optim import Adam
from lmladder.rng import stream
from lmladder.sampling import Strategy, generate
from lmladder.scoring import token_nats
from tests.models.test_contract import (
    ARCHITECTURE,
    CHOICES,
    CONTEXT,
    COUNT_MODELS,
    TRANSFORMER,
    VOCABULARY,
    enlarged,
    rows,
)

import numpy as np
import pytest

ARCHITECTURES: dict[str, MlpArchitecture | TransformerArchitecture] = {
    **ARCHITECTURE,
    **{f"transformer {choice}": replace(TRANSFORMER, **choice) for choice in CHOICES},
}
every_architecture = pytest.mark.parametrize("name", ARCHITECTURES)
every_model = pytest.mark.parametrize("name", [*COUNT_MODELS, *ARCHITECTURES])
ROUNDING = 1e-6  # of float32, in which neural models compute


def new(name: str, vocabulary_size: int = VOCABULARY, **changed: Any) -> NeuralLanguageModel:
    architecture = replace(ARCHITECTURES[name], **changed)
    return build_neural(architecture, vocabulary_size, rng=stream(0, "weights"))


def model_named(name: str) -> LanguageModel:
    """A count model, or a neural one whose guesses differ."""
    return COUNT_MODELS[name] if name in COUNT_MODELS else enlarged(new(name))


# --- Losses ---------------------------------------------------------------------------------------


@every_architecture
def test_the_initial_loss_is_log_of_the_vocabulary(name: str) -> None:
    """All tokens are equally likely to a model that has seen nothing: no bias, no wrong unit."""
    tokens = stream(0, "rows").integers(257, size=(16, CONTEXT + 1))
    # Weights drawn more widely guess with more confidence, and lose by it.
    tolerance = 0.1 if getattr(ARCHITECTURES[name], "init_deviation", 0) >= 0.05 else 0.02
    assert new(name, 257).loss(tokens).item() == pytest.approx(math.log(257), abs=tolerance)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if "transformer" in name])
def test_dropout_is_off_in_evaluation(name: str) -> None:
    """The same weights score alike, to the bit, whatever the rate; in training they do not."""
    calm, dropping = (enlarged(new(name, dropout=rate)) for rate in (0.0, 0.5))
    tokens = rows(CONTEXT + 1)
    np.testing.assert_array_equal(dropping.nats(tokens), calm.nats(tokens))
    np.testing.assert_array_equal(
        dropping.next_log_probabilities(tokens[:, :CONTEXT]),
        calm.next_log_probabilities(tokens[:, :CONTEXT]),
    )
    assert dropping.loss(tokens, stream(0, "dropout")).item() != calm.loss(tokens).item()


@every_model
def test_scores_do_not_depend_on_the_size_of_batches(name: str) -> None:
    model, text = model_named(name), stream(0, "text").integers(VOCABULARY, size=60)
    one, *others = (
        token_nats(model, text[20:], text[:20], least_context=0.5, batch_tokens=size)
        for size in (1, 7, 1000)
    )
    for other in others:
        np.testing.assert_allclose(other, one, rtol=20 * ROUNDING, atol=ROUNDING)


# --- Probabilities --------------------------------------------------------------------------------


@every_model
def test_the_probabilities_of_a_model_sum_to_1(name: str) -> None:
    model = model_named(name)
    for length in range(1, CONTEXT + 1):
        probabilities = np.exp(model.next_log_probabilities(rows(length)))
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=10 * ROUNDING)


@every_model
def test_the_probabilities_of_all_texts_sum_to_1(name: str) -> None:
    """So none of the nats of a row can be too small: what one text gains another one loses."""
    model = model_named(name)
    pairs = np.array([*itertools.product(range(VOCABULARY), repeat=2)])
    texts = np.concatenate([np.full((len(pairs), 1), 3), pairs], axis=1)
    assert np.exp(-model.nats(texts).sum(axis=1)).sum() == pytest.approx(1, rel=20 * ROUNDING)


@every_model
def test_no_score_depends_on_a_later_token(name: str) -> None:
    """The probe of causality: change one token, and look at all scores before it."""
    model, tokens = model_named(name), rows(CONTEXT + 1)
    before = model.nats(tokens)
    for place in range(1, CONTEXT + 1):
        changed = tokens.copy()
        changed[:, place] = (changed[:, place] + 1) % VOCABULARY
        after = model.nats(changed)
        np.testing.assert_array_equal(after[:, : place - 1], before[:, : place - 1])
        assert name == "uniform" or (after[:, place - 1] != before[:, place - 1]).any()


# --- Sampling -------------------------------------------------------------------------------------

STRATEGIES = [
    Strategy(),
    Strategy(temperature=0.0),
    *(Strategy(temperature=each) for each in (0.5, 2.0)),
    *(Strategy(top_k=each) for each in (1, 3, 5, 50)),
    *(Strategy(top_p=each) for each in (0.01, 0.5, 0.9)),
    *(Strategy(min_p=each) for each in (0.05, 0.3, 1.0)),
    *(Strategy(repetition_penalty=each) for each in (0.5, 1.5)),
    Strategy(0.8, top_k=4, top_p=0.9, min_p=0.1, repetition_penalty=1.3),
    Strategy(0.0, repetition_penalty=3.0),
]
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
WEIGHTS = np.array([4.0, 30.0, 1.5, 18.0, 9.5, 0.5, 25.0, 12.0])
LOGS = np.log(WEIGHTS / WEIGHTS.sum())
SEEN = np.array([False, True, False, False, True, True, False, False])


def kept_by(strategy: Strategy) -> FloatArray:
    """The probabilities that a strategy leaves, told step by step as its documentation does."""
    logs = np.where(SEEN, LOGS * strategy.repetition_penalty, LOGS)
    if strategy.temperature == 0:
        return np.eye(len(logs))[logs.argmax()]
    p = np.exp(logs / strategy.temperature)
    order = sorted(range(len(p)), key=lambda token: -p[token])[: strategy.top_k]
    total, nucleus = sum(p[token] for token in order), 0.0
    kept = np.zeros(len(p))
    for token in order:
        if nucleus < strategy.top_p * total and p[token] >= strategy.min_p * p[order[0]]:
            kept[token] = p[token]
        nucleus += p[token]
    return kept / kept.sum()


class Grid:
    """In the place of a generator: numbers evenly spread from 0 to 1, one after another."""

    def __init__(self, count: int) -> None:
        self.numbers = iter((np.arange(count) + 0.5) / count)

    def random(self) -> float:
        return float(next(self.numbers))


def frequencies(strategy: Strategy, rng: Any, count: int) -> IntArray:
    drawn = [strategy.choose(LOGS, rng, SEEN) for _ in range(count)]
    return np.bincount(drawn, minlength=len(LOGS))


@every_strategy
def test_the_probabilities_of_a_strategy_sum_to_1(strategy: Strategy) -> None:
    """Each token is drawn for a share of the numbers in [0, 1) that is its probability."""
    count = 10_000
    shares = frequencies(strategy, Grid(count), count) / count
    np.testing.assert_allclose(shares, kept_by(strategy), atol=1.5 / count)


def chi_square(counts: IntArray, probabilities: FloatArray) -> tuple[float, float]:
    """Pearson's statistic, and what it exceeds by chance once in 10,000 times.

    The bound is that of Wilson and Hilferty (1931), good to a percent.
    """
    possible = probabilities > 0
    assert not counts[~possible].any()
    expected = counts.sum() * probabilities[possible]
    freedom = max(int(possible.sum()) - 1, 1)
    bound = freedom * (1 - 2 / (9 * freedom) + 3.719 * math.sqrt(2 / (9 * freedom))) ** 3
    return float(((counts[possible] - expected) ** 2 / expected).sum()), bound


@every_strategy
def test_the_frequencies_of_a_sampler_match_its_probabilities(strategy: Strategy) -> None:
    counts = frequencies(strategy, stream(0, "draws"), 4000)
    found, bound = chi_square(counts, kept_by(strategy))
    assert found < bound


def test_other_probabilities_than_those_drawn_from_are_noticed() -> None:
    counts = frequencies(Strategy(), stream(0, "draws"), 4000)
    found, bound = chi_square(counts, kept_by(Strategy(temperature=1.2)))
    assert found > bound


@pytest.mark.parametrize("name", ["bigram", "kneser_ney_2", "mlp", "gru", "transformer"])
def test_generated_texts_have_the_frequencies_of_their_model(name: str) -> None:
    """Through the whole loop: window, cache, seeds."""
    model, prompt = model_named(name), [3]
    firsts = [
        next(iter(generate(model, prompt, tokens=1, strategy=Strategy(), seed=seed)))
        for seed in range(400)
    ]
    probabilities = np.exp(model.next_log_probabilities(np.array([prompt]))[0])
    found, bound = chi_square(np.bincount(firsts, minlength=VOCABULARY), probabilities)
    assert found < bound


# --- Sources that are known -----------------------------------------------------------------------

STATES = 6
TRANSITIONS = stream(0, "source").dirichlet(np.full(STATES, 0.5), size=STATES)


def drawn_from_the_source(count: int, name: str) -> IntArray:
    """A text of a Markov chain."""
    cumulative, text = TRANSITIONS.cumsum(axis=1), [0]
    for u in stream(0, name).random(count - 1):
        text.append(min(int(cumulative[text[-1]].searchsorted(u, "right")), STATES - 1))
    return np.array(text)


def stationary() -> FloatArray:
    """How often the chain is in each state, in the long run."""
    share = np.linalg.matrix_power(TRANSITIONS, 1000)[0]
    np.testing.assert_allclose(share @ TRANSITIONS, share, atol=1e-12)
    return share


def learnt(model: LanguageModel) -> FloatArray:
    """What follows each token: (before, after)."""
    return np.exp(model.next_log_probabilities(np.arange(model.vocabulary_size)[:, None]))


def excess(model: LanguageModel) -> float:
    """Nats a token that it loses against the source, exactly: the mean divergence of its rows."""
    rows = (TRANSITIONS * np.log(TRANSITIONS / learnt(model))).sum(axis=1)
    return float(stationary() @ rows)


@pytest.mark.parametrize("name", ["bigram", "kneser_ney_2"])
def test_the_bigram_converges_to_the_entropy_of_a_markov_source(name: str) -> None:
    """Each of its V (V - 1) free numbers costs 1 / 2n nats a token, or nearly: no more, no less."""
    text = drawn_from_the_source(256_000, "long text")
    for n in (4_000, 16_000, 64_000, 256_000):
        tables = CountTables.count(text[:n], STATES, 3)
        model = count_ladder(tables, add_k=0.01, kneser_ney_orders=[2])[name]
        expected = STATES * (STATES - 1) / (2 * n)
        if name == "bigram":
            assert expected / 3 < excess(model) < 3 * expected
        else:  # its discounts are a bias that vanishes like 1 / n too
            assert 0 < excess(model) < 10 * expected


def fitted(architecture: MlpArchitecture | TransformerArchitecture, text: IntArray) -> Any:
    """A model of one token's context, trained on all pairs of the text at once, to the end."""
    model = build_neural(architecture, STATES, rng=stream(0, "weights"))
    pairs = np.stack([text[:-1], text[1:]], axis=1)
    parameters = model.parameters()
    optimizer = Adam(parameters, learning_rate=0.03, betas=(0.9, 0.99), epsilon=1e-8)
    steps = 400
    for step in range(steps):
        model.loss(pairs).backward()
        optimizer.step(step, factor=1 - step / steps)
        for tensor in parameters.values():
            tensor.grad = None
    return model


BIGRAMS: dict[str, Callable[[], MlpArchitecture | TransformerArchitecture]] = {
    "mlp": lambda: MlpArchitecture(1, STATES, [16], "tanh"),
    "transformer": lambda: replace(TRANSFORMER, n_layer=1, d_model=16, context_length=1, dropout=0),
}


@pytest.mark.parametrize("name", BIGRAMS)
def test_a_neural_bigram_converges_to_the_count_bigram(name: str) -> None:
    text = drawn_from_the_source(1_500, "short text")
    counts = np.zeros((STATES, STATES))
    np.add.at(counts, (text[:-1], text[1:]), 1)
    likeliest = counts / counts.sum(axis=1, keepdims=True)  # what counting gives without smoothing
    found = learnt(fitted(BIGRAMS[name](), text))
    np.testing.assert_allclose(found, likeliest, atol=0.005)
    assert np.abs(TRANSITIONS - likeliest).max() > 0.02  # so it is the text that was learnt


class Cheat:
    """A model that sees the token it is asked for, if only a little."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    def nats(self, tokens: IntArray) -> FloatArray:
        return 0.95 * self.model.nats(tokens)


def beats_the_source(nats: FloatArray, text: IntArray) -> bool:
    """Whether the scores are too good to be luck: by more than four standard errors."""
    gain = -np.log(TRANSITIONS[text[:-1], text[1:]]) - nats
    return float(gain.mean()) > 4 * float(gain.std()) / math.sqrt(len(gain))


def test_no_model_beats_the_oracle() -> None:
    train, unseen = (drawn_from_the_source(6_000, name) for name in ("text", "unseen text"))
    tables = CountTables.count(train, STATES, 4)
    models: dict[str, Any] = dict(count_ladder(tables, add_k=0.1, kneser_ney_orders=[2, 4]))
    models["mlp"] = fitted(BIGRAMS["mlp"](), train[:1_500])
    for name, model in models.items():
        row = unseen[None] if name != "mlp" else np.stack([unseen[:-1], unseen[1:]], axis=1)
        nats = model.nats(row).ravel()
        assert not beats_the_source(nats, unseen), name
    assert beats_the_source(Cheat(models["bigram"]).nats(unseen[None])[0], unseen)
