"""The default corpus: what its stories are like, and that their probabilities are right."""

import math
import statistics
from collections import Counter
from pathlib import Path

from benchmarks.grammars import expectation
from lmladder.data.tales import Grammar, balanced, generate
from lmladder.system.errors import InputError
from lmladder.system.streams import stream

import pytest

TALES = Path(__file__).parents[2] / "data" / "tales.yaml"
GRAMMARS = sorted(TALES.parent.glob("tales*.yaml"))
# Two variables on one list, a rule used twice, an attribute, articles, capitals, one ending without
# a hole: small enough to enumerate all stories.
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
TINY_STORIES = {
    "An eel met an ox and said hi. Anna sang so.": 1,
    "A cat met an ox and sang hi. Bo sang so.": 1,
    "Bo came, he said hi. He left.": 1,
    "Bo came, she said hi. She left.": 0,
    "An ox met an ox and said hi. Bo said so.": 0,  # one list, two items
    "": 0,
}


@pytest.fixture(scope="module")
def grammar():
    return Grammar.load(TALES)


@pytest.fixture(scope="module")
def corpus(grammar):
    return generate(grammar, seed=0, characters=60_000)


def load(tmp_path, source):
    path = tmp_path / "tiny.yaml"
    path.write_text(source, encoding="utf-8")
    return Grammar.load(path)


# --- Probabilities --------------------------------------------------------------------------------


def derivations(grammar, text):
    """Return the negative log probability, in nats, of every derivation of `text`.

    A story of a sound grammar has one, equal to the bit to that of `expand`. Two or more mean
    that the grammar is ambiguous, none that the text is not one of its stories.
    """
    found = []
    # Partial derivations: the matched length, nll, draws, and the remaining parts.
    partial = [(0, 0.0, {}, (grammar.start,))]
    while partial:
        at, nll, drawn, todo = partial.pop()
        if not todo:
            found += [nll] if at == len(text) else []
            continue
        options = todo[0].free(drawn)
        nll += math.log(len(options))
        partial += [
            (at + len(option.text), nll, {**drawn, **option.draws}, option.parts + todo[1:])
            for option in options
            if text.startswith(option.text, at)
        ]
    return found


def test_frequencies_are_probabilities_and_all_sum_to_one(tmp_path):
    grammar = load(tmp_path, TINY)
    drawn = Counter(grammar.expand(stream(1, "tiny", i)) for i in range(3000))
    # Beasts in order, two speakers' verbs, heroes; heroes and verbs; nobody.
    assert len(drawn) == 3 * 2 * 2 * 3 * 2 + 3 * 2 + 1
    assert math.fsum(math.exp(-story.nll) for story in drawn) == pytest.approx(1)
    nats = math.fsum(story.nll * math.exp(-story.nll) for story in drawn)
    characters = math.fsum((len(story.text) + 1) * math.exp(-story.nll) for story in drawn)
    assert expectation(grammar) == pytest.approx((nats, characters))
    for story, count in drawn.items():
        expected = 3000 * math.exp(-story.nll)
        assert abs(count - expected) < 5 * math.sqrt(expected)


def test_each_of_balanced_stories_has_the_probabilities_and_together_they_use_all_options(tmp_path):
    twice = TINY.replace("{Hero.They} left", "{Hero.They} {said} so")  # a rule that is used twice
    grammar = load(tmp_path, twice)
    sets = [balanced(grammar, stream(2, "tiny", i), 5) for i in range(2000)]
    for nth in (1, 4):
        drawn = Counter((stories[nth].text, stories[nth].nll) for stories in sets)
        assert math.fsum(math.exp(-nll) for _, nll in drawn) == pytest.approx(1)
        statistic = sum(
            (count - len(sets) * math.exp(-nll)) ** 2 / (len(sets) * math.exp(-nll))
            for (_, nll), count in drawn.items()
        )
        assert abs(statistic - len(drawn) + 1) < 4 * math.sqrt(2 * len(drawn))
    for stories in sets[:20]:
        for each in (" met ", " came, ", "Nobody"):  # the alternatives of the first rule
            assert sum(each in story.text for story in stories[:3]) == 1


def test_articles_go_by_the_first_letter_whatever_its_case_or_accent(tmp_path):
    words = "[Oxen, ox, Émile, Élan, Cat, 7 owls, ñu]"
    grammar = load(tmp_path, rules("story: ['{a x} {A x}']", f"y: {words}", "x: y"))
    found = {grammar.expand(stream(0, "articles", i)).text for i in range(100)}
    expected = {"Oxen": "an", "ox": "an", "Émile": "an", "Élan": "an", "Cat": "a", "7 owls": "a"}
    expected["ñu"] = "a"
    assert found == {f"{a} {word} {a.capitalize()} {word}" for word, a in expected.items()}


def test_holes_are_filled_with_articles_capitals_and_attributes(tmp_path):
    grammar = load(tmp_path, TINY)
    found = {text: len(derivations(grammar, text)) for text in TINY_STORIES}
    assert found == TINY_STORIES
    ambiguous = "{lists: {}, variables: {}, rules: {story: ['{a}{a}'], a: [x, xx, xxx]}}"
    assert len(derivations(load(tmp_path, ambiguous), "xxxx")) == 3


@pytest.mark.parametrize("path", GRAMMARS, ids=lambda path: path.stem)
def test_the_stories_of_every_grammar_have_one_derivation_and_the_expected_entropy(path):
    grammar = Grammar.load(path)
    stories = generate(grammar, seed=0, characters=60_000)
    for story in stories[:50]:
        assert derivations(grammar, story.text) == [story.nll]
    nats, characters = expectation(grammar)
    for expected, found in (
        (nats, [story.nll for story in stories]),
        (characters, [len(story.text) + 1 for story in stories]),
    ):
        error = statistics.stdev(found) / math.sqrt(len(found))
        assert abs(statistics.fmean(found) - expected) < 4 * error


# --- The corpus -----------------------------------------------------------------------------------


def test_the_seed_determines_the_stories_and_a_longer_corpus_begins_with_a_shorter_one(
    grammar, corpus
):
    again = generate(Grammar.load(TALES), seed=0, characters=20_000)
    assert again == corpus[: len(again)]
    assert again[0] != generate(grammar, seed=4, characters=1)[0]
    lengths = [len(story.text) + 1 for story in corpus]
    assert sum(lengths[:-1]) < 60_000 <= sum(lengths)


# --- Grammars that are rejected -------------------------------------------------------------------


def rules(text, lists="", variables=""):
    return f"{{lists: {{{lists}}}, variables: {{{variables}}}, rules: {{{text}}}}}"


FAULTY = {
    "lists: [": "is not valid YAML",
    "{lists: {}, variables: {}, rules: {}, rule: {}}": "did you mean 'rules'",
    rules(""): "called 'story'",
    rules("story: [s]", variables="x: y"): "unknown list 'y'",
    rules("story: ['{a}'], a: ['{story}']"): "story > a > story",
    rules("story: [s], a: [t]"): "'a' is never used",
    rules("story: ['{a']"): "stray brace",
    rules(
        "story: ['{x} {x.they}', '{x.they} {x}']", "y: [{words: [a, b], they: it}]", "x: y"
    ): "variable 'x' may be mentioned first as 'it'",
}


def test_a_faulty_grammar_is_rejected_by_name(tmp_path):
    for source, message in FAULTY.items():
        with pytest.raises(InputError) as error:
            load(tmp_path, source)
        assert "tiny.yaml" in str(error.value)
        assert message in str(error.value)
    with pytest.raises(InputError, match=r"cannot read the grammar .*none\.yaml: No such file"):
        Grammar.load(tmp_path / "none.yaml")
