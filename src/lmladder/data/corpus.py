"""A corpus: one long text, or documents; its splits train, val and test.

`corpora.py` defines the sources of a corpus.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import Any, Self

from lmladder.data.reading import opened
from lmladder.system.errors import InputError
from lmladder.system.messages import say
from lmladder.system.settings import Fraction as Share
from lmladder.system.settings import Settings
from lmladder.system.streams import stream

from pydantic import Field, model_validator

SPLITS = ("train", "val", "test")  # for training, to select models, for the final result
BYTE_ORDER_MARK = "\ufeff"
SEPARATORS = {"lines": "\n", "paragraphs": "\x1e"}  # the latter is ASCII's record separator


class SplitSettings(Settings):
    """Fractions of the corpus; they sum to 1."""

    train: float = Field(gt=0, description="fraction of the text to train on")
    val: float = Field(gt=0, description="fraction of the validation text")
    test: Share = Field(description="fraction of the test text")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(self.train + self.val + self.test - 1) > 1e-9:
            raise ValueError(f"it must sum to 1, got {self.train} + {self.val} + {self.test}")
        return self


@dataclass(frozen=True)
class Corpus:
    """A text, whole or in documents, or a split of one, before tokenization.

    Attributes
    ----------
    texts : its documents, in order; a long text is one
    separator : the character that ends each document and occurs in none; None for a long text
    nll : -log probability of each document, in nats, if their distribution is known; else empty
    grammar : the source of the story grammar that generates the documents; else None
    """

    name: str
    texts: Sequence[str]
    separator: str | None = None
    nll: Sequence[float] = ()
    grammar: dict[str, Any] | None = None

    @classmethod
    def from_file(
        cls, path: Path, documents: str = "whole", characters: int | None = None
    ) -> "Corpus":
        """Return the corpus of a file, which may contain any bytes.

        Parameters
        ----------
        documents : "whole" for one long text; "lines" for the lines that are not blank;
            "paragraphs" for the text between blank lines
        characters : the number of characters to read, or of the longest sequence of documents that
            fits, with at least one document; None for all

        A byte order mark is removed, and lines end in LF, whatever ends them in the file.

        Raises
        ------
        InputError
            If the file cannot be read, has only white space, or a document contains the separator.
        """
        separator = SEPARATORS.get(documents)
        with opened(path) as file:
            text = file.read(None if separator else characters)
            removed = ["a byte order mark"] if text.startswith(BYTE_ORDER_MARK) else []
            removed += ["carriage returns"] if "\r" in "".join(file.newlines or "") else []
        if removed:
            say(f"note: {path}: removed {' and '.join(removed)}")
        text = text.removeprefix(BYTE_ORDER_MARK)
        if not text.strip():
            raise InputError(f"{path} has no text that is not white space")
        if separator is None:
            return cls(path.name, [text])
        texts = [line for line in text.split("\n") if line.strip()]
        if documents == "paragraphs":
            groups = groupby(text.split("\n"), lambda line: bool(line.strip()))
            texts = ["\n".join(lines) for has_text, lines in groups if has_text]
        if any(separator in each for each in texts):
            raise InputError(
                f"{path} has the character U+{ord(separator):04X}, which must end documents"
            )
        if characters is not None:
            ends = accumulate(len(each) + 1 for each in texts)  # with separators
            texts = texts[: max(1, sum(end <= characters for end in ends))]
        return cls(path.name, texts, separator)

    def pieces(self) -> Iterator[str]:
        """Yield the documents, each with the separator."""
        return (text + (self.separator or "") for text in self.texts)

    def split(self, split: SplitSettings, seed: int) -> dict[str, "Corpus"]:
        """Return the splits by name.

        A long text is cut in order. Documents are shuffled first, since neighbors in a file are
        often alike.

        Parameters
        ----------
        seed : of the shuffle

        Raises
        ------
        InputError
            If a split with a fraction above 0 would be empty.
        """
        if self.separator is None:
            (text,) = self.texts
            cuts = spans(len(text), split, unit="characters")
            return {
                name: replace(self, texts=[text[cut]] if text[cut] else [])
                for name, cut in cuts.items()
            }
        order = stream(seed, "split").permutation(len(self.texts)).tolist()
        return {
            name: replace(
                self,
                texts=[self.texts[index] for index in order[cut]],
                nll=[self.nll[index] for index in order[cut]] if self.nll else (),
            )
            for name, cut in spans(len(order), split, unit="documents").items()
        }


def spans(count: int, split: SplitSettings, *, unit: str) -> dict[str, slice]:
    """Return where to cut `count` items in order, as one slice for each split.

    Parameters
    ----------
    unit : what is counted, for error messages

    Raises
    ------
    InputError
        If a split with a fraction above 0 would be empty.
    """
    # 0.7 + 0.1 is 0.7999999999999999 in floats and would lose the last of 10 documents, so each
    # fraction is read as the decimal number that the user wrote.
    fractions = [Fraction(repr(float(getattr(split, name)))) for name in SPLITS]
    ends = [math.floor(count * end / sum(fractions)) for end in accumulate(fractions)]
    found = {}
    for name, (begin, end) in zip(SPLITS, pairwise([0, *ends]), strict=True):
        if getattr(split, name) > 0 and begin == end:
            raise InputError(
                f"split {name!r} is empty: a fraction of {getattr(split, name)} of {count} {unit} "
                "is less than one; give a longer text, or a larger fraction, or 0"
            )
        found[name] = slice(begin, end)
    return found
