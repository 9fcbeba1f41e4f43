"""The default corpus: what its stories are like, and that their probabilities are true."""

import math
import re
from collections import Counter
from pathlib import Path

from lmladder.errors import InputError
from lmladder.rng import stream
from lmladder.text.tales import Grammar, Story, tell

import pytest
import yaml

TALES = Path(__file__).parents[2] / "data" / "tales.yaml"
LISTS = yaml.safe_load(TALES.read_text(encoding="utf-8"))["lists"]

# Two variables on one list, a rule used twice, an attribute, articles, capitals, one empty-handed
# ending: small enough to be told in full.
TINY = """
lists:
  beasts: [ox, cat, eel]
  people:
    - {words: [Ann, Anna], they: she}
    - {words: Bo, they: he}
variables: {first: beasts, second: beasts, hero: people}
rules:
  story: |
    {A first} met {a second} and {said} hi. {Hero} {said} so.
    {Hero} came, {hero.they} {said} hi. {Hero.They} left.
    Nobody came.
  said: [said, sang]
"""


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return Grammar.load(TALES)


@pytest.fixture(scope="module")
def corpus(grammar: Grammar) -> list[Story]:
    return tell(grammar, seed=0, characters=1_000_000)


def load(tmp_path: Path, source: str) -> Grammar:
    path = tmp_path / "tiny.yaml"
    path.write_text(source, encoding="utf-8")
    return Grammar.load(path)


def early_and_late(text: str) -> tuple[str, str]:
    return text[: len(text) * 3 // 5], text[len(text) * 3 // 5 :]


# Probabilities


def test_every_story_has_one_derivation_with_the_nats_that_were_told(
    grammar: Grammar, corpus: list[Story]
) -> None:
    for story in corpus[:800]:
        assert grammar.derivations(story.text) == [story.nats]


def test_foreign_texts_have_no_derivation(grammar: Grammar, corpus: list[Story]) -> None:
    text = corpus[0].text
    for foreign in ("", "Once upon a time, there was a GPU.", text + " ", text[:-1], text * 2):
        assert grammar.derivations(foreign) == []


def test_a_broken_promise_is_not_a_story(grammar: Grammar, corpus: list[Story]) -> None:
    text = next(s.text for s in corpus if s.text.count("kiss the mayor") == 2)
    before, _, after = text.rpartition("kiss the mayor")
    assert grammar.derivations(f"{before}knit a scarf{after}") == []


def test_probabilities_of_all_stories_sum_to_one(tmp_path: Path) -> None:
    grammar = load(tmp_path, TINY)
    told = [grammar.expand(stream(1, "tiny", i)) for i in range(3000)]
    stories = set(told)
    # Beasts in order, two speakers' verbs, heroes; heroes and verbs; nobody.
    assert len(stories) == 3 * 2 * 2 * 3 * 2 + 3 * 2 + 1
    assert math.fsum(math.exp(-story.nats) for story in stories) == pytest.approx(1)


def test_stories_come_as_often_as_their_probability_says(tmp_path: Path) -> None:
    grammar = load(tmp_path, TINY)
    told = Counter(grammar.expand(stream(2, "tiny", i)) for i in range(3000))
    for story, count in told.items():
        expected = 3000 * math.exp(-story.nats)
        assert abs(count - expected) < 5 * math.sqrt(expected)


def test_an_ambiguous_grammar_shows_as_two_derivations(tmp_path: Path) -> None:
    ambiguous = "{lists: {}, variables: {}, rules: {story: ['{a}{a}'], a: [x, xx, xxx]}}"
    assert len(load(tmp_path, ambiguous).derivations("xxxx")) == 3


# Holes


def test_holes_are_filled_with_articles_capitals_and_attributes(tmp_path: Path) -> None:
    grammar = load(tmp_path, TINY)
    assert len(grammar.derivations("An eel met an ox and said hi. Anna sang so.")) == 1
    assert len(grammar.derivations("A cat met an ox and sang hi. Bo sang so.")) == 1
    assert len(grammar.derivations("Bo came, he said hi. He left.")) == 1
    assert grammar.derivations("Bo came, she said hi. She left.") == []


def test_variables_of_one_list_never_hold_the_same_item(tmp_path: Path) -> None:
    assert load(tmp_path, TINY).derivations("An ox met an ox and said hi. Bo said so.") == []


# The corpus


def test_same_seed_same_stories_and_another_seed_others(grammar: Grammar) -> None:
    stories = tell(grammar, seed=3, characters=20_000)
    assert stories == tell(Grammar.load(TALES), seed=3, characters=20_000)
    assert stories[0] != tell(grammar, seed=4, characters=1)[0]


def test_a_longer_corpus_starts_with_the_shorter_one(grammar: Grammar) -> None:
    short = tell(grammar, seed=0, characters=5_000)
    assert tell(grammar, seed=0, characters=10_000)[: len(short)] == short


def test_stories_with_their_newlines_just_reach_the_characters(corpus: list[Story]) -> None:
    lengths = [len(story.text) + 1 for story in corpus]
    assert sum(lengths[:-1]) < 1_000_000 <= sum(lengths)


def test_entropy_per_character_is_what_a_small_model_can_learn(corpus: list[Story]) -> None:
    characters = sum(len(story.text) + 1 for story in corpus)
    assert 0.25 < math.fsum(story.nats for story in corpus) / math.log(2) / characters < 0.40


def test_stories_are_short_but_longer_than_a_sentence(corpus: list[Story]) -> None:
    lengths = [len(story.text) for story in corpus]
    assert 260 <= sum(lengths) / len(lengths) <= 330
    assert min(lengths) > 200
    assert max(lengths) <= 440


def test_no_story_is_told_twice(corpus: list[Story]) -> None:
    assert len({story.text for story in corpus}) == len(corpus) > 2_500


def test_alphabet_is_small_and_plain(corpus: list[Story]) -> None:
    alphabet = set("".join(story.text for story in corpus))
    assert len(alphabet) < 64
    assert all(c.isascii() and (c.isalpha() or c in " .,!?'\"") for c in alphabet)


def test_stories_are_tidy(corpus: list[Story]) -> None:
    for story in corpus:
        assert re.fullmatch(r'["A-Z].*[.!?]"?', story.text), story.text
        assert not re.search(r"[{}\n]|  | [.,!?]|[.,!?]{2}|\. [a-z]", story.text), story.text
        assert story.text.count('"') % 2 == 0, story.text


def test_a_and_an_agree_with_what_follows(corpus: list[Story]) -> None:
    for story in corpus:
        for article, letter in re.findall(r"\b([Aa]n?) ([A-Za-z])", story.text):
            assert (len(article) == 2) == (letter in "aeiou"), story.text


def test_the_hero_is_named_again_near_the_end(corpus: list[Story]) -> None:
    names = {name for group in LISTS["names"] for name in group["words"]}
    for story in corpus:
        early, late = (set(re.findall(r"\w+", part)) for part in early_and_late(story.text))
        assert names & early & late, story.text


def test_treasures_and_promises_come_back_in_the_same_words(corpus: list[Story]) -> None:
    treasure = re.compile(rf"\b({'|'.join(LISTS['looks'])}) ({'|'.join(LISTS['things'])})\b")
    promise = re.compile(rf"I will ({'|'.join(LISTS['promises'])})\b")
    promises = 0
    for story in corpus:
        mentions = treasure.findall(story.text)
        assert len(mentions) >= 2, story.text
        assert len(set(mentions)) == 1, story.text
        if made := promise.search(story.text):
            assert story.text.count(made[1]) == 2, story.text
            promises += 1
    assert promises > len(corpus) / 4


# Faulty grammars


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("lists: [", "is not YAML"),
        ("just a text", "has the sections lists, variables, rules"),
        ("{lists: {}, variables: {}, rules: {}, rule: {}}", "and no others"),
        ("{lists: {}, variables: [], rules: {}}", "the section 'variables'"),
        ("{lists: {}, variables: {}, rules: {}}", "called 'story'"),
        ("{lists: {}, variables: {}, rules: {story: ['{dragon}']}}", "called 'dragon'"),
        ("{lists: {}, variables: {x: y}, rules: {story: [s]}}", "unknown list 'y'"),
        ("{lists: {y: []}, variables: {x: y}, rules: {story: ['{x}']}}", "list 'y' is empty"),
        ("{lists: {}, variables: {}, rules: {story: []}}", "rule 'story' is empty"),
        ("{lists: {y: [a, b, a]}, variables: {}, rules: {story: [s]}}", "'a' twice"),
        ("{lists: {}, variables: {}, rules: {story: [s, s]}}", "'s' twice"),
        ("{lists: {y: [a, 7]}, variables: {}, rules: {story: [s]}}", "text: 7"),
        ('{lists: {}, variables: {}, rules: {story: ["a\\nb"]}}', "not one line of text"),
        (
            "{lists: {}, variables: {}, rules: {story: ['{a}'], a: ['{story}']}}",
            "story > a > story",
        ),
        ("{lists: {}, variables: {}, rules: {story: [s], a: [t]}}", "'a' is never used"),
        ("{lists: {}, variables: {}, rules: {story: ['{a']}}", "stray brace"),
        ("{lists: {}, variables: {}, rules: {story: ['{a b}'], b: [t]}}", "not name a variable"),
        ("{lists: {y: [a]}, variables: {x: y, z: y}, rules: {story: ['{x}']}}", "fewer items"),
        ("{lists: {y: [a]}, variables: {x: y}, rules: {story: ['{x}'], x: [s]}}", "both"),
        ("{lists: {y: [a]}, variables: {x: y}, rules: {story: ['{x.they}']}}", "has no 'they'"),
        (
            "{lists: {y: [{words: [a, b], they: it}]}, variables: {x: y},"
            " rules: {story: ['{x} {x.they}', '{x.they} {x}']}}",
            "variable 'x' may be mentioned first as 'it'",
        ),
    ],
)
def test_a_faulty_grammar_is_refused_in_one_line(tmp_path: Path, source: str, fault: str) -> None:
    with pytest.raises(InputError) as refusal:
        load(tmp_path, source)
    message = str(refusal.value)
    assert "tiny.yaml" in message
    assert fault in message
    assert "\n" not in message


def test_a_missing_grammar_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the grammar .*none\.yaml: No such file"):
        Grammar.load(tmp_path / "none.yaml")
