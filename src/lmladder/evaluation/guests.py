"""Models of other libraries on a prepared text: their checkpoints, and the text in their tokens."""

from dataclasses import replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from lmladder.data import Prepared
from lmladder.models.contract import own_tokenizer
from lmladder.models.guests import DIGEST, digest
from lmladder.models.registry import KINDS
from lmladder.system.arrays import IntArray
from lmladder.system.errors import InputError
from lmladder.training.checkpoint import Checkpoint

import numpy as np

TOKENS_OF_CONTEXT = 8  # of the text, read for each token of context of a guest
MIN_CONTEXT = 4096  # tokens of the text, so that a line begins among them


def refer(origin: Checkpoint, settings: Any, prepared: Prepared) -> Checkpoint:
    """Return `origin` with the tokenizer of a guest, and the digest of its files as its array."""
    found = digest(Path(settings.path))
    model = KINDS.component(origin.kind)(settings, origin.vocabulary_size)
    tokenizer = own_tokenizer(model) or prepared.tokenizer
    return replace(
        origin,
        vocabulary_size=tokenizer.vocabulary_size,
        tokenizer=tokenizer.to_json(),
        model={DIGEST: found},
    )


class Converted(NamedTuple):
    """A split in the tokens of a guest.

    Attributes
    ----------
    tokens : of the guest, (guest's tokens,)
    preceding : the end of the text before the split, in the guest's tokens
    positions : of the token of the text in which each of the guest's tokens begins
    """

    tokens: IntArray
    preceding: IntArray
    positions: IntArray


@lru_cache(maxsize=16)
def convert(tokenizer: Any, context_length: int, prepared: Prepared, split: str) -> Converted:
    """Return a split in the tokens of a guest, which represent each byte of it once.

    The split is encoded apart from the text before it, of which the end is read.

    Parameters
    ----------
    tokenizer : a `GuestTokenizer`
    context_length : of the guest, in its tokens

    Raises
    ------
    InputError
        If the tokens of the text, or those of the guest, do not represent the text exactly.
    """
    ours, tokens = prepared.tokenizer, np.asarray(prepared.split(split))
    text = ours.decode(tokens)
    if not np.array_equal(ours.encode(text), tokens):
        raise InputError(
            f"the tokens of {prepared.directory} ({ours.name}) do not represent its text exactly, "
            "so a model with other tokens cannot be scored on it"
        )
    found, starts = tokenizer.encode_located(text)
    sizes = np.array([ours.n_bytes(np.array([each])) for each in range(ours.vocabulary_size)])
    offsets = np.array([0, *accumulate(len(each.encode()) for each in text)])
    positions = np.searchsorted(sizes[tokens].cumsum(), offsets[starts], side="right")
    n_before = max(MIN_CONTEXT, TOKENS_OF_CONTEXT * context_length)
    before = ours.decode(np.asarray(prepared.preceding(split)[-n_before:]))
    # From the first line that is not cut, or word.
    before = before.partition("\n")[2] or before.partition(" ")[2] or before
    return Converted(found, tokenizer.encode(before), positions)
