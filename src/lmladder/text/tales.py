"""The default corpus: tiny folk tales, told by a story grammar that knows how likely each one is.

A grammar is a YAML file of `lists`, `variables` and `rules`. Telling a story means expanding the
rule `story`: one of its alternatives is picked, all equally likely, and each of its holes filled:

    {night}             a rule: one of its alternatives, picked afresh each time
    {hero}              a variable: drawn from its list at the first mention, the same ever after
    {hero.they}         an attribute of what was drawn
    {a friend}          with an article: "an owl"
    {Hero} {A friend}   with a capital letter

Variables that share a list never hold the same item. So a story is a sequence of choices, and
where a text can be told in one way only, as `Grammar.derivations` shows, the product of their
probabilities is that of the text. On average no model can score better than that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmladder.errors import InputError
from lmladder.rng import stream

import numpy as np
import yaml

START = "story"
SECTIONS = ("lists", "variables", "rules")
HOLE = re.compile(r"\{(?:([aA]) )?(\w+)(?:\.(\w+))?\}")


@dataclass(frozen=True)
class Story:
    """One tale on one line, and minus the natural logarithm of its probability."""

    text: str
    nats: float


@dataclass(frozen=True)
class Mention:
    """A hole for a variable; `forms[i]` is how item i of the variable's list reads here."""

    variable: str
    forms: tuple[str, ...]
    rivals: tuple[str, ...]  # the other variables that draw from the same list

    def taken(self, drawn: Mapping[str, int]) -> list[int]:
        """The items that are no longer free, in rising order."""
        return sorted(drawn[rival] for rival in self.rivals if rival in drawn)


@dataclass(frozen=True)
class Choice:
    """A hole for a rule: one of its alternatives, each as likely as the others."""

    alternatives: tuple[Template, ...]
    nats: float


Part = str | Mention | Choice
Template = tuple[Part, ...]


@dataclass(frozen=True)
class Grammar:
    """A compiled story grammar: the choice with which every story starts."""

    start: Choice

    @classmethod
    def load(cls, path: Path) -> Grammar:
        """Read, check and compile a grammar file.

        Raises
        ------
        InputError
            If the file is missing or malformed: one line that names the file and the fault.
        """
        try:
            source = yaml.safe_load(path.read_text(encoding="utf-8"))
            return cls(_Compiler(source).compile())
        except OSError as error:
            raise InputError(f"cannot read the grammar {path}: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
        except InputError as fault:
            raise InputError(f"{path}: {fault}") from None

    def expand(self, rng: np.random.Generator) -> Story:
        """Tell one story."""
        written: list[str] = []
        nats = 0.0
        drawn: dict[str, int] = {}
        todo: list[Part] = [self.start]  # the next part stands last
        while todo:
            part = todo.pop()
            if isinstance(part, str):
                written.append(part)
            elif isinstance(part, Choice):
                nats += part.nats
                picked = int(rng.integers(len(part.alternatives)))
                todo.extend(reversed(part.alternatives[picked]))
            else:
                if part.variable not in drawn:
                    taken = part.taken(drawn)
                    free = len(part.forms) - len(taken)
                    nats += math.log(free)
                    item = int(rng.integers(free))
                    for other in taken:  # the item-th of those that are free
                        item += item >= other
                    drawn[part.variable] = item
                written.append(part.forms[drawn[part.variable]])
        return Story("".join(written), nats)

    def derivations(self, text: str) -> list[float]:
        """Minus log probability, in nats, of every way in which the grammar can tell `text`.

        A story of a sound grammar gives one value, equal to the bit to what `expand` said. Two or
        more mean that the grammar is ambiguous, none that the text is not one of its stories.
        """
        found: list[float] = []
        start: tuple[int, float, dict[str, int], Template] = (0, 0.0, {}, (self.start,))
        partial = [start]  # matched so far: up to where, for how much, with which draws; what next
        while partial:
            at, nats, drawn, todo = partial.pop()
            if not todo:
                if at == len(text):
                    found.append(nats)
                continue
            part, rest = todo[0], todo[1:]
            if isinstance(part, Choice):
                for alternative in part.alternatives:
                    partial.append((at, nats + part.nats, drawn, alternative + rest))
            elif isinstance(part, str) or part.variable in drawn:
                form = part if isinstance(part, str) else part.forms[drawn[part.variable]]
                if text.startswith(form, at):
                    partial.append((at + len(form), nats, drawn, rest))
            else:
                taken = part.taken(drawn)
                then = nats + math.log(len(part.forms) - len(taken))
                for item, form in enumerate(part.forms):
                    if item not in taken and text.startswith(form, at):
                        partial.append((at + len(form), then, {**drawn, part.variable: item}, rest))
        return found


def tell(grammar: Grammar, seed: int, characters: int) -> list[Story]:
    """Stories until their texts, each with its newline, reach `characters`."""
    stories: list[Story] = []
    told = 0
    while told < characters:
        story = grammar.expand(stream(seed, "tales", len(stories)))
        stories.append(story)
        told += len(story.text) + 1
    return stories


class _Compiler:
    """Turns the content of a grammar file into choices; its errors leave the path to `load`."""

    def __init__(self, source: Any) -> None:
        if not isinstance(source, dict) or set(source) != set(SECTIONS):
            raise InputError(f"a grammar has the sections {', '.join(SECTIONS)}, and no others")
        for section in SECTIONS:
            if not isinstance(source[section], dict):
                raise InputError(f"the section {section!r} maps names to what they stand for")
        self.lists = {name: _items(name, entries) for name, entries in source["lists"].items()}
        self.variables: dict[str, str] = source["variables"]
        self.rules: dict[str, Any] = source["rules"]
        self.compiled: dict[str, Choice] = {}

    def compile(self) -> Choice:
        lists_drawn_from = list(self.variables.values())
        for variable, list_name in self.variables.items():
            if variable in self.rules:
                raise InputError(f"{variable!r} is both a variable and a rule")
            if not isinstance(list_name, str) or list_name not in self.lists:
                raise InputError(f"variable {variable!r} draws from an unknown list {list_name!r}")
            if len(self.lists[list_name]) < lists_drawn_from.count(list_name):
                raise InputError(f"list {list_name!r} has fewer items than variables")
        start = self.rule(START, ())
        if unused := [name for name in self.rules if name not in self.compiled]:
            raise InputError(f"rule {unused[0]!r} is never used")
        _mentioned_after(start, frozenset())
        return start

    def rule(self, name: str, callers: tuple[str, ...]) -> Choice:
        if name in callers:
            raise InputError(f"rule {name!r} leads back to itself: {' > '.join((*callers, name))}")
        if name not in self.rules:
            caller = f"in rule {callers[-1]!r}" if callers else "to start with"
            raise InputError(f"no rule or variable is called {name!r} ({caller})")
        if name not in self.compiled:
            texts = self.rules[name]
            if isinstance(texts, str):
                texts = texts.splitlines()
            _check_texts(f"rule {name!r}", texts)
            alternatives = tuple(self.template(text, (*callers, name)) for text in texts)
            self.compiled[name] = Choice(alternatives, math.log(len(alternatives)))
        return self.compiled[name]

    def template(self, text: str, callers: tuple[str, ...]) -> Template:
        parts: list[Part] = []
        at = 0
        for hole in HOLE.finditer(text):
            parts += [text[at : hole.start()], self.fill(hole, callers)]
            at = hole.end()
        parts.append(text[at:])
        for part in parts:
            if isinstance(part, str) and ("{" in part or "}" in part):
                raise InputError(f"rule {callers[-1]!r} has a stray brace: {part.strip()!r}")
        return tuple(part for part in parts if part != "")

    def fill(self, hole: re.Match[str], callers: tuple[str, ...]) -> Part:
        article, name, attribute = hole.groups()
        variable = name.lower()
        if variable not in self.variables:
            if article or attribute:
                raise InputError(f"{hole[0]} in rule {callers[-1]!r} does not name a variable")
            return self.rule(name, callers)
        list_name = self.variables[variable]
        items = self.lists[list_name]
        key = attribute.lower() if attribute else "words"
        if lacking := [item["words"] for item in items if key not in item]:
            raise InputError(f"{hole[0]} in rule {callers[-1]!r}: {lacking[0]!r} has no {key!r}")
        forms = [item[key] for item in items]
        if article:
            forms = [f"{'an' if form[0] in 'aeiou' else 'a'} {form}" for form in forms]
        if any(word and word[0].isupper() for word in hole.groups()):
            forms = [form[0].upper() + form[1:] for form in forms]
        rivals = [v for v, drawn_from in self.variables.items() if drawn_from == list_name]
        rivals.remove(variable)
        return Mention(variable, tuple(forms), tuple(rivals))


def _items(list_name: str, entries: Any) -> list[dict[str, str]]:
    """Each item of a list as its attributes, with its own text under "words"."""
    items: list[dict[str, str]] = []
    for entry in entries if isinstance(entries, list) else []:
        group: dict[str, Any] = entry if isinstance(entry, dict) else {"words": entry}
        words: Any = group.get("words")
        for word in words if isinstance(words, list) else [words]:
            items.append({**group, "words": word})
    _check_texts(f"list {list_name!r}", [item["words"] for item in items])
    for item in items:
        for key, value in item.items():
            _check_texts(f"{key!r} of {item['words']!r} in list {list_name!r}", [value])
    return items


def _check_texts(owner: str, texts: Any) -> None:
    if not isinstance(texts, list) or not texts:
        raise InputError(f"{owner} is empty")
    for text in texts:
        if not isinstance(text, str) or text.splitlines() != [text]:
            raise InputError(f"{owner} has an entry that is not one line of text: {text!r}")
        if texts.count(text) > 1:
            raise InputError(f"{owner} has {text!r} twice")


def _mentioned_after(choice: Choice, before: frozenset[str]) -> frozenset[str]:
    """Variables surely drawn after `choice`; each must be introduced by forms that differ."""
    ends = []
    for template in choice.alternatives:
        drawn = before
        for part in template:
            if isinstance(part, Choice):
                drawn = _mentioned_after(part, drawn)
            elif isinstance(part, Mention):
                if part.variable not in drawn and len(set(part.forms)) < len(part.forms):
                    raise InputError(
                        f"variable {part.variable!r} may be mentioned first as "
                        f"{part.forms[0]!r}, which does not tell its items apart"
                    )
                drawn |= {part.variable}
        ends.append(drawn)
    return frozenset.intersection(*ends)
