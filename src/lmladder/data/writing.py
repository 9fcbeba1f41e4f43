"""Writing the folder that `prepared.py` describes and reads."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmladder.data.corpus import Corpus
from lmladder.data.prepared import FILES, TOKENIZER, CorpusFacts, Oracle, SplitFacts, digest_of
from lmladder.data.reading import bytes_from_text, read_sha256, whole_chunks
from lmladder.data.splits import SplitSettings
from lmladder.data.tokenizers import (
    Tokenizer,
    TokenizerSettings,
    build_tokenizer,
    can_encode_any_text,
)
from lmladder.system.errors import RunError
from lmladder.system.files import atomic_write, atomic_writer, write_json
from lmladder.system.sealing import seal

import numpy as np


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
    fitted_to = ["train"] if can_encode_any_text(tokenizer) else [*parts]
    encoder = build_tokenizer(
        tokenizer,
        (parts[name].pieces() for name in fitted_to),
        separator=corpus.separator,
        source=corpus.name,
    )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "corpus.json").unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"cannot write to {directory}: {error.strerror or error}") from error
    splits, characters = {}, 0
    for name, part in parts.items():
        splits[name], length = _write_split(directory / f"{name}.npy", part, encoder, advance)
        characters += length
    write_json(directory / TOKENIZER, encoder.to_json())
    sums = {name: read_sha256(directory / name) for name in FILES}
    splits = {
        name: facts.model_copy(update={"sha256": sums[f"{name}.npy"]})
        for name, facts in splits.items()
    }
    corpus_facts = CorpusFacts(
        name=corpus.name,
        settings=dict(settings),
        documents=len(corpus.texts),
        characters=characters,
        bytes=sum(facts.bytes for facts in splits.values()),
        vocabulary_size=encoder.vocabulary_size,
        tokenizer=encoder.name,
        digest=digest_of(sums),
        splits=splits,
        grammar=corpus.grammar,
    )
    sealed = seal(corpus_facts.model_dump(), indent=2, allow_nan=False)
    atomic_write(directory / "corpus.json", sealed.encode("ascii"))
    return corpus_facts


def _write_split(
    path: Path, corpus: Corpus, tokenizer: Tokenizer, advance: Callable[[int], None]
) -> tuple[SplitFacts, int]:
    """Write the tokens of a split; return its facts without the sha256, and its characters."""
    ids = [np.empty(0, tokenizer.dtype)]
    for piece in whole_chunks(corpus.pieces()):
        ids.append(tokenizer.encode(piece))
        advance(len(piece))
    with atomic_writer(path) as file:
        np.lib.format.write_array(file, np.concatenate(ids))
    n_bytes = sum(map(tokenizer.n_bytes, ids))
    # The probability is that of the text, not of the text without unknown words.
    known = corpus.nll and n_bytes == sum(len(bytes_from_text(each)) for each in corpus.pieces())
    oracle = _oracle(corpus.nll) if known else None
    facts = SplitFacts(
        documents=len(corpus.texts),
        tokens=sum(map(len, ids)),
        bytes=n_bytes,
        sha256="",
        oracle=oracle,
    )
    return facts, sum(map(len, corpus.pieces()))


def _oracle(nll: Sequence[float]) -> Oracle:
    """Return exact sums (math.fsum), so that the last digit does not depend on the machine."""
    count, total = len(nll), math.fsum(nll)
    if count < 2:
        return Oracle(nats=total, standard_error_nats=None)
    variance = math.fsum((x - total / count) ** 2 for x in nll) / (count - 1)
    return Oracle(nats=total, standard_error_nats=math.sqrt(count * variance))
