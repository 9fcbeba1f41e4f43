"""A corpus: one long text, or documents, read in pieces and split into train, val and test.

`corpora.py` defines the sources of a corpus.
"""

import re
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lmladder.data.reading import PIECE_CHARACTERS, opened, text_from_bytes
from lmladder.data.settings import SplitSettings
from lmladder.data.splits import spans
from lmladder.system.errors import InputError
from lmladder.system.streams import stream

NEWLINE_AND_BLANK_LINES = re.compile(r"[\r\n]\s*\Z")
SEPARATORS = {"lines": "\n", "paragraphs": "\x1e"}  # the latter is ASCII's record separator


@dataclass(frozen=True)
class Corpus:
    """A text, whole or in documents, or a split of one, before tokenization.

    Attributes
    ----------
    indices : of its documents, in order; of a long text, which is one document, the offsets of its
        characters, which are consecutive
    read : yields the documents with given indices; of a long text its characters, in pieces
    separator : the character that ends each document and occurs in none; None for a long text
    nll : -log probability by index, in nats, of documents with a known distribution; else empty
    grammar : the source of the story grammar that generates the documents; else None
    """

    name: str
    indices: Sequence[int]
    read: Callable[[Sequence[int]], Iterator[str]]
    separator: str | None = None
    nll: Sequence[float] = ()
    grammar: dict[str, Any] | None = None

    @classmethod
    def of_text(cls, name: str, text: str) -> "Corpus":
        """Return a corpus of one long text in memory."""
        return cls(name, range(len(text)), lambda span: iter([text[span[0] : span[-1] + 1]]))

    @classmethod
    def of_documents(
        cls,
        name: str,
        texts: Sequence[str],
        nll: Sequence[float] = (),
        grammar: dict[str, Any] | None = None,
    ) -> "Corpus":
        """Return a corpus of documents in memory, none of which contains a newline."""
        return cls(name, range(len(texts)), partial(map, texts.__getitem__), "\n", nll, grammar)

    @classmethod
    def from_file(
        cls, name: str, path: Path, documents: str = "whole", characters: int | None = None
    ) -> "Corpus":
        """Return the corpus of a file, which may contain any bytes.

        Parameters
        ----------
        documents : "whole" for one long text; "lines" for the lines that are not blank, which end
            in LF, CRLF or CR; "paragraphs" for the text between blank lines. Memory contains
            one whole document while it is read, and eight bytes for each document.
        characters : the number of characters to read, or of the longest sequence of documents that
            fits, with at least one document; None for all

        Raises
        ------
        InputError
            If the file cannot be read, has only white space, or a document contains the separator.
        """
        if documents == "whole":
            count, blank = 0, True
            for piece in _characters(path, range(characters or sys.maxsize)):
                count += len(piece)
                blank = blank and piece.isspace()
            corpus = cls(name, range(count), partial(_characters, path))
        else:
            separator = SEPARATORS[documents]
            starts = _document_starts(path, characters, separator)
            count = len(starts) - 1
            blank = not count
            corpus = cls(name, range(count), partial(_documents, path, starts), separator)
        if not path.stat().st_size:
            raise InputError(f"{path} is empty")
        if blank:
            where = f" in its first {characters} characters" if characters else ""
            raise InputError(f"{path} has only white space{where}")
        return corpus

    def __len__(self) -> int:
        """Return the number of documents; a long text is one."""
        return len(self.indices) if self.separator else min(1, len(self.indices))

    def __iter__(self) -> Iterator[str]:
        """Yield the documents, each whole."""
        return self.read(self.indices) if self.separator else iter(["".join(self.pieces())])

    def pieces(self) -> Iterator[str]:
        """Yield the text as it is tokenized, with separators, from the beginning at each call."""
        if len(self.indices):
            yield from (text + (self.separator or "") for text in self.read(self.indices))

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
            If the fractions do not sum to 1, or a split with a fraction above 0 would be empty.
        """
        count, unit = len(self.indices), "characters"
        order: Any = self.indices
        if self.separator:
            unit, order = "documents", stream(seed, "split").permutation(count)
        cuts = spans(count, split, unit=unit)
        return {name: replace(self, indices=order[cut]) for name, cut in cuts.items()}


def _characters(path: Path, span: Sequence[int]) -> Iterator[str]:
    """Yield the characters of a file from span[0] to span[-1], in pieces."""
    begin, end, offset = span[0], span[-1] + 1, 0
    with opened(path) as file:
        while offset < end and (piece := file.read(PIECE_CHARACTERS)):
            yield piece[max(0, begin - offset) : end - offset]
            offset += len(piece)


def _document_starts(path: Path, characters: int | None, separator: str) -> "array[int]":
    """Return the byte offsets at which documents begin, followed by the end of the last.

    Blank lines separate documents; if the separator is a newline, each other line is a document.
    """
    starts = array("q")
    offset = used = 0
    inside = False
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            text = line.rstrip("\r\n")
            blank = not text or text.isspace()
            if not blank:
                if separator in text:
                    raise InputError(
                        f"{path}: line {number} has the character U+{ord(separator):04X}, "
                        "which must end documents"
                    )
                if separator == "\n" or not inside:
                    starts.append(offset)
                used += len(text) + 1  # and the newline or the separator
                if characters is not None and used > characters and len(starts) > 1:
                    offset = starts.pop()
                    break
            inside = not blank
            offset += len(line) if line.isascii() else len(line.encode(errors="surrogateescape"))
    starts.append(offset)
    return starts


def _documents(path: Path, starts: "array[int]", indices: Sequence[int]) -> Iterator[str]:
    """Yield the documents with these indices, without the newline and blank lines at their end."""
    with opened(path, "rb") as file:
        for index in indices:
            file.seek(starts[index])
            text = text_from_bytes(file.read(starts[index + 1] - starts[index]))
            end = NEWLINE_AND_BLANK_LINES.search(text)
            yield text[: end.start()] if end else text
