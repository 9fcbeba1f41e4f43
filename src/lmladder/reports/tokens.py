"""Tokens and probabilities as text for people."""

import unicodedata
from collections.abc import Sequence

from lmladder.data import Tokenizer
from lmladder.system.arrays import IntArray

MARKS = {"\n": "↵", "\t": "⇥"}


def visible(text: str, *, space: str = "␣") -> str:
    """Return `text` in one line, with a visible symbol for each character.

    Control characters, directional marks and other characters without a shape are named, such as
    U+202E. A space is replaced by `space`.
    """
    return "".join(
        MARKS.get(each) or (each if each.isprintable() else f"U+{ord(each):04X}") for each in text
    ).replace(" ", space)


def token_labels(tokenizer: Tokenizer, tokens: Sequence[int] | IntArray) -> list[str]:
    """Return a label for each token: its text, or its number if that is not whole characters."""
    return [_label(int(token), tokenizer.decode([token])) for token in tokens]


def _label(token: int, text: str) -> str:
    if not text or "\N{REPLACEMENT CHARACTER}" in text:
        return f"#{token}"
    bare = unicodedata.category(text[0]).startswith("M")  # an accent without its letter
    return ("\N{DOTTED CIRCLE}" if bare else "") + visible(text)


def percent(probability: float) -> str:
    """Format a probability in percent."""
    return f"{probability:.2%}" if probability >= 0.0001 else "<0.01%"
