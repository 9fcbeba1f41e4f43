"""The folder of a prepared text: the prepare stage writes it, and the other stages read it.

train.npy val.npy test.npy   tokens, one dimension, the smallest unsigned dtype; may be empty
tokenizer.json               see `tokenizers/`
corpus.json                  `CorpusFacts`: counts, sha256, the settings of the text; sealed
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any, BinaryIO

from lmladder.data.corpus import SPLITS, Corpus, SplitSettings
from lmladder.data.reading import bytes_from_text, chunks, opened
from lmladder.data.tokenizers import (
    Tokenizer,
    TokenizerSettings,
    build_tokenizer,
    must_know_whole_text,
    tokenizer_from_json,
)
from lmladder.system.arrays import IntArray
from lmladder.system.errors import InputError
from lmladder.system.files import atomic_write, atomic_writer, make_folder, sha256, write_json
from lmladder.system.sealing import seal, sha256_of, unseal
from lmladder.system.settings import Record, dotted, validate

import numpy as np

FACTS, TOKENIZER = "corpus.json", "tokenizer.json"
FILES = (*(f"{name}.npy" for name in SPLITS), TOKENIZER)  # of which the facts have the digest


class Oracle(Record):
    """How probable a split is under the distribution that it was drawn from.

    Attributes
    ----------
    nats : -log probability of the whole split; the newline that ends a document is certain
    standard_error_nats : standard deviation of `nats` among splits of as many documents, estimated
        from the documents as independent draws; None where there are fewer than two
    """

    nats: float
    standard_error_nats: float | None


class SplitFacts(Record):
    """The counts of one split; `sha256` is that of its file."""

    documents: int
    tokens: int
    bytes: int
    sha256: str
    oracle: Oracle | None


class CorpusFacts(Record):
    """The content of corpus.json.

    Attributes
    ----------
    settings : those that the text was made with, for `Prepared.require_settings`
    characters : of the whole text
    bytes : that the tokens represent: those of the text without words that became <unk>
    tokenizer : its name
    digest : what identifies tokens and tokenizer, see `digest_of`
    grammar : the source of the story grammar that generated the text; None for other text
    """

    name: str
    settings: dict[str, Any]
    documents: int
    characters: int
    bytes: int
    vocabulary_size: int
    tokenizer: str
    digest: str
    splits: dict[str, SplitFacts]
    grammar: dict[str, Any] | None


@dataclass(frozen=True, eq=False)
class Prepared:
    """A folder that `write_prepared` filled, opened for reading.

    Attributes
    ----------
    train, val, test : memory-mapped tokens, shape (tokens,); of a split without text (0,)
    corpus : the content of corpus.json
    """

    directory: Path
    tokenizer: Tokenizer
    corpus: CorpusFacts
    train: IntArray
    val: IntArray
    test: IntArray

    @property
    def digest(self) -> str:
        """What identifies tokens and tokenizer; equal for equal bytes."""
        return self.corpus.digest

    @classmethod
    def open(cls, directory: Path) -> "Prepared":
        """Read the tokenizer and map the arrays into memory.

        Raises
        ------
        InputError
            If a file is missing, or has another sha256 than in corpus.json.
        """
        directory = Path(directory)
        try:
            with ExitStack() as stack:
                # Each is opened once, so that no other process replaces it after its check.
                facts, *files = (
                    stack.enter_context(opened(directory / name, "rb")) for name in (FACTS, *FILES)
                )
                corpus = validate(CorpusFacts, unseal(facts.read().decode()))
                digest = digest_of(file_digest(each, "sha256").hexdigest() for each in files)
                if digest != corpus.digest:
                    raise InputError(f"a file in {directory} has changed since it was written")
                for each in files:
                    each.seek(0)
                *arrays, tokenizer = files
                fields = json.load(tokenizer)
                return cls(directory, tokenizer_from_json(fields), corpus, *map(_mapped, arrays))
        except (ValueError, InputError) as error:
            raise InputError(
                f"{directory} is not a complete prepared text: {error}; run `dvc repro prepare`, "
                "or the command that made the folder, again"
            ) from error

    def split(self, name: str) -> IntArray:
        """Return the tokens of a split by name."""
        tokens: IntArray = getattr(self, name)
        return tokens

    def preceding(self, name: str) -> IntArray:
        """Return the tokens before a split: those of the split before it; before train none."""
        tokens, index = self.split(name), SPLITS.index(name)
        return self.split(SPLITS[index - 1]) if index else tokens[:0]

    def require_settings(self, settings: Mapping[str, Any]) -> None:
        """Raise InputError if this text was made with other settings than the given ones."""
        recorded, given = dotted(self.corpus.settings), dotted(settings)
        for key in sorted(recorded.keys() | given.keys()):
            old, new = recorded.get(key, "nothing"), given.get(key, "nothing")
            if old != new:
                raise InputError(
                    f"{self.directory} was prepared with {key}={old}, but this run has "
                    f"{key}={new}; run `python stages/compose.py` with the settings of this run, "
                    "then `dvc repro prepare`"
                )


def write_prepared(
    directory: Path,
    corpus: Corpus,
    *,
    tokenizer: TokenizerSettings,
    split: SplitSettings,
    seed: int,
    settings: Mapping[str, Any],
    advance: Callable[[int], None] = lambda count: None,
) -> CorpusFacts:
    """Split a corpus, tokenize it, and write tokens and tokenizer to `directory`.

    corpus.json is removed first and written last: a folder without it is rejected by
    `Prepared.open`.

    Parameters
    ----------
    tokenizer : fitted to the training text if it can encode any other, else to the whole corpus
    seed : of the shuffle of documents
    settings : the configuration that determines this text, in the types of JSON
    advance : called with the number of further characters that have been encoded

    Raises
    ------
    InputError
        If the tokenizer or the fractions do not suit the corpus.
    RunError
        If a file cannot be written.
    """
    directory = Path(directory)
    parts = corpus.split(split, seed)
    fitted_to = [*parts] if must_know_whole_text(tokenizer) else ["train"]
    texts = (parts[name].pieces() for name in fitted_to)
    encoder = build_tokenizer(tokenizer, texts, separator=corpus.separator, source=corpus.name)
    make_folder(directory)
    (directory / FACTS).unlink(missing_ok=True)
    splits = {
        name: _write_split(directory / f"{name}.npy", part, encoder, advance)
        for name, part in parts.items()
    }
    write_json(directory / TOKENIZER, encoder.to_json())
    facts = CorpusFacts(
        name=corpus.name,
        settings=dict(settings),
        documents=len(corpus.texts),
        characters=sum(map(len, corpus.pieces())),
        bytes=sum(each.bytes for each in splits.values()),
        vocabulary_size=encoder.vocabulary_size,
        tokenizer=encoder.name,
        digest=digest_of(sha256(directory / name) for name in FILES),
        splits=splits,
        grammar=corpus.grammar,
    )
    sealed = seal(facts.model_dump(), indent=2, allow_nan=False)
    atomic_write(directory / FACTS, sealed.encode("ascii"))
    return facts


def _write_split(
    path: Path, corpus: Corpus, tokenizer: Tokenizer, advance: Callable[[int], None]
) -> SplitFacts:
    """Write the tokens of a split; return its facts."""
    ids = [np.empty(0, tokenizer.dtype)]
    for chunk in chunks(corpus.pieces()):
        ids.append(tokenizer.encode(chunk))
        advance(len(chunk))
    with atomic_writer(path) as file:
        np.lib.format.write_array(file, np.concatenate(ids))
    n_bytes = sum(map(tokenizer.n_bytes, ids))
    # The probability is that of the text, not of the text without unknown words.
    known = corpus.nll and n_bytes == sum(len(bytes_from_text(each)) for each in corpus.pieces())
    return SplitFacts(
        documents=len(corpus.texts),
        tokens=sum(map(len, ids)),
        bytes=n_bytes,
        sha256=sha256(path),
        oracle=_oracle(corpus.nll) if known else None,
    )


def _oracle(nll: Sequence[float]) -> Oracle:
    """Return exact sums (math.fsum), so that the last digit does not depend on the machine."""
    count, total = len(nll), math.fsum(nll)
    if count < 2:
        return Oracle(nats=total, standard_error_nats=None)
    variance = math.fsum((x - total / count) ** 2 for x in nll) / (count - 1)
    return Oracle(nats=total, standard_error_nats=math.sqrt(count * variance))


def digest_of(sums: Iterable[str]) -> str:
    """Return the sha256 of the sums of `FILES`, which identifies the text and its tokenizer."""
    return sha256_of(each.encode() for each in sums)


def _mapped(file: BinaryIO) -> IntArray:
    """Return the array in an open .npy file, mapped into memory."""
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return np.memmap(file, dtype, "r", file.tell(), shape)
