"""Where text comes from: a grammar's tales, a download, or a file of the user's.

A corpus is named in `CORPORA` and loaded by `load_corpus`. What is done with it afterwards
(tokens, splits, files for training) is told in `prepared.py`.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lmladder.errors import InputError
from lmladder.text.tokenizers import text_from_bytes

MAX_DOWNLOAD_BYTES = 1 << 28
DIGITS_SHOWN = 12  # of a sha256, in messages


@dataclass(frozen=True)
class Corpus:
    """One text, whole or in documents, before it is split and turned into tokens.

    Attributes
    ----------
    documents : one or more; a long text without parts is a single document
    nats : for text drawn from a known distribution, -log probability of each document
    """

    name: str
    documents: tuple[str, ...]
    nats: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.documents:
            raise ValueError("a corpus needs at least one document")
        if self.nats is not None and len(self.nats) != len(self.documents):
            raise ValueError(f"{len(self.nats)} nats for {len(self.documents)} documents")

    def written(self) -> tuple[str, ...]:
        """The documents as a model reads them: where there are several, each ends its line."""
        if len(self.documents) == 1:
            return self.documents
        return tuple(document + "\n" for document in self.documents)


@dataclass(frozen=True)
class Source:
    """Where to find a corpus: the arguments of `load_corpus`, which explains them."""

    corpus: str
    path: Path | None
    url: str | None
    sha256: str | None
    documents: str
    seed: int
    characters: int | None
    cache: Path


def load_corpus(
    *,
    corpus: str,
    path: Path | str | None = None,
    url: str | None = None,
    sha256: str | None = None,
    documents: str = "whole",
    seed: int = 0,
    characters: int | None = None,
    cache: Path | None = None,
) -> Corpus:
    """The corpus of that name.

    Parameters
    ----------
    corpus : a name in `CORPORA`
    path : the grammar of the tales, the file name inside `cache`, or the user's file
    url, sha256 : where to download a corpus that is not in `cache` yet, and what it must be
    documents : "whole" for one long text, "lines" for one document a line; tales are documents
    seed : of the tales
    characters : how long the tales are to be in all; other text is cut to about that length
    cache : the folder of downloads; None for `cache_directory()`

    Raises
    ------
    InputError
        If there is no such corpus, or its file cannot be used.
    RunError
        If a download fails.
    """
    if corpus not in CORPORA:
        raise InputError(f"unknown corpus {corpus!r}; choose from {sorted(CORPORA)}")
    if characters is not None and characters < 1:
        raise InputError(f"corpus {corpus!r}: characters must be 1 or more, not {characters}")
    return CORPORA[corpus](
        Source(
            corpus=corpus,
            path=None if path is None else Path(path),
            url=url,
            sha256=sha256,
            documents=documents,
            seed=seed,
            characters=characters,
            cache=cache_directory() if cache is None else Path(cache),
        )
    )


def cache_directory() -> Path:
    """The folder of downloaded text: $LMLADDER_DATA, which may be read-only, or else `data`."""
    return Path(os.environ.get("LMLADDER_DATA") or "data")


def read_text(path: Path, *, sha256: str | None = None, remedy: str = "") -> str:
    """The text of a file, any bytes at all, checked against `sha256` where it is given.

    Raises
    ------
    InputError
        If the file is missing, no regular file, unreadable, blank, or another than expected, in
        which case the message ends with `remedy`.
    """
    try:
        if path.exists() and not path.is_file():
            kind = "a directory" if path.is_dir() else "no regular file"
            raise InputError(f"cannot read {path}: it is {kind}")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if sha256 is not None:
        _require_sha256(path, data, sha256, remedy)
    text = text_from_bytes(data)
    if not text or text.isspace():
        raise InputError(f"{path} {'holds only white space' if text else 'is empty'}")
    return text


def _tell_tales(source: Source) -> Corpus:
    # Here and not above, as only the prepare stage needs YAML, or the network below.
    from lmladder.text.tales import Grammar, tell

    _refuse(source, "url", "sha256")
    if source.path is None or source.characters is None:
        raise InputError(f"corpus {source.corpus!r} needs a path (its grammar) and characters")
    stories = tell(Grammar.load(source.path), source.seed, source.characters)
    return Corpus(
        source.corpus,
        tuple(story.text for story in stories),
        tuple(story.nats for story in stories),
    )


def _download(source: Source) -> Corpus:
    from lmladder.text.download import fetch

    if source.path is None or source.sha256 is None:
        raise InputError(
            f"corpus {source.corpus!r} needs a path (its name in the cache) and a sha256"
        )
    file = source.cache / source.path
    if not file.exists():
        if source.url is None:
            raise InputError(f"there is no file {file}, and no url to download it from")
        fetch(source.url, file, sha256=source.sha256, max_bytes=MAX_DOWNLOAD_BYTES)
    text = read_text(file, sha256=source.sha256, remedy="delete it to download it again")
    return Corpus(source.corpus, _cut(text, source, file))


def _open_file(source: Source) -> Corpus:
    _refuse(source, "url")
    if source.path is None:
        raise InputError(f"corpus {source.corpus!r} needs a path (the text to read)")
    remedy = "give the new sha256 if the file has changed on purpose"
    text = read_text(source.path, sha256=source.sha256, remedy=remedy)
    return Corpus(source.path.name, _cut(text, source, source.path))


CORPORA: dict[str, Callable[[Source], Corpus]] = {
    "tales": _tell_tales,
    "shakespeare": _download,
    "names": _download,
    "file": _open_file,
}


def _cut(text: str, source: Source, path: Path) -> tuple[str, ...]:
    """The documents of `text`, as many as `source.characters` allows, but at least one."""
    if source.documents not in _CUTS:
        raise InputError(f"unknown documents {source.documents!r}; choose from {sorted(_CUTS)}")
    documents = _CUTS[source.documents](text, source.characters)
    if not any(map(str.strip, documents)):
        raise InputError(f"{path}: its first {source.characters} characters are white space")
    return documents


def _whole(text: str, characters: int | None) -> tuple[str, ...]:
    return (text[:characters],)


def _lines(text: str, characters: int | None) -> tuple[str, ...]:
    """The lines that are not blank, whether they end in LF, CRLF or CR."""
    lines = tuple(line for line in re.split(r"\r\n|\r|\n", text) if line.strip())
    if characters is None:
        return lines
    return lines[: max(1, _how_many_fit(map(len, lines), characters))]


_CUTS: dict[str, Callable[[str, int | None], tuple[str, ...]]] = {"whole": _whole, "lines": _lines}


def _how_many_fit(lengths: Iterable[int], characters: int) -> int:
    count = used = 0
    for length in lengths:
        used += length + 1  # and the newline that closes a document
        if used > characters:
            break
        count += 1
    return count


def _refuse(source: Source, *fields: str) -> None:
    """An argument without effect is a mistake, and better told than passed over."""
    for field in fields:
        if getattr(source, field) is not None:
            raise InputError(f"corpus {source.corpus!r} is not downloaded and takes no {field}")


def _require_sha256(path: Path, data: bytes, expected: str, remedy: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != expected.lower():
        raise InputError(
            f"{path} has sha256 {found[:DIGITS_SHOWN]}, expected {expected[:DIGITS_SHOWN]}"
            + (f"; {remedy}" if remedy else "")
        )
