"""The folder that the prepare stage writes for the other stages: tokens, tokenizer, and facts.

    train.npy val.npy test.npy   tokens, one dimension, the smallest unsigned dtype; may be empty
    tokenizer.json               see `tokenizers/`
    corpus.json                  `CorpusFacts`: counts, sha256, the settings of the text; sealed

`writing.py` writes it, `Prepared.open` reads it without loading the tokens.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any, BinaryIO

from lmladder.data.reading import opened, parse_json
from lmladder.data.splits import SPLITS
from lmladder.data.tokenizers import Tokenizer, tokenizer_from_json
from lmladder.system.arrays import IntArray
from lmladder.system.errors import InputError
from lmladder.system.sealing import sha256_of, unseal
from lmladder.system.settings import Record, dotted, validate

import numpy as np

TOKENIZER = "tokenizer.json"
FILES = (*(f"{name}.npy" for name in SPLITS), TOKENIZER)  # besides corpus.json
REMEDY = "run `dvc repro prepare`, or the command that made the folder, again"


@contextmanager
def _remedy() -> Iterator[None]:
    """Append the remedy to the message of an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{error}; {REMEDY}") from error


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
        corpus = read_facts(directory / "corpus.json")
        with _remedy(), ExitStack() as stack:
            # Each file is opened once, so that another process cannot replace it after its check.
            files = {name: stack.enter_context(opened(directory / name, "rb")) for name in FILES}
            sums = {name: file_digest(file, "sha256").hexdigest() for name, file in files.items()}
            if digest_of(sums) != corpus.digest:
                known = {f"{name}.npy": each.sha256 for name, each in corpus.splits.items()}
                changed = next((name for name in known if sums[name] != known[name]), TOKENIZER)
                raise InputError(f"{directory / changed} has changed since it was written")
            fields = parse_json(files[TOKENIZER], directory / TOKENIZER)
            tokenizer = tokenizer_from_json(fields)
            return cls(directory, tokenizer, corpus, *map(_mapped, [*files.values()][:-1]))

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
        recorded, given = _as_json(self.corpus.settings), _as_json(settings)
        for key in sorted(recorded.keys() | given.keys()):
            old, new = recorded.get(key, "nothing"), given.get(key, "nothing")
            if old != new:
                raise InputError(
                    f"{self.directory} was prepared with {key}={old}, but this run has "
                    f"{key}={new}; run `python stages/compose.py` with the settings of this run, "
                    "then `dvc repro prepare`"
                )


def digest_of(sums: Mapping[str, str]) -> str:
    """Return the sha256 of the sums of `FILES`, which identifies the text and its tokenizer."""
    return sha256_of(sums[name].encode() for name in FILES)


def _mapped(file: BinaryIO) -> IntArray:
    """Return the array in an open .npy file, mapped into memory."""
    file.seek(0)
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return np.memmap(file, dtype, "r", file.tell(), shape)


@_remedy()
def read_facts(path: Path) -> CorpusFacts:
    """Return the content of a corpus.json; InputError if it is missing or damaged."""
    with opened(path, "rb") as file:
        text = file.read()
    try:
        facts = validate(CorpusFacts, unseal(text.decode()))
        if facts.splits.keys() != set(SPLITS):
            raise ValueError(f"its splits must be {', '.join(SPLITS)}")
    except (ValueError, InputError, RecursionError) as error:
        raise InputError(f"{path} does not describe a prepared text: {error}") from error
    return facts


def _as_json(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return nested settings as {"data.seed": "0"}, each value in JSON."""
    return {key: json.dumps(value, sort_keys=True) for key, value in dotted(settings).items()}
