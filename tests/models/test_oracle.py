"""The oracle against enumeration, the known losses of stories, and texts outside the grammar."""

import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from lmladder.data import ByteTokenizer, CharTokenizer, Tokenizer
from lmladder.data.tales import Grammar, Story, generate
from lmladder.evaluation import token_nll
from lmladder.models import oracle as module
from lmladder.models.oracle import IMPOSSIBLE, SYMBOLS, Oracle, arrays_of
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.errors import InputError
from lmladder.system.streams import stream

import numpy as np
import pytest

TALES = Grammar.load(Path(__file__).parents[2] / "data" / "tales.yaml")
# Names that begin others, two variables of one list, an attribute that several items share, rules
# with and without holes, a rule used twice, one story that begins another, characters of two bytes.
SMALL: dict[str, Any] = {
    "lists": {
        "beasts": ["ox", "owl", "eel"],
        "people": [{"words": ["Ann", "Anna", "Zoë"], "they": "she"}, {"words": "Bo", "they": "he"}],
    },
    "variables": {"first": "beasts", "second": "beasts", "hero": "people"},
    "rules": {
        "story": [
            "{A first} met {a second} and {said} hi. {Hero} {said} so.",
            "{A first} met {a second} and {said} it. {ending}",
            "{Hero} came, {hero.they} {said} hi. {Hero.They} left.",
            "Nobody came",
            "Nobody came.",
        ],
        "said": ["said", "sang", "sa"],
        "ending": ["{Hero} {said} so.", "Nobody {said} so. {Second}!", "{First}!"],
    },
}


def enumerated(grammar: Grammar) -> dict[str, float]:
    """Return all stories with their probabilities, by expanding every option of every part."""
    found: dict[str, float] = defaultdict(float)
    partial: list[tuple[str, float, dict[str, int], tuple[Any, ...]]]
    partial = [("", 1.0, {}, (grammar.start,))]
    while partial:
        text, probability, drawn, todo = partial.pop()
        if not todo:
            found[text + "\n"] += probability
            continue
        options = todo[0].free(drawn)
        partial += [
            (text + each.text, probability / len(options), {**drawn, **each.draws},
             each.parts + todo[1:])
            for each in options
        ]  # fmt: skip
    return found


def char_tokenizer(grammar: Grammar, characters: int = 20_000) -> CharTokenizer:
    texts = [f"{each.text}\n" for each in generate(grammar, 0, characters)]
    return CharTokenizer("".join(sorted(set("".join(texts)))))


def oracle_of(grammar: Grammar, tokenizer: Tokenizer) -> Oracle:
    return Oracle(grammar, arrays_of(grammar.source, tokenizer)[SYMBOLS])


def encoded(tokenizer: Tokenizer, text: str) -> IntArray:
    return tokenizer.encode(text)[None].astype(np.int64)


def losses(stories: list[Story], nats: FloatArray) -> FloatArray:
    """Return the sum of the nats of each story with its newline."""
    lengths = [len(each.text) + 1 for each in stories]
    return np.add.reduceat(nats, np.cumsum([0, *lengths[:-1]]))


# --- The distribution -----------------------------------------------------------------------------


def test_every_prefix_of_300_stories_agrees_with_enumeration() -> None:
    grammar = Grammar(SMALL)
    tokenizer = char_tokenizer(grammar)
    oracle, stories = oracle_of(grammar, tokenizer), enumerated(grammar)
    assert math.fsum(stories.values()) == pytest.approx(1)
    following: dict[str, Any] = defaultdict(Counter)
    for story, probability in stories.items():
        for at in range(len(story)):
            following[story[:at]][story[at]] += probability
    drawn = [grammar.expand(stream(0, "drawn", i)).text for i in range(300)]
    assert len(set(drawn)) > 100
    for text in set(drawn):
        found = oracle.log_probabilities(encoded(tokenizer, f"\n{text}"))[0]
        for at, logs in enumerate(found):
            total = sum(following[text[:at]].values())
            expected = [following[text[:at]][each] / total for each in tokenizer.characters]
            np.testing.assert_allclose(np.exp(logs), expected, rtol=1e-12, atol=1e-300)


def test_the_losses_of_tokens_sum_to_the_known_loss_of_each_story() -> None:
    stories = generate(TALES, 0, 20_000)
    tokenizer = char_tokenizer(TALES)
    oracle, byte_oracle = oracle_of(TALES, tokenizer), oracle_of(TALES, ByteTokenizer())
    text = "".join(f"{each.text}\n" for each in stories)
    nats = oracle.nll(encoded(tokenizer, f"\n{text}"))[0]
    known = [each.nll for each in stories]
    np.testing.assert_allclose(losses(stories, nats), known, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(byte_oracle.nll(encoded(ByteTokenizer(), f"\n{text}"))[0], nats)
    # In windows that begin anywhere, with as much context as the model says that it needs.
    begin = len(stories[0].text) + 1 + len(stories[1].text) // 2
    ids = tokenizer.encode(text)
    windows = token_nll(oracle, ids[begin:], ids[:begin], min_context=0.5, batch_tokens=300)
    np.testing.assert_allclose(windows, nats[begin:], rtol=0, atol=1e-12)


def test_bytes_of_characters_that_have_several_are_predicted_one_by_one() -> None:
    grammar = Grammar(SMALL)
    oracle, tokenizer = oracle_of(grammar, ByteTokenizer()), ByteTokenizer()
    for story, probability in enumerated(grammar).items():
        nats = oracle.nll(encoded(tokenizer, f"\n{story}"))
        assert nats.sum() == pytest.approx(-math.log(probability), abs=1e-12)
    # After the first byte of ë, the second one is certain.
    assert oracle.nll(encoded(tokenizer, "\nZoë came"))[0, 4] == 0
    assert oracle.context_length == max(len(each.encode()) for each in enumerated(grammar))


def test_derivations_of_one_text_are_added() -> None:
    source = {"lists": {}, "variables": {}, "rules": {"story": ["{a}{a}"], "a": ["x", "xx"]}}
    tokenizer = CharTokenizer("\nx")
    oracle = oracle_of(Grammar(source), tokenizer)
    for text, probability in (("xx", 0.25), ("xxx", 0.5), ("xxxx", 0.25)):
        nats = oracle.nll(encoded(tokenizer, f"\n{text}\n")).sum()
        assert nats == pytest.approx(-math.log(probability), abs=1e-12)


def test_a_grammar_with_too_many_derivations_of_a_text_ends_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_DERIVATIONS", 1000)
    source = {"lists": {}, "variables": {}, "rules": {"story": ["{a}" * 20], "a": ["x", "xx"]}}
    tokenizer = CharTokenizer("\nx")
    with pytest.raises(InputError, match=r"too ambiguous: more than 1,000 partial derivations"):
        oracle_of(Grammar(source), tokenizer).nll(encoded(tokenizer, "\n" + "x" * 30))


# --- Outside the stories --------------------------------------------------------------------------


def test_a_token_that_no_story_continues_with_is_charged_and_then_all_are_equally_likely() -> None:
    tokenizer = char_tokenizer(TALES)
    oracle = oracle_of(TALES, tokenizer)
    story = generate(TALES, 0, 1)[0].text
    uniform = math.log(tokenizer.vocabulary_size)
    nats = oracle.nll(encoded(tokenizer, f"\n{story[:100]}Q{story[100:]}\n{story}"))[0]
    inside = oracle.nll(encoded(tokenizer, f"\n{story}"))[0]
    np.testing.assert_array_equal(nats[:100], inside[:100])
    assert nats[100] == -IMPOSSIBLE
    np.testing.assert_allclose(nats[101 : len(story) + 2], uniform, rtol=1e-12)
    np.testing.assert_array_equal(nats[len(story) + 2 :], inside)  # the next story
    # A newline within a story begins another one.
    nats = oracle.nll(encoded(tokenizer, f"\n{story[:100]}\n{story}"))[0]
    assert nats[100] == -IMPOSSIBLE
    np.testing.assert_array_equal(nats[101:], inside)
    # A window that begins within a story.
    nats = oracle.nll(encoded(tokenizer, f"{story[-50:]}\n{story}"))[0]
    np.testing.assert_allclose(nats[:50], uniform, rtol=1e-12)
    np.testing.assert_array_equal(nats[50:], inside)
    # The beginning of a sequence is that of a story, if the text fits.
    np.testing.assert_array_equal(oracle.nll(encoded(tokenizer, story))[0], inside[1:])
