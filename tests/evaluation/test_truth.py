"""The distance of models from a known truth, and what determines each token of a story."""

from pathlib import Path
from typing import Any

from lmladder.data import Corpus, Prepared, Tokenizer
from lmladder.data.tales import Grammar, Mention, Story, generate
from lmladder.evaluation import truth
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.evaluation.truth import KINDS, Truth, compare_with_truth, is_known
from lmladder.models.counts import CountTables
from lmladder.models.ngram import CountSettings, count_ladder
from lmladder.models.oracle import Oracle, arrays_of
from lmladder.system.errors import InputError
from tests.data.examples import prepared_text
from tests.models.examples import changed
from tests.models.test_oracle import SMALL, encoded, enumerated

import numpy as np
import pytest

SETTINGS = EvaluateSettings(
    splits=["val", "test"],
    checkpoint="latest",
    min_context=0.5,
    batch_tokens=4096,
    excess_error=0.02,
)
GROUPS = ("all", *KINDS, "position", "distance", "confidence")
TEXT = "Zoë came, she sa hi. She left."


def prepare(directory: Path, tokenizer: str, characters: int = 6000) -> tuple[Prepared, Oracle]:
    grammar = Grammar(SMALL)
    stories = generate(grammar, 0, characters)
    texts, nll = [each.text for each in stories], [each.nll for each in stories]
    corpus = Corpus("small", texts, "\n", nll, SMALL)
    prepared = prepared_text(directory, corpus, tokenizer, (0.5, 0.2, 0.3))
    return prepared, Oracle(grammar, arrays_of(SMALL, prepared.tokenizer)["symbols"])


def models_of(prepared: Prepared) -> dict[str, Any]:
    tables = CountTables.count(prepared.train, prepared.tokenizer.vocabulary_size, 4)
    return dict(count_ladder(tables, CountSettings(add_k=0.1, kneser_ney_orders=[2, 4])))


def exact_excess(model: Any, oracle: Oracle, tokenizer: Tokenizer, by: str) -> float:
    """Return the excess of a model by enumeration of all stories, each after a newline."""
    excess = tokens = 0.0
    for story, probability in enumerated(oracle.grammar).items():
        text = encoded(tokenizer, f"\n{story}")[:, :-1]
        true, logs = oracle.log_probabilities(text)[0], model.log_probabilities(text)[0]
        divergence = (np.exp(true) * (true - logs)).sum(axis=1)
        chosen = np.ones(len(true), bool) if by == "all" else np.exp(true).max(axis=1) < 1 - 1e-9
        excess += probability * divergence[chosen].sum()
        tokens += probability * chosen.sum()
    return excess / tokens


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
@pytest.mark.slow
def test_the_excess_is_that_of_all_stories_and_its_standard_error_is_honest(
    tokenizer: str, tmp_path: Path
) -> None:
    """Over independent seeds, the errors in standard errors are those of Student's t."""
    prepared, oracle = prepare(tmp_path, tokenizer)
    models = {name: models_of(prepared)[name] for name in ("unigram", "bigram")}  # of no context
    exact = {
        (name, by): exact_excess(model, oracle, prepared.tokenizer, by)
        for name, model in models.items()
        for by in ("all", "choice")
    }
    z = []
    for seed in range(40 if tokenizer == "char" else 3):
        for each in compare_with_truth(models, oracle, prepared, SETTINGS, seed=seed):
            if (expected := exact.get((each.model, each.by))) is not None:
                z.append((each.excess - expected) / each.standard_error)
    assert np.abs(z).max() < 8
    if tokenizer == "char":
        assert abs(np.mean(z)) < 0.5
        assert 0.9 < np.std(z) < 1.7  # 5 degrees of freedom: 1.29


def test_a_model_reads_sets_of_stories_until_the_standard_error_is_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truth, "STORIES", 5)
    monkeypatch.setattr(truth, "MAX_SETS", 100)
    monkeypatch.setattr(truth, "RELATIVE", 0.0)
    prepared, oracle = prepare(tmp_path, "char")
    models = models_of(prepared)
    found = []
    for precise in (1.0, 0.01, 1e-9):
        settings = changed(SETTINGS, excess_error=precise)
        excess = compare_with_truth(models, oracle, prepared, settings)
        found.append({each.model: each for each in excess if each.by == "all"})
    for coarse, fine, finest in (tuple(each[name] for each in found) for name in models):
        assert coarse.tokens <= fine.tokens <= finest.tokens
        assert fine.standard_error <= 0.01
        assert 14 < finest.tokens / coarse.tokens < 20  # 100 sets, and 6
    assert len({each.tokens for each in found[0].values()}) == 1
    assert found[0]["unigram"].tokens < found[1]["unigram"].tokens < found[2]["unigram"].tokens
    monkeypatch.setattr(truth, "RELATIVE", 1.0)  # of an excess of more than 1e-9
    excess = compare_with_truth(models, oracle, prepared, changed(SETTINGS, excess_error=1e-9))
    assert {each.tokens for each in excess if each.by == "all"} == {found[0]["bigram"].tokens}


def test_every_token_is_in_one_group_of_its_kind_position_and_confidence(
    tmp_path: Path,
) -> None:
    prepared, oracle = prepare(tmp_path, "byte")
    found = compare_with_truth(models_of(prepared), oracle, prepared, SETTINGS)
    for name in models_of(prepared):
        of_model = [each for each in found if each.model == name]
        sizes = {by: sum(each.tokens for each in of_model if each.by == by) for by in GROUPS}
        assert sizes["recall"] == sizes["distance"] > 0
        for group in (KINDS, ("position",), ("confidence",)):
            parts = [each for each in of_model if each.by in group]
            assert sum(each.tokens for each in parts) == sizes["all"]
            total = sum(each.tokens * each.excess for each in parts)
            assert total == pytest.approx(sizes["all"] * of_model[0].excess, rel=1e-9)


class Limited:
    """A model that reads sequences of a limited length."""

    def __init__(self, model: Any, max_length: int):
        self.model, self.max_length, self.seen = model, max_length, list[int]()

    def log_probabilities(self, tokens: Any) -> Any:
        assert tokens.shape[1] <= self.max_length
        self.seen.append(tokens.shape[1])
        return self.model.log_probabilities(tokens)


def test_a_model_of_limited_length_reads_each_story_in_one_sequence_if_it_can(
    tmp_path: Path,
) -> None:
    prepared, oracle = prepare(tmp_path, "char")
    stories = generate(oracle.grammar, 1, 2000)
    found = Truth(oracle, prepared.tokenizer, stories)
    longest = int(found.lengths.max())
    model = models_of(prepared)["kneser_ney_4"]
    expected = found.compared(model, SETTINGS)
    for max_length in (3 * longest, longest + 3, longest - 1, 9):  # it depends on 3 tokens
        limited: Any = Limited(model, max_length)
        np.testing.assert_allclose(found.compared(limited, SETTINGS)[9:], expected[9:], rtol=1e-9)
        assert max(limited.seen) == min(max_length, 2 * longest)


def test_a_possible_token_of_probability_0_is_an_infinite_excess(tmp_path: Path) -> None:
    class Zero(Limited):
        def log_probabilities(self, tokens: Any) -> Any:
            logs = super().log_probabilities(tokens)
            logs[..., prepared.tokenizer.encode("Z")] = -np.inf
            return logs

    prepared, oracle = prepare(tmp_path, "char")
    sound = models_of(prepared)["bigram"]
    models: Any = {"zero": Zero(sound, 512), "sound": sound}
    found = compare_with_truth(models, oracle, prepared, SETTINGS)
    overall = {each.model: each for each in found if each.by == "all"}
    assert overall["zero"].excess == np.inf
    assert np.isnan(overall["zero"].standard_error)
    assert np.isfinite([overall["sound"].excess, overall["sound"].standard_error]).all()
    finite = [each for each in found if (each.model, each.by) == ("zero", "forced")]
    assert finite[0].excess < np.inf  # a story never has to continue with Z


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_tokens_of_a_story_are_choices_or_forced_or_recalled(
    tokenizer: str, tmp_path: Path
) -> None:
    prepared, oracle = prepare(tmp_path, tokenizer)
    (story,) = {each for each in generate(oracle.grammar, 0, 60_000) if each.text == TEXT}
    assert story.mentions == (Mention(0, 3, None), Mention(10, 13, 0), Mention(21, 24, 10))
    nobody = Story("Nobody came", 0.0)
    tokens = prepared.tokenizer.encode(f"Nobody came\n{TEXT}\n")
    found = Truth(oracle, prepared.tokenizer, [nobody, story])
    first = len(prepared.tokenizer.encode("Nobody came\n"))
    np.testing.assert_array_equal(found.tokens, tokens)
    assert found.position[[0, first - 1, first]].tolist() == [1, first, 1]
    kinds = [KINDS[each] for each in found.kind[first:]]
    starts = {each: len(prepared.tokenizer.encode(TEXT[:each])) for each in range(len(TEXT) + 1)}
    # The first mention: Z is chosen, and the rest follows.
    assert kinds[:2] == ["choice", "forced"]
    she, again = TEXT.index("she"), TEXT.index("She")
    assert kinds[starts[she] : starts[she + 3]] == ["recall"] * 3
    assert kinds[starts[again] : starts[again + 3]] == ["recall"] * 3
    assert kinds[starts[she + 3]] == "forced"  # the space
    assert kinds[starts[TEXT.index(" hi")]] == "choice"  # sa, not said or sang
    distance = found.distance[first:]
    assert distance[starts[she]] == starts[she]
    assert distance[starts[again]] == starts[again] - starts[she]
    assert not distance[np.array(kinds) != "recall"].any()


def test_the_truth_is_known_of_generated_text_in_characters(tmp_path: Path) -> None:
    prepared, _ = prepare(tmp_path / "known", "char")
    assert is_known(prepared)
    short, _ = prepare(tmp_path / "bytes", "byte", 250)
    assert is_known(short)
    with pytest.raises(InputError, match="has no token for"):
        prepare(tmp_path / "short", "char", 250)
    assert not is_known(Prepared.open(tmp_path / "short"))
    assert not is_known(prepared_text(tmp_path / "text", "To be, or not.", split=(0.5, 0.5, 0.0)))
