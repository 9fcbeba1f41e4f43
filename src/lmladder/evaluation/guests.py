"""A prepared text in the tokens of a model that has its own."""

from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

from lmladder.data import Prepared
from lmladder.system.arrays import IntArray
from lmladder.system.errors import InputError

import numpy as np

TOKENS_OF_CONTEXT = 8  # of the text, read for each token of context of a guest
MIN_CONTEXT = 4096  # tokens of the text, so that a line begins among them


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
