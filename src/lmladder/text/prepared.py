"""The folder between the prepare stage and all others: token arrays, tokenizer, and their facts.

    train.npy val.npy test.npy   tokens, one dimension, the smallest unsigned dtype; may be empty
    tokenizer.json               see `tokenizers/`
    corpus.json                  `CorpusFacts`: counts, sums of sha256, what the text was made with;
                                 sealed with a sha256 of itself

`writing.py` writes it, `Prepared.open` reads it back without loading the tokens.
"""

import hashlib
import json
import math
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmladder.arrays import IntArray
from lmladder.config import dotted
from lmladder.errors import InputError
from lmladder.sealing import unseal
from lmladder.text.splits import SPLITS
from lmladder.text.tokenizers import (
    Tokenizer,
    token_dtype,
    tokenizer_from_json,
)

import numpy as np

BLOCK_BYTES = 1 << 20  # read at a time
REMEDY = "run `dvc repro prepare`"


@dataclass(frozen=True)
class Oracle:
    """How surprising a split is to the distribution it was drawn from.

    Attributes
    ----------
    nats : -log probability of the whole split; the newline that closes a document is certain
    standard_error_nats : by how much `nats` would vary among splits of as many documents, estimated
        from the documents as independent draws; None where there are fewer than two
    """

    nats: float
    standard_error_nats: float | None


@dataclass(frozen=True)
class SplitFacts:
    """What is known of one split; `sha256` is that of its file."""

    documents: int
    tokens: int
    bytes: int
    sha256: str
    oracle: Oracle | None


@dataclass(frozen=True)
class CorpusFacts:
    """The content of corpus.json.

    Attributes
    ----------
    settings : what the text was made with, for `Prepared.require_settings`
    characters : of the whole text as the models read it
    bytes : that its tokens stand for, which are all but those of words that become <unk>
    tokenizer : its name
    digest : sha256 of train.npy, val.npy, test.npy and tokenizer.json, one after another
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


class Prepared:
    """A folder that `write_prepared` filled, opened for reading.

    Attributes
    ----------
    train, val, test : memory-mapped tokens, shape (tokens,), of a split without text (0,)
    corpus : what corpus.json tells
    digest : identifies tokens and tokenizer; the same for the same bytes
    """

    def __init__(
        self,
        directory: Path,
        arrays: Mapping[str, IntArray],
        tokenizer: Tokenizer,
        corpus: CorpusFacts,
    ) -> None:
        self.directory = directory
        self.train, self.val, self.test = (arrays[name] for name in SPLITS)
        self.tokenizer = tokenizer
        self.corpus = corpus
        self.digest = corpus.digest

    @classmethod
    def open(cls, directory: Path) -> "Prepared":
        """Map the arrays into memory and check that they fit the tokenizer and corpus.json.

        Raises
        ------
        InputError
            If a file is missing, damaged, or does not belong to the others.
        """
        directory = Path(directory)
        corpus = read_facts(directory / "corpus.json")
        path = directory / "tokenizer.json"
        try:
            tokenizer = tokenizer_from_json(_read_json(path))
        except InputError as error:
            raise InputError(f"{path}: {error}; {REMEDY}") from error
        described = (corpus.tokenizer, corpus.vocabulary_size)
        if (tokenizer.name, tokenizer.vocabulary_size) != described:
            raise InputError(f"{path} is not the tokenizer that corpus.json tells of; {REMEDY}")
        arrays = {
            name: _map(directory / f"{name}.npy", corpus.splits[name].tokens, tokenizer)
            for name in SPLITS
        }
        return cls(directory, arrays, tokenizer, corpus)

    def split(self, name: str) -> IntArray:
        """The tokens of the split of that name."""
        if name not in SPLITS:
            raise InputError(f"unknown split {name!r}; choose from {SPLITS}")
        tokens: IntArray = getattr(self, name)
        return tokens

    def past(self, name: str) -> IntArray:
        """The tokens that come before a split's first: those of the split before it, if any."""
        tokens = self.split(name)
        for earlier in reversed(SPLITS[: SPLITS.index(name)]):
            if len(self.split(earlier)):
                return self.split(earlier)
        return tokens[:0]

    def verify(self) -> None:
        """Read all files and compare their sha256 with corpus.json; InputError if one differs."""
        found, digest = digests(self.directory)
        for name in SPLITS:
            expected = self.corpus.splits[name].sha256
            if found[name] != expected:
                raise InputError(
                    f"{self.directory / name}.npy has sha256 {found[name][:12]}, "
                    f"expected {expected[:12]}; {REMEDY}"
                )
        if digest != self.digest:
            path = self.directory / "tokenizer.json"
            raise InputError(f"{path} has changed since it was written; {REMEDY}")

    def require_settings(self, settings: Mapping[str, Any]) -> None:
        """InputError if this text was made with other settings than the ones asked for."""
        held, asked = _flat(self.corpus.settings), _flat(settings)
        telling = ("data.corpus", "data.path")  # what explains the most stands first
        for key in sorted(held.keys() | asked.keys(), key=lambda key: (key not in telling, key)):
            if held.get(key, "nothing") != asked.get(key, "nothing"):
                raise InputError(
                    f"{self.directory} was prepared with {key}={held.get(key, 'nothing')}, but "
                    f"this run asks for {key}={asked.get(key, 'nothing')}; run "
                    "`python stages/compose.py` with the settings of this run, then "
                    "`dvc repro prepare`"
                )


def digests(directory: Path) -> tuple[dict[str, str], str]:
    """sha256 of the array of each split, and of all these and tokenizer.json together."""
    each, whole = {}, hashlib.sha256()
    for name in SPLITS:
        digest = hashlib.sha256()
        for block in _blocks(directory / f"{name}.npy"):
            digest.update(block)
            whole.update(block)
        each[name] = digest.hexdigest()
    for block in _blocks(directory / "tokenizer.json"):
        whole.update(block)
    return each, whole.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a file of the folder, a block at a time."""
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except FileNotFoundError as error:
        raise InputError(f"there is no prepared text: {path} is missing; {REMEDY}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _read_json(path: Path) -> object:
    try:
        value: object = json.loads(b"".join(_blocks(path)), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}; {REMEDY}") from error
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def read_facts(path: Path) -> CorpusFacts:
    """What a corpus.json tells; InputError if it is missing or damaged."""
    text = b"".join(_blocks(path))
    try:
        fields = unseal(text.decode())
        corpus = _object(fields, CorpusFacts, "corpus.json")
        splits = {}
        if corpus["splits"].keys() != set(SPLITS):
            raise ValueError(f"its splits are {reprlib.repr(sorted(corpus['splits']))}")
        for name in SPLITS:
            split = _object(corpus["splits"][name], SplitFacts, name)
            if split["oracle"] is not None:
                split["oracle"] = Oracle(**_object(split["oracle"], Oracle, "oracle"))
            splits[name] = SplitFacts(**split)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} does not describe a prepared text: {error}; {REMEDY}") from error
    return CorpusFacts(**{**corpus, "splits": splits})


_KINDS: dict[Any, tuple[type, ...]] = {
    int: (int,),
    float: (float, int),
    float | None: (float, int, type(None)),
    str: (str,),
    dict[str, Any]: (dict,),
    dict[str, SplitFacts]: (dict,),
    Oracle | None: (dict, type(None)),
}


def _object(fields: object, kind: type, where: str) -> dict[str, Any]:
    """A copy of `fields`, if its keys and values are those of the dataclass `kind`."""
    expected = kind.__annotations__
    if not isinstance(fields, dict):
        raise ValueError(f"{where} is no object")
    if fields.keys() != expected.keys():
        wrong = reprlib.repr(sorted(fields.keys() ^ expected.keys()))
        raise ValueError(f"{where} lacks or should not have {wrong}")
    for key, value in fields.items():
        no_count = isinstance(value, int | float) and not 0 <= value < math.inf  # nor is NaN
        if isinstance(value, bool) or no_count or not isinstance(value, _KINDS[expected[key]]):
            raise ValueError(f"{key} of {where} is {reprlib.repr(value)}")
    return dict(fields)


def _map(path: Path, length: int, tokenizer: Tokenizer) -> IntArray:
    """The array at `path`, memory-mapped, if it holds `length` tokens of `tokenizer`."""
    if not path.exists():
        raise InputError(f"there is no prepared text: {path} is missing; {REMEDY}")
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # reads no pickle and no zip
    except Exception as error:  # of many kinds: NumPy parses the header as Python source
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path} is damaged or no array: {reason}; {REMEDY}") from error
    dtype = token_dtype(tokenizer.vocabulary_size)
    if array.ndim != 1 or array.dtype != dtype:
        raise InputError(
            f"{path} holds {array.ndim}-dimensional {array.dtype}, "
            f"expected 1-dimensional {dtype}; {REMEDY}"
        )
    if len(array) != length:
        raise InputError(
            f"{path} holds {len(array):,} tokens, but corpus.json tells of {length:,}; {REMEDY}"
        )
    largest = _largest(path, array)
    if largest >= tokenizer.vocabulary_size:
        raise InputError(
            f"{path} holds token {largest}, but the vocabulary has only "
            f"{tokenizer.vocabulary_size}; {REMEDY}"
        )
    return array


def _largest(path: Path, array: np.memmap[Any, Any]) -> int:
    """The largest token of an array, read in blocks: a map keeps in memory what it has read."""
    largest = 0
    with path.open("rb") as file:
        file.seek(array.offset)
        while len(block := np.fromfile(file, array.dtype, BLOCK_BYTES)):
            largest = max(largest, int(block.max()))
    return largest


def _flat(settings: Mapping[str, Any]) -> dict[str, str]:
    """Nested settings as {"data.seed": "0"}, each value in JSON."""
    return {key: json.dumps(value, sort_keys=True) for key, value in dotted(settings).items()}
