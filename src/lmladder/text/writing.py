"""Writing the folder that `prepared.py` describes and reads.

The text passes through memory in pieces, so that it may be larger.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lmladder.atomic import atomic_write, atomic_writer, discard_side_files
from lmladder.config import TokenizerConfig
from lmladder.errors import RunError
from lmladder.sealing import seal
from lmladder.text.corpus import Corpus
from lmladder.text.prepared import CorpusFacts, Oracle, SplitFacts, digests
from lmladder.text.tokenizers import (
    Tokenizer,
    build_tokenizer,
    bytes_from_text,
    encode_pieces,
    reads_any_text,
    token_dtype,
)

import numpy as np


def write_prepared(
    directory: Path,
    corpus: Corpus,
    *,
    tokenizer: TokenizerConfig,
    train: float,
    val: float,
    test: float,
    seed: int,
    settings: Mapping[str, Any],
    advance: Callable[[int], None] = lambda count: None,
) -> CorpusFacts:
    """Split a corpus, turn it into tokens, and write both to `directory`.

    corpus.json stands only beside files that are whole and its own: where it is missing,
    `Prepared.open` refuses the folder.

    Parameters
    ----------
    tokenizer : fitted to the training text where it can encode any other, else to the whole corpus
    train, val, test : fractions that sum to 1
    seed : of the shuffle of documents
    settings : the configuration that led to this text, in the types of JSON
    advance : is told how many more characters are written as tokens, as the work goes on

    Raises
    ------
    InputError
        If the tokenizer or the fractions do not suit the corpus.
    RunError
        If a file cannot be written.
    """
    directory = Path(directory)
    parts = corpus.split(train=train, val=val, test=test, seed=seed)
    if reads_any_text(tokenizer):
        texts = [parts["train"].pieces()]
    elif corpus.boundary is None:  # the cut between two parts may go through a word
        texts = [part.pieces() for part in parts.values()]
    else:
        texts = [corpus.pieces()]
    coder = build_tokenizer(tokenizer, texts, boundary=corpus.boundary, source=corpus.name)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # First away with the facts, last back with them: a folder half renewed shows as such.
        (directory / "corpus.json").unlink(missing_ok=True)
        discard_side_files(directory)
    except OSError as error:
        raise RunError(f"cannot write to {directory}: {error.strerror or error}") from error
    written = {
        name: _write_tokens(directory / f"{name}.npy", part.pieces(), coder, advance)
        for name, part in parts.items()
    }
    atomic_write(directory / "tokenizer.json", _json(coder.to_json()))
    sha256, digest = digests(directory)
    facts = CorpusFacts(
        name=corpus.name,
        settings=dict(settings),
        documents=len(corpus),
        characters=sum(each.characters for each in written.values()),
        bytes=sum(each.bytes for each in written.values()),
        vocabulary_size=coder.vocabulary_size,
        tokenizer=coder.name,
        digest=digest,
        splits={
            name: SplitFacts(
                documents=part.documents,
                tokens=written[name].tokens,
                bytes=written[name].bytes,
                sha256=sha256[name],
                # Known is how likely the text is, not how likely it is with words left out.
                oracle=_oracle(part.nats) if len(part.nats) and written[name].lossless else None,
            )
            for name, part in parts.items()
        },
    )
    sealed = seal(asdict(facts), indent=2, allow_nan=False)
    atomic_write(directory / "corpus.json", sealed.encode("ascii"))
    return facts


def _oracle(nats: Sequence[float]) -> Oracle:
    """Exact sums (math.fsum), so that the last digit does not depend on the machine."""
    count, total = len(nats), math.fsum(nats)
    if count < 2:
        return Oracle(total, None)
    variance = math.fsum((x - total / count) ** 2 for x in nats) / (count - 1)
    return Oracle(total, math.sqrt(count * variance))


@dataclass(frozen=True)
class _Written:
    """How long a split is."""

    tokens: int
    characters: int
    bytes: int  # that its tokens stand for
    lossless: bool  # whether these are all bytes of the text


def _write_tokens(
    path: Path, pieces: Iterable[str], tokenizer: Tokenizer, advance: Callable[[int], None]
) -> _Written:
    """Write the tokens of a text as an array, piece after piece."""
    dtype = token_dtype(tokenizer.vocabulary_size)
    tokens = characters = text_bytes = n_bytes = 0

    def counted() -> Iterator[str]:
        nonlocal characters, text_bytes
        for piece in pieces:
            characters += len(piece)
            text_bytes += len(bytes_from_text(piece))
            yield piece
            advance(len(piece))

    with atomic_writer(path) as file:
        _write_header(file, tokens, dtype)
        for ids in encode_pieces(tokenizer, counted()):
            file.write(ids.data)
            tokens += len(ids)
            n_bytes += tokenizer.n_bytes(ids)
        file.seek(0)
        _write_header(file, tokens, dtype)  # NumPy pads it so that any length fits
    return _Written(tokens, characters, n_bytes, lossless=n_bytes == text_bytes)


def _write_header(file: BinaryIO, length: int, dtype: np.dtype[Any]) -> None:
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, header)


def _json(value: object) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=2, allow_nan=False) + "\n").encode("ascii")
