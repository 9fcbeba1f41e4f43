"""Text of models as people can read it: tokens, probabilities, and the file samples.txt."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

from lmladder.data import Tokenizer
from lmladder.system.arrays import IntArray

MARKS = {"\n": "↵", "\t": "⇥"}
UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


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


def to_text(samples: Mapping[str, str]) -> str:
    """Return the content of samples.txt for the samples of each model."""
    return "\n".join(f"== {name} ==\n{text}\n" for name, text in samples.items())


def printable(text: str) -> str:
    """Return `text` with U+FFFD for control characters and surrogates."""
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n")).strip("\n")
