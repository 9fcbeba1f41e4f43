"""How often every n-gram of a text occurs: one set of tables, from which all count models read.

The n-grams of a text form a tree. Its root is the empty n-gram, and the children of an n-gram are
those that extend it by one token. Here the tree is a few sorted arrays instead of linked nodes. An
n-gram's id is its rank among the distinct n-grams of its own length, and its key joins the id of
its prefix (all but the last token) with its last token:

    key = id of the prefix * vocabulary_size + last token

Two things follow. An n-gram of any length is found token by token, by a binary search per token.
And as the keys ascend, the children of an n-gram lie side by side, ordered by their last token.

    text "abab", a = 0, b = 1      order 1: a b          order 2: ab ba        order 3: aba bab
                                   keys     0 1          keys     1  2         keys       0   3
                                   counts   2 2          counts   2  1         counts     1   1

Which probabilities one makes of these counts is told in `ngram.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from lmladder.arrays import Array, IntArray
from lmladder.errors import InputError

import numpy as np
from numpy.typing import NDArray

UNSEEN = -1  # the id of every n-gram that does not occur in the text

_LARGEST_INTEGER = int(np.iinfo(np.int64).max)


class CountTables:
    """The counts of all n-grams of orders 1 to N of one text.

    Parameters
    ----------
    keys, counts : for each order 1..N an array, shape (distinct n-grams of that order,)
        The ascending keys, and beside each how often its n-gram occurs. An order longer than the
        text has empty arrays.
    vocabulary_size : how many different tokens there can be, seen or not
    """

    def __init__(
        self, keys: Sequence[IntArray], counts: Sequence[IntArray], vocabulary_size: int
    ) -> None:
        self.vocabulary_size = vocabulary_size
        self.order = len(keys)
        sizes = [1, *(len(order_keys) for order_keys in keys)]  # order 0 is the root alone
        self._sizes = sizes
        self._keys = [
            _compact(order_keys, largest=prefixes * vocabulary_size)
            for order_keys, prefixes in zip(keys, sizes, strict=False)
        ]
        self._counts = [
            _compact(order_counts, largest=int(order_counts.max(initial=0)))
            for order_counts in counts
        ]

    @classmethod
    def count(cls, tokens: IntArray, vocabulary_size: int, order: int) -> "CountTables":
        """Count the n-grams of orders 1 to `order` in a text.

        Parameters
        ----------
        tokens : int array, shape (length,), each in [0, vocabulary_size)
        vocabulary_size : number of different tokens
        order : the longest n-grams to count, at least 1; may exceed the text's length

        Raises
        ------
        InputError
            If the text is empty, the order below 1, or the keys could outgrow 64 bits.
        ValueError
            If `tokens` is no one-dimensional integer array of tokens of the vocabulary.
        """
        if np.ndim(tokens) != 1:
            raise ValueError(f"tokens to count must have shape (length,), not {np.shape(tokens)}")
        if order < 1:
            raise InputError(f"the order of n-gram counts must be at least 1, not {order}")
        if np.size(tokens) == 0:
            raise InputError("cannot count n-grams in a text of length 0")
        if len(tokens) * vocabulary_size >= _LARGEST_INTEGER:
            raise InputError(
                f"n-gram keys of {len(tokens)} tokens and a vocabulary of {vocabulary_size} "
                "do not fit into 64 bits"
            )
        text = checked_tokens(tokens, vocabulary_size)
        keys: list[IntArray] = []
        counts: list[IntArray] = []
        n_prefixes = 1
        ids = np.zeros(text.size + 1, dtype=np.int64)  # of the n-gram that starts at each token
        for k in range(1, order + 1):
            occurrences = ids[:-1] * vocabulary_size + text[k - 1 :]
            distinct, ids, frequencies = _rank(occurrences, bound=n_prefixes * vocabulary_size)
            keys.append(distinct)
            counts.append(frequencies)
            n_prefixes = len(distinct)
        return cls(keys, counts, vocabulary_size)

    def size(self, order: int) -> int:
        """How many distinct n-grams of this order were counted; order 0 is the empty one."""
        return self._sizes[order]

    def counts(self, order: int) -> IntArray:
        """c(g): how often each n-gram of this order occurs, shape (size(order),), by id."""
        return self._counts[order - 1]

    def prefixes_and_last_tokens(self, order: int) -> tuple[IntArray, IntArray]:
        """What each n-gram of this order is made of: its prefix's id, its last token; by id."""
        prefixes, last_tokens = np.divmod(self._keys[order - 1], self.vocabulary_size)
        return prefixes.astype(np.int64), last_tokens.astype(np.int64)

    @cached_property
    def continuation_counts(self) -> list[IntArray]:
        """N1+(.g) for orders 1 to N - 1: how many distinct tokens occur before each n-gram.

        The n-grams that continue some token into g are those that become g when their first token
        is dropped, so each n-gram one longer adds 1 to its suffix. Suffixes need no storing: the
        suffix of "xhw" is the child by w of the suffix of "xh".
        """
        continuations: list[IntArray] = []
        suffixes = np.zeros(self.size(1), dtype=np.int64)  # one token without its first: the root
        for order in range(2, self.order + 1):
            prefixes, last_tokens = self.prefixes_and_last_tokens(order)
            suffixes = self.find(order - 1, suffixes[prefixes], last_tokens)
            if np.any(suffixes == UNSEEN):
                raise ValueError(f"keys_{order} holds an n-gram whose suffix was not counted")
            continuations.append(np.bincount(suffixes, minlength=self.size(order - 1)))
        return continuations

    def find(self, order: int, prefixes: IntArray, last_tokens: IntArray) -> NDArray[np.int64]:
        """Ids of the n-grams of `order` made of these prefixes (ids) and last tokens, any shape.

        What does not occur in the text is UNSEEN, and so is all that begins with an UNSEEN prefix.
        """
        keys = self._keys[order - 1]
        ids = np.full(prefixes.shape, UNSEEN, dtype=np.int64)
        if keys.size == 0:
            return ids
        seen = prefixes != UNSEEN
        wanted = prefixes[seen] * self.vocabulary_size + last_tokens[seen]
        # In the dtype of the keys, or searchsorted would convert all of them at every call.
        wanted = wanted.astype(keys.dtype)
        ranks = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
        ids[seen] = np.where(keys[ranks] == wanted, ranks, UNSEEN)
        return ids

    def children(
        self, order: int, prefixes: IntArray
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """All n-grams of `order` that extend the given prefixes (ids, or UNSEEN: no children).

        Returns
        -------
        which, last_tokens, ids : int arrays, all of shape (number of children,)
            The child `ids[i]` extends `prefixes[which[i]]` by `last_tokens[i]`.
        """
        keys = self._keys[order - 1]
        seen = prefixes != UNSEEN
        starts = np.where(seen, prefixes, 0) * self.vocabulary_size
        ends = starts + self.vocabulary_size
        first = np.searchsorted(keys, starts.astype(keys.dtype))
        n_children = np.searchsorted(keys, ends.astype(keys.dtype)) - first
        n_children[~seen] = 0
        which = np.repeat(np.arange(len(prefixes)), n_children)
        offsets = np.arange(len(which)) - (np.cumsum(n_children) - n_children)[which]
        ids = first[which] + offsets
        return which, keys[ids].astype(np.int64) - starts[which], ids

    def ids_by_order(self, rows: IntArray, order: int) -> Iterator[NDArray[np.int64]]:
        """The ids of all n-grams in each row: for order 0, then 1, up to `order`.

        Column i of the k-th array, shape (rows, length - k + 1), is the n-gram of order k that
        starts at token i. Ends early where the rows are shorter than the order.
        """
        n_rows, length = rows.shape
        ids = np.zeros((n_rows, length + 1), dtype=np.int64)  # the root starts everywhere
        yield ids
        for k in range(1, min(order, length) + 1):
            ids = self.find(k, ids[:, :-1], rows[:, k - 1 :])
            yield ids

    def arrays(self) -> dict[str, Array]:
        """The tables as named arrays, ready for a file: keys_1, counts_1, keys_2, ..."""
        named: dict[str, Array] = {}
        for order, (keys, counts) in enumerate(zip(self._keys, self._counts, strict=True), 1):
            named[f"keys_{order}"] = keys
            named[f"counts_{order}"] = counts
        return named

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], vocabulary_size: int) -> "CountTables":
        """The inverse of `arrays`, for arrays that may come from anywhere.

        Raises
        ------
        ValueError
            If the arrays cannot be those of any text; names the array at fault.
        """
        order = len(arrays) // 2
        expected = [f"{kind}_{k}" for k in range(1, order + 1) for kind in ("keys", "counts")]
        if not arrays or set(arrays) != set(expected):
            raise ValueError(
                "count tables are arrays keys_1, counts_1, keys_2, counts_2 and so on, "
                f"not {sorted(arrays)}"
            )
        n_prefixes, n_tokens = 1, 0
        for k in range(1, order + 1):
            keys, counts = arrays[f"keys_{k}"], arrays[f"counts_{k}"]
            _check_keys(f"keys_{k}", keys, largest=n_prefixes * vocabulary_size - 1)
            _check_counts(f"counts_{k}", counts, shape=keys.shape)
            total = int(counts.sum(dtype=np.float64))  # cannot overflow
            if k == 1:
                n_tokens = total
            if n_tokens == 0 or total != max(n_tokens - k + 1, 0):
                raise ValueError(f"counts_{k} add up to {total}, for a text of {n_tokens} tokens")
            n_prefixes = len(keys)
        tables = cls(
            [arrays[f"keys_{k}"] for k in range(1, order + 1)],
            [arrays[f"counts_{k}"] for k in range(1, order + 1)],
            vocabulary_size,
        )
        _ = tables.continuation_counts  # finds n-grams without a suffix
        return tables


def checked_tokens(tokens: IntArray, vocabulary_size: int) -> NDArray[np.int64]:
    """The tokens as int64; a token outside the vocabulary would pass for another n-gram."""
    if not np.issubdtype(np.asarray(tokens).dtype, np.integer):
        raise ValueError(f"tokens must be integers, not {np.asarray(tokens).dtype}")
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < vocabulary_size:
        raise ValueError(
            f"tokens must lie in [0, {vocabulary_size}), "
            f"these reach from {tokens.min()} to {tokens.max()}"
        )
    return tokens.astype(np.int64)


def _rank(keys: IntArray, bound: int) -> tuple[IntArray, NDArray[np.int64], IntArray]:
    """The distinct keys, ascending; the rank of each key among them; how often each occurs."""
    if bound > 4 * keys.size:
        return np.unique(keys, return_inverse=True, return_counts=True)
    # Few keys are possible, as always for short n-grams: tally all of them and spare the sorting.
    tally = np.bincount(keys, minlength=bound)
    distinct = np.flatnonzero(tally)
    rank = np.empty(bound, dtype=np.int64)
    rank[distinct] = np.arange(len(distinct))
    return distinct, rank[keys], tally[distinct]


def _compact(values: IntArray, largest: int) -> IntArray:
    """The values in the smallest dtype that can hold numbers from 0 to `largest`."""
    # No uint64: NumPy mixes it with int64 into float64, which rounds.
    dtypes: list[type[np.integer[Any]]] = [np.uint8, np.uint16, np.uint32, np.int64]
    return values.astype(next(dtype for dtype in dtypes if largest <= np.iinfo(dtype).max))


def _check_keys(name: str, keys: Array, largest: int) -> None:
    if keys.ndim != 1 or not np.issubdtype(keys.dtype, np.integer):
        raise ValueError(f"{name} must be integers of shape (n,), not {keys.dtype} {keys.shape}")
    if largest >= _LARGEST_INTEGER:
        raise ValueError(f"{name} may reach {largest}, which does not fit into 64 bits")
    if np.any(keys[1:] <= keys[:-1]):
        raise ValueError(f"{name} must ascend strictly")
    if keys.size and not 0 <= int(keys[0]) <= int(keys[-1]) <= largest:
        raise ValueError(f"{name} must lie in 0 to {largest}, but reach {keys[0]} to {keys[-1]}")


def _check_counts(name: str, counts: Array, shape: tuple[int, ...]) -> None:
    if counts.shape != shape or not np.issubdtype(counts.dtype, np.integer):
        raise ValueError(
            f"{name} must be integers of shape {shape}, not {counts.dtype} {counts.shape}"
        )
    if counts.size and not 1 <= int(counts.min()) <= int(counts.max()) < _LARGEST_INTEGER:
        raise ValueError(f"{name} must be positive, but reach {counts.min()} to {counts.max()}")
