"""Where text comes from: a grammar's tales, a download, or a file of the user's.

A corpus is named in `CORPORA` and loaded by `load_corpus`. What it is, is told in `corpus.py`; what
is done with it (tokens, splits, files for training), in `writing.py`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmladder.errors import InputError
from lmladder.text.corpus import Corpus, Documents, LongText, require_sha256

MAX_DOWNLOAD_BYTES = 1 << 28


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
    documents : "whole" for one long text, "lines" for one document a line, "paragraphs" for
        documents with blank lines between them; tales are documents
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


def read_text(path: Path) -> str:
    """The text of a file, any bytes at all, held whole; InputError if it has none."""
    return "".join(LongText.from_file(path.name, path))


def _tell_tales(source: Source) -> Corpus:
    # Here and not above, as only the prepare stage needs YAML, or the network below.
    from lmladder.text.tales import Grammar, tell

    _refuse(source, "url", "sha256")
    if source.path is None or source.characters is None:
        raise InputError(f"corpus {source.corpus!r} needs a path (its grammar) and characters")
    stories = tell(Grammar.load(source.path), source.seed, source.characters)
    return Documents.of(
        source.corpus, [story.text for story in stories], [story.nats for story in stories]
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
    require_sha256(file, source.sha256, remedy="delete it to download it again")
    return _read(source.corpus, file, source)


def _open_file(source: Source) -> Corpus:
    _refuse(source, "url")
    if source.path is None:
        raise InputError(f"corpus {source.corpus!r} needs a path (the text to read)")
    remedy = "give the new sha256 if the file has changed on purpose"
    if source.sha256 is not None:
        require_sha256(source.path, source.sha256, remedy=remedy)
    return _read(source.path.name, source.path, source)


CORPORA: dict[str, Callable[[Source], Corpus]] = {
    "tales": _tell_tales,
    "shakespeare": _download,
    "names": _download,
    "file": _open_file,
}


_READERS: dict[str, Callable[[str, Path, int | None], Corpus]] = {
    "whole": LongText.from_file,
    "lines": Documents.from_lines,
    "paragraphs": Documents.from_paragraphs,
}


def _read(name: str, path: Path, source: Source) -> Corpus:
    if source.documents not in _READERS:
        raise InputError(f"unknown documents {source.documents!r}; choose from {sorted(_READERS)}")
    return _READERS[source.documents](name, path, source.characters)


def _refuse(source: Source, *fields: str) -> None:
    """An argument without effect is a mistake, and better told than passed over."""
    for field in fields:
        if getattr(source, field) is not None:
            raise InputError(f"corpus {source.corpus!r} is not downloaded and takes no {field}")
