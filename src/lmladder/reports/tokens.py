"""Tokens and their probabilities as people can see them, whatever characters they hold."""

import unicodedata
from collections.abc import Sequence

from lmladder.data import Tokenizer
from lmladder.system.arrays import IntArray

MARKS = {"\n": "↵", "\t": "⇥"}


def visible(text: str, *, space: str = "␣") -> str:
    """`text` in one line, with a mark for each character that has no shape or changes the others'.

    Controls, marks of direction and the like are named: U+202E. A space is `space`.
    """
    return "".join(
        space if character == " " else MARKS.get(character) or _named(character)
        for character in text
    )


def token_labels(tokenizer: Tokenizer, tokens: Sequence[int] | IntArray) -> list[str]:
    """A label for each token; one without a text of whole characters is named by its number."""
    return [_label(int(token), tokenizer.decode([token])) for token in tokens]


def _label(token: int, text: str) -> str:
    if not text or "\N{REPLACEMENT CHARACTER}" in text:
        return f"#{token}"
    bare = unicodedata.category(text[:1] or " ").startswith("M")  # an accent without its letter
    return ("\N{DOTTED CIRCLE}" if bare else "") + visible(text)


def percent(probability: float) -> str:
    return f"{probability:.2%}" if probability >= 0.0001 else "<0.01%"


def _named(character: str) -> str:
    return character if character.isprintable() else f"U+{ord(character):04X}"
