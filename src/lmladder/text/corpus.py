"""What a corpus is: one long text, or documents. Either is read in pieces and never held whole, so
that a text may be larger than memory.

Where a corpus comes from is told in `corpora.py`.
"""

import hashlib
import io
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TextIO

from lmladder.errors import InputError
from lmladder.text.splits import deal, spans
from lmladder.text.tokenizers import text_from_bytes

PIECE_CHARACTERS = 1 << 18  # read and encoded at a time; a longer document is one piece
RECORD_SEPARATOR = "\x1e"
NEWLINE_AND_BLANK_LINES = re.compile(r"[\r\n]\s*\Z")
DIGITS_SHOWN = 12  # of a sha256, in messages


@dataclass(frozen=True)
class Part:
    """One split of a corpus.

    Attributes
    ----------
    documents : how many it has
    nats : of each document, where the corpus knows them; else none
    pieces : reads its text anew at each call
    """

    documents: int
    nats: Sequence[float]
    pieces: Callable[[], Iterator[str]]


class Corpus(Protocol):
    """One text, whole or in documents, before it is split and turned into tokens.

    Attributes
    ----------
    boundary : the character that closes each document and is in none; None for a long text
    """

    @property
    def name(self) -> str: ...

    @property
    def boundary(self) -> str | None: ...

    def __len__(self) -> int:
        """How many documents it has; a long text is one."""

    def __iter__(self) -> Iterator[str]:
        """The documents, each whole."""

    def pieces(self) -> Iterator[str]:
        """The text as the models read it, documents in their order, in pieces of bounded size."""

    def split(self, *, train: float, val: float, test: float, seed: int) -> dict[str, Part]:
        """Its parts by name; the fractions sum to 1.

        Raises
        ------
        InputError
            If these are no such fractions, or one above 0 comes to nothing.
        """


@dataclass(frozen=True)
class LongText:
    """One text without parts. It is split in order, and so the seed has no effect.

    Parameters
    ----------
    open : a context that gives the text from its beginning, newlines as they stand
    characters : how many of them count, all of which there are
    """

    name: str
    open: Callable[[], AbstractContextManager[TextIO]]
    characters: int
    boundary = None

    @classmethod
    def of(cls, name: str, text: str) -> "LongText":
        """A text that is in memory."""
        return cls(name, partial(io.StringIO, text, newline=""), len(text))

    @classmethod
    def from_file(cls, name: str, path: Path, characters: int | None = None) -> "LongText":
        """The first `characters` of a file; InputError if they are white space only."""
        opened = partial(_open, path, encoding="utf-8", errors="surrogateescape", newline="")
        length, blank = 0, True
        with opened() as file:
            for piece in _pieces(file, characters):
                length += len(piece)
                blank = blank and piece.isspace()
        if blank and length and length == characters:
            raise InputError(f"{path}: its first {characters} characters are white space")
        if blank:
            raise InputError(f"{path} {'holds only white space' if length else 'is empty'}")
        return cls(name, opened, length)

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        yield "".join(self.pieces())

    def pieces(self) -> Iterator[str]:
        return self._between(slice(0, self.characters))

    def split(self, *, train: float, val: float, test: float, seed: int) -> dict[str, Part]:
        found = spans(self.characters, train=train, val=val, test=test, unit="characters")
        return {
            name: Part(int(span.stop > span.start), (), partial(self._between, span))
            for name, span in found.items()
        }

    def _between(self, span: slice) -> Iterator[str]:
        with self.open() as file:
            for _ in _pieces(file, span.start):
                pass
            yield from _pieces(file, span.stop - span.start)


@dataclass(frozen=True)
class Documents:
    """Several texts, each of which is held whole while it is read. They are shuffled for a split,
    as neighbours in a file are often alike, and each is closed by the boundary.

    Parameters
    ----------
    count : how many there are, 1 or more
    read : gives the documents of these numbers, in this order
    nats : for text drawn from a known distribution, -log probability of each document
    boundary : one character, in no document
    """

    name: str
    count: int
    read: Callable[[Iterable[int]], Iterator[str]]
    nats: Sequence[float] | None = None
    boundary: str = "\n"

    def __post_init__(self) -> None:
        if not self.count:
            raise ValueError("a corpus needs at least one document")
        if self.nats is not None and len(self.nats) != self.count:
            raise ValueError(f"{len(self.nats)} nats for {self.count} documents")

    @classmethod
    def of(
        cls, name: str, texts: Sequence[str], nats: Sequence[float] | None = None
    ) -> "Documents":
        """Documents that are in memory."""
        return cls(name, len(texts), partial(map, texts.__getitem__), nats)

    @classmethod
    def from_lines(cls, name: str, path: Path, characters: int | None = None) -> "Documents":
        """The lines of a file that are not blank, whether they end in LF, CRLF or CR.

        All, or as many as fit into `characters`, but at least one. Eight bytes are held for each.
        """
        return cls._from_file(name, path, characters, "\n")

    @classmethod
    def from_paragraphs(cls, name: str, path: Path, characters: int | None = None) -> "Documents":
        """What stands between blank lines, otherwise as `from_lines`.

        As a newline may be in a document, what closes it is ASCII's record separator.
        """
        return cls._from_file(name, path, characters, RECORD_SEPARATOR)

    @classmethod
    def _from_file(
        cls, name: str, path: Path, characters: int | None, boundary: str
    ) -> "Documents":
        starts = _starts_of_documents(path, characters, boundary)
        if len(starts) == 1:
            empty = path.stat().st_size == 0
            raise InputError(f"{path} {'is empty' if empty else 'holds only white space'}")
        read = partial(_read_documents, path, starts)
        return cls(name, len(starts) - 1, read, boundary=boundary)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[str]:
        return self.read(range(self.count))

    def pieces(self) -> Iterator[str]:
        return self._closed(range(self.count))

    def split(self, *, train: float, val: float, test: float, seed: int) -> dict[str, Part]:
        dealt = deal(self.count, train=train, val=val, test=test, seed=seed)
        return {
            name: Part(
                len(numbers),
                () if self.nats is None else [self.nats[i] for i in numbers],
                partial(self._closed, numbers),
            )
            for name, numbers in dealt.items()
        }

    def _closed(self, numbers: Iterable[int]) -> Iterator[str]:
        """These documents, each with its boundary, some to a piece."""
        held: list[str] = []
        length = 0
        for text in self.read(numbers):
            held += (text, self.boundary)
            length += len(text) + 1
            if length >= PIECE_CHARACTERS:
                yield "".join(held)
                held.clear()
                length = 0
        yield "".join(held)


def require_sha256(path: Path, expected: str, *, remedy: str) -> None:
    """InputError, ending with `remedy`, if a file cannot be read or is another than expected."""
    with _open(path, mode="rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected.lower():
        raise InputError(
            f"{path} has sha256 {found[:DIGITS_SHOWN]}, expected {expected[:DIGITS_SHOWN]}; "
            f"{remedy}"
        )


def _pieces(file: TextIO, characters: int | None) -> Iterator[str]:
    """The next `characters` of a file, or all that is left, in pieces."""
    left = characters
    while left is None or left > 0:
        piece = file.read(PIECE_CHARACTERS if left is None else min(left, PIECE_CHARACTERS))
        if not piece:
            return
        if left is not None:
            left -= len(piece)
        yield piece


def _starts_of_documents(path: Path, characters: int | None, boundary: str) -> "array[int]":
    """Byte offsets at which the documents begin, and after them where the last ends.

    Between two documents are blank lines; where the boundary is a newline, each line is one.
    """
    starts = array("q")
    offset = used = 0
    inside = False
    with _open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        for number, line in enumerate(file, start=1):
            text = line.rstrip("\r\n")
            blank = not text or text.isspace()
            if not blank:
                if boundary in text:
                    raise InputError(
                        f"{path}: line {number} has the character U+{ord(boundary):04X}, "
                        "which is to close documents"
                    )
                if boundary == "\n" or not inside:
                    starts.append(offset)
                used += len(text) + 1  # and the newline, or what closes the document
                if characters is not None and used > characters and len(starts) > 1:
                    offset = starts.pop()
                    break
            inside = not blank
            offset += len(line) if line.isascii() else len(line.encode(errors="surrogateescape"))
    starts.append(offset)
    return starts


def _read_documents(path: Path, starts: "array[int]", numbers: Iterable[int]) -> Iterator[str]:
    with _open(path, mode="rb") as file:
        for number in numbers:
            start = starts[number]
            file.seek(start)
            text = text_from_bytes(file.read(starts[number + 1] - start))
            end = NEWLINE_AND_BLANK_LINES.search(text)
            yield text[: end.start()] if end else text


@contextmanager
def _open(path: Path, **how: Any) -> Iterator[Any]:
    """A file for reading; what fails then and there is an InputError."""
    try:
        if path.exists() and not path.is_file():
            kind = "a directory" if path.is_dir() else "no regular file"
            raise InputError(f"cannot read {path}: it is {kind}")
        with path.open(**how) as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
