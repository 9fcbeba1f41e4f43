"""Beam search, against greedy choice and against looking at every text."""

import itertools

from lmladder.arrays import IntArray
from lmladder.config import TransformerArchitecture
from lmladder.errors import InputError
from lmladder.models import LanguageModel, build_neural
from lmladder.models.counts import CountTables
from lmladder.models.ngram import KneserNey, Uniform
from lmladder.rng import stream
from lmladder.sampling import BeamSearch, Continuation, Strategy, complete, generate
from lmladder.sampling.beam import score, search
from lmladder.text import CharTokenizer

import numpy as np
import pytest

CHARACTERS = CharTokenizer(".abcdef")
VOCABULARY = 7
TEXT: IntArray = stream(0, "text").integers(VOCABULARY, size=300)


def transformer() -> LanguageModel:
    architecture = TransformerArchitecture(1, 2, 8, 6, "gelu", 0.0)
    model = build_neural(architecture, VOCABULARY, rng=stream(0, "weights"))
    for name, tensor in model.parameters().items():
        tensor.value += (0.5 * stream(1, name).standard_normal(tensor.shape)).astype("f4")
    return model


MODELS = {
    "kneser_ney": KneserNey(CountTables.count(TEXT, VOCABULARY, 3), 3),
    "transformer": transformer(),
    "uniform": Uniform(VOCABULARY),
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
PROMPT = [1, 4]


def log_probability(model: LanguageModel, tokens: tuple[int, ...]) -> float:
    return -float(model.nats(np.array([[*PROMPT, *tokens]]))[0, len(PROMPT) - 1 :].sum())


def beams(model: LanguageModel, tokens: int, width: int, cache: bool = True) -> list[Continuation]:
    return search(model, PROMPT, Continuation(), tokens=tokens, width=width, cache=cache)


@every_model
def test_one_beam_is_greedy(model: LanguageModel) -> None:
    (found,) = beams(model, 30, 1)
    greedy = generate(model, PROMPT, tokens=30, strategy=Strategy(0), seed=0)
    assert found.tokens == list(greedy)
    assert found.finish_reason == "length"


@every_model
def test_as_many_beams_as_tokens_find_the_best_text_of_two(model: LanguageModel) -> None:
    found = beams(model, 2, VOCABULARY)
    best = max(
        itertools.product(range(VOCABULARY), repeat=2),
        key=lambda tokens: round(log_probability(model, tokens), 9),
    )
    assert tuple(found[0].tokens) == best
    assert found[0].log_probability == pytest.approx(log_probability(model, best), abs=1e-5)


@every_model
def test_enough_beams_find_all_texts_in_order(model: LanguageModel) -> None:
    found = beams(model, 3, VOCABULARY**3)
    assert len({tuple(each.tokens) for each in found}) == VOCABULARY**3
    scores = [log_probability(model, tuple(each.tokens)) / 3 for each in found]
    np.testing.assert_allclose([score(each) for each in found], scores, atol=1e-5)
    assert [score(each) for each in found] == sorted(map(score, found), reverse=True)


@every_model
def test_the_cache_changes_nothing(model: LanguageModel) -> None:
    with_cache, without = beams(model, 25, 4), beams(model, 25, 4, cache=False)
    assert [each.tokens for each in with_cache] == [each.tokens for each in without]
    np.testing.assert_allclose(
        [each.log_probability for each in with_cache],
        [each.log_probability for each in without],
        atol=1e-5,
    )


def test_a_finished_text_keeps_its_place_and_is_compared_by_its_mean() -> None:
    model = MODELS["kneser_ney"]
    how = BeamSearch(3)
    prompt = CHARACTERS.decode(PROMPT)
    found = complete(
        model, CHARACTERS, PROMPT, tokens=12, strategy=how, samples=3, stop=[".", "ab"]
    )
    assert [score(each) for each in found] == sorted(map(score, found), reverse=True)
    assert {each.finish_reason for each in found} <= {"stop", "length"}
    assert "stop" in {each.finish_reason for each in found}
    for each in found:
        whole = CHARACTERS.decode(each.tokens)
        assert each.prompt == prompt
        assert whole.startswith(each.text)
        assert (each.finish_reason == "stop") == ("." in whole or "ab" in whole)
        assert len(each.tokens) == 12 or each.finish_reason == "stop"


def test_fewer_samples_are_the_best_ones() -> None:
    def best(samples: int) -> list[list[int]]:
        made = complete(
            MODELS["transformer"],
            CHARACTERS,
            PROMPT,
            tokens=9,
            strategy=BeamSearch(4),
            samples=samples,
        )
        return [each.tokens for each in made]

    assert best(2) == best(4)[:2]


def test_the_text_is_shown_whole() -> None:
    shown: list[str] = []
    model = MODELS["kneser_ney"]
    (found,) = complete(
        model, CHARACTERS, PROMPT, tokens=9, strategy=BeamSearch(4), show=shown.append
    )
    assert shown == [found.text]


def test_a_search_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="beams must be at least 1, not 0"):
        BeamSearch(0)
    with pytest.raises(InputError, match="3 samples are more than 2 beams can give"):
        complete(MODELS["uniform"], CHARACTERS, PROMPT, tokens=1, strategy=BeamSearch(2), samples=3)
    with pytest.raises(InputError, match="the prompt is empty"):
        complete(MODELS["uniform"], CHARACTERS, [], tokens=1, strategy=BeamSearch(2))
