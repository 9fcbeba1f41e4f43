"""Checks of numbers against what they must be: they find what looks right and is wrong.

A mask that leaks, a loss in the wrong unit, dropout that stays on: shapes and types stay the same,
and so does the curve's look. Here every architecture, every choice of a Transformer, every count
model and every strategy is compared with what probability theory requires;
docs/reproducibility.md lists the checks.
"""

import itertools
import math
from typing import Any

from lmladder.models import LanguageModel
from lmladder.models.counts import CountTables
from lmladder.models.ngram import CountSettings, count_ladder
from lmladder.nn.pointer import SHARE
from lmladder.sampling import Continuation, Strategy
from lmladder.sampling.generation import draw as generated
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.streams import stream
from tests.models.examples import (
    ALL_SETTINGS,
    CONTEXT,
    COUNT_MODELS,
    MLP,
    TRANSFORMER,
    VOCABULARY,
    build,
    changed,
    draw,
    fit,
    model_named,
)

import numpy as np
import pytest

every_model_and_the_oracle = pytest.mark.parametrize(
    "name", [*COUNT_MODELS, *ALL_SETTINGS, "oracle"]
)
ROUNDING = 1e-6  # of float32, in which neural models compute


# --- Losses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL_SETTINGS)
def test_the_initial_loss_is_log_of_the_vocabulary(name: str) -> None:
    """All tokens are equally likely to an untrained model: no bias, no wrong unit."""
    rng = stream(0, "sequences")
    tokens = np.stack([rng.permutation(257)[: CONTEXT + 1] for _ in range(16)])
    # A pointer predicts tokens of the context, and none of these is repeated.
    lost = -math.log(1 - SHARE) if getattr(ALL_SETTINGS[name], "pointer", 0) else 0
    # Larger initial weights predict with more confidence, and lose by it.
    tolerance = 0.1 if getattr(ALL_SETTINGS[name], "init_std", 0) >= 0.05 else 0.02
    loss = build(ALL_SETTINGS[name], 257).loss(tokens).item()
    assert loss == pytest.approx(math.log(257) + lost, abs=tolerance)


@pytest.mark.parametrize("name", [name for name in ALL_SETTINGS if "transformer" in name])
def test_dropout_is_off_in_evaluation(name: str) -> None:
    """The same weights score alike, to the bit, whatever the rate; in training they do not."""
    calm, dropping = (
        build(changed(ALL_SETTINGS[name], dropout=rate), spread=0.3) for rate in (0.0, 0.5)
    )
    tokens = draw("tokens", 5, CONTEXT + 1)
    np.testing.assert_array_equal(dropping.nll(tokens), calm.nll(tokens))
    assert dropping.loss(tokens, stream(0, "dropout")).item() != calm.loss(tokens).item()


# --- Probabilities --------------------------------------------------------------------------------


@every_model_and_the_oracle
def test_the_probabilities_of_all_texts_sum_to_1(name: str) -> None:
    """So none of the nats of a sequence can be too small: what one text gains another one loses."""
    model = model_named(name)
    pairs = np.array([*itertools.product(range(VOCABULARY), repeat=2)])
    texts = np.concatenate([np.full((len(pairs), 1), 3), pairs], axis=1)
    assert np.exp(-model.nll(texts).sum(axis=1)).sum() == pytest.approx(1, rel=20 * ROUNDING)


# --- Sampling -------------------------------------------------------------------------------------

STRATEGIES = [
    Strategy(),
    *(Strategy(temperature=each) for each in (0.0, 0.5, 2.0)),
    Strategy(top_k=3),
    Strategy(top_p=0.5),
    Strategy(min_p=0.3),
    Strategy(repetition_penalty=1.5),
    Strategy(temperature=0.8, top_k=4, top_p=0.9, min_p=0.1, repetition_penalty=1.3),
    Strategy(temperature=0.0, repetition_penalty=3.0),
]
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
WEIGHTS = np.array([4.0, 30.0, 1.5, 18.0, 9.5, 0.5, 25.0, 12.0])
LOGS = np.log(WEIGHTS / WEIGHTS.sum())
SEEN = np.array([False, True, False, False, True, True, False, False])


def kept_by(strategy: Strategy) -> FloatArray:
    """The probabilities that a strategy keeps, step by step as its documentation describes them."""
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
    """Instead of a generator: numbers evenly spread from 0 to 1, in ascending order."""

    def __init__(self, count: int) -> None:
        self.values = iter((np.arange(count) + 0.5) / count)

    def random(self) -> float:
        return float(next(self.values))


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
    """Return Pearson's statistic, and what it exceeds by chance once in 10,000 times.

    The bound is that of Wilson and Hilferty (1931), accurate to 1%.
    """
    possible = probabilities > 0
    assert not counts[~possible].any()
    expected = counts.sum() * probabilities[possible]
    freedom = max(int(possible.sum()) - 1, 1)
    bound = freedom * (1 - 2 / (9 * freedom) + 3.719 * math.sqrt(2 / (9 * freedom))) ** 3
    return float(((counts[possible] - expected) ** 2 / expected).sum()), bound


@pytest.mark.parametrize("name", ["bigram", "kneser_ney_2", "mlp", "gru", "transformer"])
def test_generated_texts_have_the_frequencies_of_their_model(name: str) -> None:
    """Through the whole loop: each sample has a seed of its own."""
    model, samples = model_named(name), [Continuation() for _ in range(400)]
    for _ in generated(model, [3], samples, tokens=1, strategy=Strategy(), seed=0):
        pass
    counts = np.bincount([each.tokens[0] for each in samples], minlength=VOCABULARY)
    probabilities = np.exp(model.next_log_probabilities(np.array([[3]]))[0])
    found, bound = chi_square(counts, probabilities)
    assert found < bound


# --- Known sources --------------------------------------------------------------------------------

STATES = 6
TRANSITIONS = stream(0, "source").dirichlet(np.full(STATES, 0.5), size=STATES)


def drawn_from_the_source(count: int, name: str) -> IntArray:
    """A text of a Markov chain."""
    cumulative, text = TRANSITIONS.cumsum(axis=1), [0]
    for u in stream(0, name).random(count - 1):
        text.append(min(int(cumulative[text[-1]].searchsorted(u, "right")), STATES - 1))
    return np.array(text)


def predicted(model: LanguageModel) -> FloatArray:
    """The probabilities after each token: (before, after)."""
    return np.exp(model.next_log_probabilities(np.arange(model.vocabulary_size)[:, None]))


def excess(model: LanguageModel) -> float:
    """Nats per token above the source, exactly: the mean divergence of the distributions."""
    stationary = np.linalg.matrix_power(TRANSITIONS, 1000)[0]  # frequency of each state
    divergences = (TRANSITIONS * np.log(TRANSITIONS / predicted(model))).sum(axis=1)
    return float(stationary @ divergences)


def test_the_bigram_converges_to_the_entropy_of_a_markov_source() -> None:
    """Each of its V (V - 1) free parameters costs about 1 / 2n nats per token."""
    text = drawn_from_the_source(128_000, "long text")
    for n in (4_000, 128_000):
        tables = CountTables.count(text[:n], STATES, 3)
        models = count_ladder(tables, CountSettings(add_k=0.01, kneser_ney_orders=[2]))
        expected = STATES * (STATES - 1) / (2 * n)
        assert expected / 3 < excess(models["bigram"]) < 3 * expected
        # The discounts of Kneser and Ney are a bias that vanishes like 1 / n too.
        assert 0 < excess(models["kneser_ney_2"]) < 10 * expected


def fitted(name: str, text: IntArray) -> Any:
    """A model of one token's context, trained to convergence on all pairs of the text at once."""
    settings = {
        "mlp": changed(MLP, context_length=1, embedding_size=STATES, hidden_sizes=[16]),
        "transformer": changed(TRANSFORMER, n_layer=1, d_model=16, context_length=1, dropout=0),
    }[name]
    model = build(settings, STATES)
    fit(model, np.stack([text[:-1], text[1:]], axis=1), rate=0.03, steps=400)
    return model


@pytest.mark.parametrize("name", ["mlp", "transformer"])
def test_a_neural_bigram_converges_to_the_count_bigram(name: str) -> None:
    text = drawn_from_the_source(1_500, "short text")
    counts = np.zeros((STATES, STATES))
    np.add.at(counts, (text[:-1], text[1:]), 1)
    likeliest = counts / counts.sum(axis=1, keepdims=True)  # the counts without smoothing
    np.testing.assert_allclose(predicted(fitted(name, text)), likeliest, atol=0.005)
    assert np.abs(TRANSITIONS - likeliest).max() > 0.02  # so it is the text that was learned


def beats_the_source(nats: FloatArray, text: IntArray) -> bool:
    """Whether the scores are too good to be luck: by more than four standard errors."""
    gain = -np.log(TRANSITIONS[text[:-1], text[1:]]) - nats
    return float(gain.mean()) > 4 * float(gain.std()) / math.sqrt(len(gain))


def test_no_model_beats_the_oracle() -> None:
    train, unseen = (drawn_from_the_source(6_000, name) for name in ("text", "unseen text"))
    tables = CountTables.count(train, STATES, 4)
    models: dict[str, Any] = dict(
        count_ladder(tables, CountSettings(add_k=0.1, kneser_ney_orders=[2, 4]))
    )
    pairs = np.stack([unseen[:-1], unseen[1:]], axis=1)
    nats = {name: model.nll(unseen[None])[0] for name, model in models.items()}
    nats["mlp"] = fitted("mlp", train[:1_500]).nll(pairs).ravel()
    for name, each in nats.items():
        assert not beats_the_source(each, unseen), name
    # A model that sees a little of the token that it is asked for.
    assert beats_the_source(0.95 * nats["bigram"], unseen)
