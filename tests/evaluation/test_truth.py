"""The distance of models from a known truth, and what determines each token of a story."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from lmladder.data import Corpus, Prepared, write_prepared
from lmladder.data.settings import SplitSettings, TokenizerSettings
from lmladder.data.tales import Grammar, generate
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.evaluation.truth import KINDS, Truth, compare_with_truth, is_known
from lmladder.models.counts import CountTables
from lmladder.models.mixture import Mixture, Weights
from lmladder.models.ngram import count_ladder
from lmladder.models.oracle import Oracle, arrays_of
from lmladder.system.errors import InputError
from tests.models.test_oracle import SMALL

import numpy as np
import pytest

SETTINGS = EvaluateSettings(["val", "test"], "latest", 0.5, 100)
TEXT = "Zoë came, she sa hi. She left."


def prepare(directory: Path, tokenizer: str, characters: int = 6000) -> tuple[Prepared, Oracle]:
    grammar = Grammar(SMALL)
    stories = generate(grammar, 0, characters)
    texts, nll = [each.text for each in stories], [each.nll for each in stories]
    write_prepared(
        directory,
        Corpus("small", texts, "\n", nll, SMALL),
        tokenizer=TokenizerSettings(tokenizer, ""),
        split=SplitSettings(0.5, 0.2, 0.3),
        seed=0,
        settings={},
    )
    prepared = Prepared.open(directory)
    return prepared, Oracle(grammar, arrays_of(SMALL, prepared.tokenizer)["symbols"])


def models_of(prepared: Prepared) -> dict[str, Any]:
    tables = CountTables.count(prepared.train, prepared.tokenizer.vocabulary_size, 4)
    return dict(count_ladder(tables, add_k=0.1, kneser_ney_orders=[2, 4]))


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_the_excess_is_the_mean_divergence_over_all_tokens(tokenizer: str, tmp_path: Path) -> None:
    prepared, oracle = prepare(tmp_path, tokenizer)
    models = models_of(prepared)
    found = compare_with_truth(models, oracle, prepared, SETTINGS)
    assert {each.split for each in found} == {"test"}
    before, text = prepared.val.astype(np.int64), prepared.test.astype(np.int64)
    whole = np.append(before, text)[None]
    true = oracle.log_probabilities(whole[:, :-1])[0, -len(text) :]
    for name, model in models.items():
        logs = model.log_probabilities(whole[:, :-1])[0, -len(text) :]
        excess = (np.exp(true) * (true - logs)).sum(axis=1)
        (overall,) = (each for each in found if (each.model, each.by) == (name, "all"))
        assert overall.tokens == len(text)
        assert overall.excess == pytest.approx(excess.mean(), rel=1e-9)
        # The difference of losses has the same mean, but for chance.
        target = np.arange(len(text)), text
        difference = (true[target] - logs[target]).mean()
        assert abs(difference - overall.excess) < 5 * overall.standard_error + 0.02
        for group in (KINDS, ("position",), ("confidence",)):
            parts = [each for each in found if each.model == name and each.by in group]
            assert sum(each.tokens for each in parts) == len(text)
            total = sum(each.tokens * each.excess for each in parts)
            assert total == pytest.approx(excess.sum(), rel=1e-9)


def test_the_truth_itself_has_no_excess_and_is_calibrated(tmp_path: Path) -> None:
    prepared, oracle = prepare(tmp_path, "char")
    truth = Truth(oracle, prepared, "test")
    excess, confidence, probability = truth.compared(oracle, "test", SETTINGS).T
    np.testing.assert_allclose(excess, 0, atol=1e-12)
    np.testing.assert_allclose(confidence, probability, rtol=1e-12)


def test_a_mixture_is_compared_with_the_weights_of_the_other_half(tmp_path: Path) -> None:
    prepared, oracle = prepare(tmp_path, "char")
    members = [*models_of(prepared).values()][-2:]
    first, second = (
        Mixture(members, [], Weights(np.empty((0, 2)), np.array([weights])))
        for weights in ([0.9, 0.1], [0.1, 0.9])
    )
    whole = Mixture(members, [], first.weights, [first, second])
    truth, half = Truth(oracle, prepared, "val"), len(prepared.val) // 2
    found = truth.compared(whole, "val", SETTINGS)
    np.testing.assert_allclose(found[:half], truth.compared(first, "val", SETTINGS)[:half])
    np.testing.assert_allclose(found[half:], truth.compared(second, "val", SETTINGS)[half:])


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_tokens_of_a_story_are_choices_or_forced_or_recalled(
    tokenizer: str, tmp_path: Path
) -> None:
    prepared, oracle = prepare(tmp_path, tokenizer)
    tokens = prepared.tokenizer.encode(f"Nobody came\n{TEXT}\n")
    changed = replace(prepared, test=tokens)
    truth = Truth(oracle, changed, "test")
    first = len(prepared.tokenizer.encode("Nobody came\n"))
    assert truth.story.tolist() == [0] * first + [1] * (len(tokens) - first)
    assert truth.position[[0, first - 1, first]].tolist() == [1, first, 1]
    kinds = [KINDS[each] for each in truth.kind[first:]]
    starts = {each: len(prepared.tokenizer.encode(TEXT[:each])) for each in range(len(TEXT) + 1)}
    # The first mention: Z is chosen, and the rest follows.
    assert kinds[:2] == ["choice", "forced"]
    she, again = TEXT.index("she"), TEXT.index("She")
    assert kinds[starts[she] : starts[she + 3]] == ["recall"] * 3
    assert kinds[starts[again] : starts[again + 3]] == ["recall"] * 3
    assert kinds[starts[she + 3]] == "forced"  # the space
    assert kinds[starts[TEXT.index(" hi")]] == "choice"  # sa, not said or sang
    distance = truth.distance[first:]
    assert distance[starts[she]] == starts[she]
    assert distance[starts[again]] == starts[again] - starts[she]
    assert not distance[np.array(kinds) != "recall"].any()


def test_a_text_that_is_not_a_story_has_no_mentions() -> None:
    mentions = Grammar(SMALL).mentions(TEXT)
    assert [(each.start, each.end, each.before) for each in mentions] == [
        (0, 3, None), (10, 13, 0), (21, 24, 10),
    ]  # fmt: skip
    for text in (TEXT[:-1], f"{TEXT} ", "", "Zoë came, he sa hi. He left."):
        with pytest.raises(ValueError, match="no derivation of"):
            Grammar(SMALL).mentions(text)


def test_the_truth_is_known_of_generated_text_in_characters(tmp_path: Path) -> None:
    prepared, _ = prepare(tmp_path / "known", "char")
    assert is_known(prepared)
    short, _ = prepare(tmp_path / "bytes", "byte", 250)
    assert is_known(short)
    with pytest.raises(InputError, match="has no token for"):
        prepare(tmp_path / "short", "char", 250)
    assert not is_known(Prepared.open(tmp_path / "short"))
    text, tokenizer = Corpus.of_text("text", "To be, or not."), TokenizerSettings("char", "")
    split = SplitSettings(0.5, 0.5, 0.0)
    write_prepared(tmp_path / "text", text, tokenizer=tokenizer, split=split, seed=0, settings={})
    assert not is_known(Prepared.open(tmp_path / "text"))
