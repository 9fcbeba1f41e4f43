"""N-gram counts of a text: one set of tables, from which all count models are computed.

The n-grams of a text form a tree. Its root is the empty n-gram, and the children of an n-gram are
those that extend it by one token. The tree is stored as a few sorted arrays. The id of an n-gram is
its rank among the distinct n-grams of its length, and its key joins the id of its prefix (all but
the last token) with its last token:

    key = id of the prefix * vocabulary_size + last token

So an n-gram of any length is found by one binary search per token. And as the keys ascend, the
children of an n-gram are adjacent, ordered by their last token.

    text "abab", a = 0, b = 1      order 1: a b          order 2: ab ba        order 3: aba bab
                                   keys     0 1          keys     1  2         keys       0   3
                                   counts   2 2          counts   2  1         counts     1   1

`ngram.py` defines the probabilities.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from lmladder.system.arrays import Array, IntArray
from lmladder.system.errors import InputError
from lmladder.system.messages import say
from lmladder.system.progress import CountingProgress

import numpy as np
from numpy.typing import NDArray

BYTES = 5  # of memory for each token and order, where about half of the n-grams are distinct
PART = 1 << 21  # n-grams whose keys are sorted at a time
UNSEEN = -1  # the id of every n-gram that does not occur in the text

_MAX_INT64 = int(np.iinfo(np.int64).max)


class CountTables:
    """The counts of all n-grams of orders 1 to N of one text.

    Parameters
    ----------
    keys, counts : for each order 1..N an array, shape (distinct n-grams of that order,)
        The ascending keys, and the number of occurrences of each n-gram. An order longer than the
        text has empty arrays.
    vocabulary_size : number of different tokens, whether they occur or not
    """

    def __init__(
        self, keys: Sequence[IntArray], counts: Sequence[IntArray], vocabulary_size: int
    ) -> None:
        self.vocabulary_size = vocabulary_size
        self.order = len(keys)
        self._sizes = [1, *map(len, keys)]  # order 0 is the root alone
        self._keys = [
            _compact(order_keys, largest=prefixes * vocabulary_size)
            for order_keys, prefixes in zip(keys, self._sizes, strict=False)
        ]
        self._counts = [_compact(each, largest=int(each.max(initial=0))) for each in counts]

    @classmethod
    def count(cls, tokens: IntArray, vocabulary_size: int, order: int) -> "CountTables":
        """Count the n-grams of orders 1 to `order` in a text.

        Parameters
        ----------
        tokens : int array, shape (length,), each in [0, vocabulary_size)
        order : the longest n-grams to count; may exceed the length of the text

        Raises
        ------
        InputError
            If the keys could exceed 64 bits.
        ValueError
            If a token is not one of the vocabulary.
        """
        check_tokens(tokens, vocabulary_size)
        if len(tokens) * vocabulary_size >= _MAX_INT64:
            raise InputError(
                f"n-gram keys of {len(tokens)} tokens and a vocabulary of {vocabulary_size} "
                "exceed 64 bits"
            )
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if BYTES * order * len(tokens) > memory:
            say(
                f"warning: {len(tokens):,} tokens may have more n-grams of up to {order} tokens "
                f"than fit {memory / 1e9:.3g} GB of memory; if so, lower kneser_ney_orders"
            )
        keys: list[IntArray] = []
        counts: list[IntArray] = []
        n_prefixes = 1
        # Of the n-gram that starts at each token.
        ids = np.zeros(len(tokens), np.min_scalar_type(len(tokens)))
        total = sum(max(0, len(tokens) - k) for k in range(order))
        with CountingProgress("counting", "n-grams", total) as progress:
            for k in range(order):
                bound = n_prefixes * vocabulary_size
                found = _extend(ids, tokens[k:], vocabulary_size, bound, progress.advance)
                keys.append(found[0])
                counts.append(found[1])
                n_prefixes = len(found[0])
        return cls(keys, counts, vocabulary_size)

    def size(self, order: int) -> int:
        """Return the number of distinct n-grams of this order; order 0 is the empty one."""
        return self._sizes[order]

    def counts(self, order: int) -> IntArray:
        """Return c(g), the number of occurrences of each n-gram by id, shape (size(order),)."""
        return self._counts[order - 1]

    def prefixes_and_last_tokens(self, order: int) -> tuple[IntArray, IntArray]:
        """Return the id of the prefix and the last token of each n-gram of this order, by id."""
        prefixes, last_tokens = np.divmod(self._keys[order - 1], self.vocabulary_size)
        return prefixes.astype(np.int64), last_tokens.astype(np.int64)

    @cached_property
    def continuation_counts(self) -> list[IntArray]:
        """N1+(.g) for orders 1 to N - 1: the number of distinct tokens that precede each n-gram.

        Each n-gram that is longer by one token adds 1 to its suffix (itself without its first
        token). Suffixes are not stored: the suffix of "xhw" is the child by w of the suffix of
        "xh".
        """
        continuations: list[IntArray] = []
        suffixes = np.zeros(self.size(1), dtype=np.int64)  # one token without its first: the root
        for order in range(2, self.order + 1):
            prefixes, last_tokens = self.prefixes_and_last_tokens(order)
            parts = [slice(i, i + PART) for i in range(0, max(1, len(prefixes)), PART)]
            pairs = [(suffixes[prefixes[each]], last_tokens[each]) for each in parts]
            suffixes = np.concatenate([self.find(order - 1, *each) for each in pairs])
            counts = np.bincount(suffixes, minlength=self.size(order - 1))
            continuations.append(_compact(counts, largest=self.vocabulary_size))
        return continuations

    def find(self, order: int, prefixes: IntArray, last_tokens: IntArray) -> NDArray[np.int64]:
        """Return the ids of the n-grams of `order` with these prefixes (ids) and last tokens.

        The arrays have any shape. An n-gram that does not occur is UNSEEN, as is any whose prefix
        is UNSEEN.
        """
        keys = self._keys[order - 1]
        ids = np.full(prefixes.shape, UNSEEN, dtype=np.int64)
        if keys.size == 0:
            return ids
        seen = prefixes != UNSEEN
        # In the dtype of the keys, or searchsorted would convert all of them at every call.
        sought = (prefixes[seen] * self.vocabulary_size + last_tokens[seen]).astype(keys.dtype)
        # In ascending order: neighbors are found near each other in memory.
        ascending = np.argsort(sought)
        found, sought = np.empty(sought.shape, np.int64), sought[ascending]
        ranks = np.minimum(np.searchsorted(keys, sought), keys.size - 1)
        found[ascending] = np.where(keys[ranks] == sought, ranks, UNSEEN)
        ids[seen] = found
        return ids

    def children(
        self, order: int, prefixes: IntArray
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return all n-grams of `order` that extend the given prefixes (ids, or UNSEEN: none).

        Returns
        -------
        which, last_tokens, ids : int arrays, all of shape (number of children,)
            The child `ids[i]` extends `prefixes[which[i]]` by `last_tokens[i]`.
        """
        keys = self._keys[order - 1]
        seen = prefixes != UNSEEN
        starts = np.where(seen, prefixes, 0) * self.vocabulary_size
        first, end = (
            np.searchsorted(keys, bound.astype(keys.dtype))
            for bound in (starts, starts + self.vocabulary_size)
        )
        n_children = np.where(seen, end - first, 0)
        which = np.repeat(np.arange(len(prefixes)), n_children)
        offsets = np.arange(len(which)) - (np.cumsum(n_children) - n_children)[which]
        ids = first[which] + offsets
        return which, keys[ids].astype(np.int64) - starts[which], ids

    def ids_by_order(self, sequences: IntArray, order: int) -> Iterator[NDArray[np.int64]]:
        """Yield the ids of all n-grams in each sequence: for order 0, then 1, up to `order`.

        Column i of the k-th array, shape (sequences, length - k + 1), is the n-gram of order k that
        starts at token i. Ends early where the sequences are shorter than the order.
        """
        count, length = sequences.shape
        ids = np.zeros((count, length + 1), dtype=np.int64)  # the root starts everywhere
        yield ids
        for k in range(1, min(order, length) + 1):
            ids = self.find(k, ids[:, :-1], sequences[:, k - 1 :])
            yield ids

    def arrays(self) -> dict[str, Array]:
        """Return the tables as named arrays for a file: keys_1, counts_1, keys_2, ..."""
        named: dict[str, Array] = {}
        for order, (keys, counts) in enumerate(zip(self._keys, self._counts, strict=True), 1):
            named |= {f"keys_{order}": keys, f"counts_{order}": counts}
        return named

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], vocabulary_size: int) -> "CountTables":
        """Invert `arrays`."""
        orders = range(1, len(arrays) // 2 + 1)
        keys, counts = ([arrays[f"{kind}_{k}"] for k in orders] for kind in ("keys", "counts"))
        return cls(keys, counts, vocabulary_size)


def checked_tokens(tokens: IntArray, vocabulary_size: int) -> NDArray[np.int64]:
    """Return tokens as int64; ValueError for one outside the vocabulary."""
    check_tokens(tokens, vocabulary_size)
    return tokens.astype(np.int64)


def check_tokens(tokens: IntArray, vocabulary_size: int) -> None:
    """Raise ValueError for a token outside the vocabulary: it has the key of another n-gram."""
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < vocabulary_size:
        raise ValueError(
            f"tokens must be in [0, {vocabulary_size}), got {tokens.min()} to {tokens.max()}"
        )


def _extend(
    ids: IntArray, tokens: IntArray, size: int, bound: int, advance: Callable[[int], None]
) -> tuple[IntArray, IntArray]:
    """Extend n-grams, given by their ids, each by one of `size` tokens, and set their ids.

    Memory is bounded: besides one id for each token, it is that of a part of the text, and of the
    distinct n-grams.

    Returns
    -------
    keys, counts : of the distinct n-grams, with ascending keys, which are less than `bound`
    """
    parts = []
    for first in range(0, len(tokens), PART):
        last_tokens = tokens[first : first + PART]
        own = ids[first : first + len(last_tokens)]
        part = _compact(own * np.int64(size) + last_tokens, largest=bound)
        distinct, own[:], counts = _rank(part, bound)
        parts.append((own, distinct, _compact(counts, largest=PART)))
        advance(len(own) // 2)
    no_keys = _compact(np.empty(0, np.int64), largest=bound)
    every = np.concatenate([no_keys, *(each for _, each, _ in parts)])
    # With counts, NumPy sorts; without, it hashes, which is far slower for many keys.
    keys, _ = np.unique(every, return_counts=True)
    total = np.zeros(len(keys), np.min_scalar_type(len(ids)))
    for own, distinct, counts in parts:
        places = np.searchsorted(keys, distinct)
        total[places] += counts
        own[:] = places[own]
        advance(len(own) - len(own) // 2)
    return keys, total


def _rank(keys: IntArray, bound: int) -> tuple[IntArray, NDArray[np.int64], IntArray]:
    """Return the distinct keys, ascending; each key's rank among them; how often each occurs."""
    if bound > 4 * keys.size:
        return np.unique(keys, return_inverse=True, return_counts=True)
    # Few keys are possible, as always for short n-grams: tally all of them instead of sorting.
    tally = np.bincount(keys, minlength=bound)
    distinct = np.flatnonzero(tally)
    rank = np.empty(bound, dtype=np.int64)
    rank[distinct] = np.arange(len(distinct))
    return distinct.astype(keys.dtype), rank[keys], tally[distinct]


def _compact(values: IntArray, largest: int) -> IntArray:
    """Return the values in the smallest dtype that can represent 0 to `largest`."""
    # No uint64: NumPy mixes it with int64 into float64, which rounds.
    dtypes: list[type[np.integer[Any]]] = [np.uint8, np.uint16, np.uint32, np.int64]
    dtype = next(each for each in dtypes if largest <= np.iinfo(each).max)
    return values.astype(dtype, copy=False)
