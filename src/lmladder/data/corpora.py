"""Sources of text: stories of a grammar, a download, or a file of the user.

A corpus to download is one file of `conf/data`: its url, its sha256, its name in the cache and how
it is cut into documents. `corpus.py` defines what a corpus is; `writing.py` tokenizes it.
"""

import os
import sys
from pathlib import Path

from lmladder.data.corpus import Corpus
from lmladder.data.reading import read_sha256
from lmladder.data.settings import (
    CORPORA,
    DataSettings,
    DownloadSettings,
    FileSettings,
    TalesSettings,
)
from lmladder.system.errors import InputError, RunError

TIMEOUT_SECONDS = 30.0  # for each wait on the network, not for the whole download
DIGITS_SHOWN = 12  # of a sha256, in messages


def load_corpus(settings: DataSettings, cache: Path | None = None) -> Corpus:
    """Return a corpus, after downloading it where that is necessary.

    Parameters
    ----------
    cache : the folder of downloads; None for `cache_directory()`

    Raises
    ------
    InputError
        If there is no such corpus, or its file cannot be used.
    RunError
        If a download fails.
    """
    load = CORPORA.component(settings.corpus)
    corpus: Corpus = load(settings, cache or cache_directory())
    return corpus


def load_tales(settings: TalesSettings, cache: Path) -> Corpus:
    """Return the stories that a grammar generates."""
    # Here and not above, as only the prepare stage needs YAML.
    from lmladder.data.tales import Grammar, generate

    grammar = Grammar.load(Path(settings.path))
    stories = generate(grammar, settings.seed, settings.characters)
    texts, nll = [each.text for each in stories], [each.nll for each in stories]
    return Corpus(settings.corpus, texts, "\n", nll, grammar.source)


def load_download(settings: DownloadSettings, cache: Path) -> Corpus:
    """Return a text in the cache, after downloading it if it is not there."""
    file = cache / settings.path
    if not file.exists():
        _download(settings.url, file, settings.sha256)
    return _load_checked(file, settings, "delete it to download it again")


def load_file(settings: FileSettings, cache: Path) -> Corpus:
    """Return the text of a file."""
    return _load_checked(
        Path(settings.path), settings, "give the new sha256 if the file has changed on purpose"
    )


def _load_checked(file: Path, settings: DownloadSettings | FileSettings, remedy: str) -> Corpus:
    """Return the corpus of a file; InputError, with the remedy, if it has another sha256."""
    expected = settings.sha256
    if expected is not None and (found := read_sha256(file)) != expected.lower():
        raise InputError(
            f"{file} has sha256 {found[:DIGITS_SHOWN]}, expected {expected[:DIGITS_SHOWN]}; "
            f"{remedy}"
        )
    return Corpus.from_file(file.name, file, settings.documents, settings.characters)


def cache_directory() -> Path:
    """Return the folder of downloads: $LMLADDER_DATA, which may be read-only, or else `data`."""
    return Path(os.environ.get("LMLADDER_DATA") or "data")


def read_text(path: Path) -> str:
    """Return the text of a file of any bytes as one string; InputError if it has none."""
    return Corpus.from_file(path.name, path).texts[0]


def _download(url: str | None, file: Path, sha256: str) -> None:
    """Download `url` to `file` if it has this sha256; a failure leaves no file."""
    import pooch

    if url is None:
        raise InputError(f"there is no file {file}, and no url to download it from")
    pooch.get_logger().setLevel("WARNING")
    print(f"downloading {url} to {file}", file=sys.stderr)
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT_SECONDS)
    try:
        pooch.retrieve(
            url, f"sha256:{sha256.lower()}", file.name, file.parent, downloader=downloader
        )
    except (OSError, ValueError) as error:  # of the network or the disk, or of another sha256
        raise RunError(
            f"cannot download {url} to {file}: {' '.join(str(error).split())}; run again to retry, "
            "put the right file there by hand, or set LMLADDER_DATA to a folder with space"
        ) from error
