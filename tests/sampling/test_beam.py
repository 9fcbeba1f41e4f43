"""Beam search, against greedy choice and against scoring every text."""

from typing import Any

from lmladder.data import CharTokenizer
from lmladder.models import LanguageModel
from lmladder.models.counts import CountTables
from lmladder.models.ngram import KneserNey, Uniform
from lmladder.sampling import BeamSearch, Continuation, Strategy, complete, generate
from lmladder.sampling.generation import score, search
from lmladder.system.streams import stream
from tests.models.examples import TRANSFORMER, build

import numpy as np
import pytest

CHARACTERS = CharTokenizer(".abcdef")
V = 7
TABLES = CountTables.count(stream(0, "text").integers(V, size=300), V, 3)
MODELS = {
    "kneser_ney": KneserNey(TABLES, 3),
    "transformer": build(TRANSFORMER, V, spread=0.5),
    "uniform": Uniform(V),
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
PROMPT = [1, 4]


def log_probability(model: LanguageModel, tokens: tuple[int, ...]) -> float:
    return -float(model.nll(np.array([[*PROMPT, *tokens]]))[0, len(PROMPT) - 1 :].sum())


def beams(model: LanguageModel, tokens: int, width: int, cache: bool = True) -> list[Continuation]:
    return search(model, PROMPT, Continuation(), tokens=tokens, width=width, cache=cache)


@every_model
def test_one_beam_is_greedy(model: LanguageModel) -> None:
    (found,) = beams(model, 30, 1)
    assert found.tokens == [
        *generate(model, PROMPT, tokens=30, strategy=Strategy(temperature=0), seed=0)
    ]
    assert found.finish_reason == "length"


@every_model
def test_enough_beams_find_all_texts_in_order(model: LanguageModel) -> None:
    found = beams(model, 3, V**3)
    assert len({tuple(each.tokens) for each in found}) == V**3
    scores = [score(each) for each in found]
    expected = [log_probability(model, tuple(each.tokens)) / 3 for each in found]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert scores == sorted(scores, reverse=True)


@every_model
def test_the_cache_changes_nothing(model: LanguageModel) -> None:
    cached, again = beams(model, 25, 4), beams(model, 25, 4, cache=False)
    assert [each.tokens for each in cached] == [each.tokens for each in again]
    for one, other in zip(cached, again, strict=True):
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-5)


def completed(model: str = "kneser_ney", prompt: Any = PROMPT, **options: Any) -> Any:
    return complete(MODELS[model], CHARACTERS, prompt, **({"tokens": 9} | options))


def test_a_finished_text_stays_and_is_compared_by_its_mean() -> None:
    found = completed(tokens=12, strategy=BeamSearch(3), samples=3, stop=[".", "ab"])
    assert [score(each) for each in found] == sorted(map(score, found), reverse=True)
    assert "stop" in {each.finish_reason for each in found}
    for each in found:
        whole = CHARACTERS.decode(each.tokens)
        assert each.prompt == CHARACTERS.decode(PROMPT)
        assert whole.startswith(each.text)
        stopped = "." in whole or "ab" in whole
        assert each.finish_reason == ("stop" if stopped else "length")
        assert stopped or len(each.tokens) == 12
