"""A corpus: one long text, or documents, split into train, val and test.

`corpora.py` defines the sources of a corpus.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

from lmladder.data.reading import opened
from lmladder.data.splits import SplitSettings, spans
from lmladder.system.errors import InputError
from lmladder.system.messages import say
from lmladder.system.streams import stream

BYTE_ORDER_MARK = "\ufeff"
SEPARATORS = {"lines": "\n", "paragraphs": "\x1e"}  # the latter is ASCII's record separator


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
    def of_text(cls, name: str, text: str) -> "Corpus":
        """Return a corpus of one long text."""
        return cls(name, [text])

    @classmethod
    def from_file(
        cls, name: str, path: Path, documents: str = "whole", characters: int | None = None
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
        if not text:
            raise InputError(f"{path} is empty")
        if text.isspace():
            where = f" in its first {characters} characters" if characters else ""
            raise InputError(f"{path} has only white space{where}")
        if separator is None:
            return cls.of_text(name, text)
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
        return cls(name, texts, separator)

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
