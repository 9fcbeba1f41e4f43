"""The count models of the ladder: from the uniform guess to modified Kneser-Ney smoothing.

An n-gram model looks at the last n - 1 tokens, the context h, and asks what followed h in the
training text. Most contexts of a new text were seen seldom or never, so the art is smoothing: to
take a little probability from what was seen and hand it to what was not. Each model here does so
by interpolation, order by order from the empty context up:

    p(w | h) = share(hw) + leftover(h) * base(w)

share(hw) is what the counts themselves grant to w after h, and leftover(h) is the probability
that the shares of h did not use up. An unseen context has no shares and leaves all: leftover 1.
The models differ in two choices only: how large the shares are, and which base gets the rest.

- Add-k pretends that each token followed each context k times more than it did. That is a leftover
  of k V / (c(h) + k V) for the uniform distribution, far too much where contexts are rare.
- Kneser-Ney subtracts a discount from each count, and hands it to the next shorter context, h
  without its first token. The shorter context is not asked how often w occurred, but after how
  many *different* tokens: "Francisco" may be frequent, yet as it follows "San" alone, it is a
  poor guess elsewhere.

References
----------
R. Kneser and H. Ney (1995). Improved backing-off for m-gram language modeling. ICASSP.
S. F. Chen and J. Goodman (1998). An empirical study of smoothing techniques for language
modeling. Technical report TR-10-98, Harvard University.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from lmladder.arrays import FloatArray, IntArray
from lmladder.errors import InputError
from lmladder.models.counts import CountTables, checked_tokens
from lmladder.models.decoding import Decoder

import numpy as np
from numpy.typing import NDArray

ADD_K_NAMES = ("unigram", "bigram", "trigram")

DEFAULT_DISCOUNTS = (0.5, 1.0, 1.5)  # those of KenLM's --discount_fallback


class Uniform:
    """p(w) = 1 / V, whatever came before: the floor under all models."""

    max_length: int | None = None
    context_length: int = 0
    n_parameters: int = 0

    def __init__(self, vocabulary_size: int) -> None:
        self.vocabulary_size = vocabulary_size

    def nats(self, tokens: IntArray) -> FloatArray:
        """log V for each token but the first: (rows, length) -> (rows, length - 1)."""
        rows, length = _checked_rows(tokens, self.vocabulary_size).shape
        return np.full((rows, max(length - 1, 0)), np.log(self.vocabulary_size))

    def next_log_probabilities(self, tokens: IntArray) -> FloatArray:
        """-log V for each token: (rows, length) -> (rows, vocabulary)."""
        rows, _ = _checked_rows(tokens, self.vocabulary_size).shape
        return np.full((rows, self.vocabulary_size), -np.log(self.vocabulary_size))

    def log_probabilities(self, tokens: IntArray) -> FloatArray:
        """-log V for each token: (rows, length) -> (rows, length, vocabulary)."""
        shape = _checked_rows(tokens, self.vocabulary_size).shape
        return np.full((*shape, self.vocabulary_size), -np.log(self.vocabulary_size))

    def decoder(self) -> Decoder:
        return Decoder(self)


@dataclass(frozen=True)
class Level:
    """What one order k contributes: p(w | h) = share(hw) + leftover(h) * base(w).

    Both arrays are indexed by id. They have one entry more at the end, which is where the id
    UNSEEN = -1 points to: an unseen n-gram has share 0, an unseen context leaves 1.

    Attributes
    ----------
    share : float64, shape (number of distinct n-grams of order k, plus 1,)
    leftover : float64, shape (number of distinct n-grams of order k - 1, plus 1,)
    """

    share: FloatArray
    leftover: FloatArray


class InterpolatedModel:
    """The recursion that add-k and Kneser-Ney have in common; they only supply the levels.

    Near the start of a row, where fewer than order - 1 tokens precede, the recursion ends at the
    order that they suffice for. A bigram model's first token is the unigram model's; in
    Kneser-Ney, it is scored by the shorter context's distribution over continuations.

    Parameters
    ----------
    tables : the counts, of an order no less than the number of levels
    levels : for each order 1, 2, ... of the model, its shares and leftovers
    base_is_uniform : whether the leftover of each order goes to the uniform distribution; else it
        goes to the order below, and only that of order 1 to the uniform distribution
    """

    max_length: int | None = None

    def __init__(
        self, tables: CountTables, levels: Sequence[Level], *, base_is_uniform: bool
    ) -> None:
        order = len(levels)
        self.vocabulary_size = tables.vocabulary_size
        self.context_length = order - 1
        self.n_parameters = sum(tables.size(k) for k in range(1, order + 1))
        self._tables = tables
        self._levels = levels
        self._base_is_uniform = base_is_uniform

    def nats(self, tokens: IntArray) -> FloatArray:
        """-log p of each token but the first, given those before it in its row.

        Parameters
        ----------
        tokens : int array, shape (rows, length), of any length

        Returns
        -------
        float64, shape (rows, length - 1), in nats
        """
        rows = _checked_rows(tokens, self.vocabulary_size)
        uniform = np.full(rows.shape, 1 / self.vocabulary_size)
        probabilities = uniform.copy()
        ids_by_order = self._tables.ids_by_order(rows, len(self._levels))
        for past, (level, (contexts, ngrams)) in enumerate(
            zip(self._levels, pairwise(ids_by_order), strict=False)
        ):
            # The tokens from `past` on have a context of this length: (rows, length - past).
            base = uniform if self._base_is_uniform else probabilities
            share, leftover = level.share[ngrams], level.leftover[contexts[:, :-1]]
            probabilities[:, past:] = share + leftover * base[:, past:]
        nats: FloatArray = -np.log(probabilities[:, 1:])
        return nats

    def next_log_probabilities(self, tokens: IntArray) -> FloatArray:
        """Log p of each token of the vocabulary as the next one of each row.

        Parameters
        ----------
        tokens : int array, shape (rows, length); the length may be 0, and of a longer row only
            the last `context_length` tokens matter

        Returns
        -------
        float64, shape (rows, vocabulary), in nats
        """
        rows = _checked_rows(tokens, self.vocabulary_size)
        past = rows[:, max(rows.shape[1] - self.context_length, 0) :]
        uniform = np.full((len(past), self.vocabulary_size), 1 / self.vocabulary_size)
        probabilities = uniform
        contexts_by_order = self._tables.ids_by_order(past, self.context_length)
        for order, (level, starts) in enumerate(
            zip(self._levels, contexts_by_order, strict=False), 1
        ):
            contexts = starts[:, -1]  # the last order - 1 tokens of each row
            base = uniform if self._base_is_uniform else probabilities
            probabilities = level.leftover[contexts, np.newaxis] * base
            row, token, ngrams = self._tables.children(order, contexts)
            probabilities[row, token] += level.share[ngrams]
        log_probabilities: FloatArray = np.log(probabilities)
        return log_probabilities

    def log_probabilities(self, tokens: IntArray) -> FloatArray:
        """Log p of each token of the vocabulary after every position of each row.

        Parameters
        ----------
        tokens : int array, shape (rows, length)

        Returns
        -------
        float64, shape (rows, length, vocabulary), in nats
        """
        rows, length = tokens.shape
        found = np.empty((rows, length, self.vocabulary_size))
        width = max(self.context_length, 1)
        for end in range(1, min(width - 1, length) + 1):  # where a row has no whole context yet
            found[:, end - 1] = self.next_log_probabilities(tokens[:, :end])
        if length >= width:
            contexts = np.lib.stride_tricks.sliding_window_view(tokens, width, axis=1)
            whole = self.next_log_probabilities(contexts.reshape(-1, width))
            found[:, width - 1 :] = whole.reshape(rows, -1, self.vocabulary_size)
        return found

    def decoder(self) -> Decoder:
        return Decoder(self)


class AddK(InterpolatedModel):
    """p(w | h) = (c(hw) + k) / (c(h) + k V): each n-gram counts as if seen k times more.

    Here c(h) counts only the occurrences of h that some token follows. An unseen context leaves
    the uniform distribution. k = 1 is Laplace's rule of succession.

    Parameters
    ----------
    tables : counts of at least the orders up to `order`
    order : 1 for unigrams, 2 for bigrams, and so on
    k : pseudocount, above 0, so that no token is ever impossible
    """

    def __init__(self, tables: CountTables, order: int, k: float) -> None:
        _check_order("add-k", order, tables)
        if not 0 < k < np.inf:
            raise InputError(f"add-k smoothing needs a finite k above 0, not {k}")
        levels = [self._level(tables, one_order, k) for one_order in range(1, order + 1)]
        super().__init__(tables, levels, base_is_uniform=True)

    @staticmethod
    def _level(tables: CountTables, order: int, k: float) -> Level:
        counts = tables.counts(order)
        contexts, _ = tables.prefixes_and_last_tokens(order)
        n_followers = np.bincount(contexts, weights=counts, minlength=tables.size(order - 1))
        pseudocounts = k * tables.vocabulary_size
        return Level(
            share=np.append(counts / (n_followers + pseudocounts)[contexts], 0.0),
            leftover=np.append(pseudocounts / (n_followers + pseudocounts), 1.0),
        )


class KneserNey(InterpolatedModel):
    """Interpolated modified Kneser-Ney smoothing, of any order (Chen and Goodman 1998).

                   a(hw) - D(a(hw))   sum_v D(a(hv))
        p(w | h) = ---------------- + -------------- p(w | h without its first token)
                     sum_v a(hv)       sum_v a(hv)

    where v runs over the vocabulary. At the highest order, a(hw) is the count c(hw). At the orders
    below it is the continuation count N1+(.hw), the number of distinct tokens that occur before
    hw. The discount D(a) is 0 for a = 0 and else one of D1, D2, D3+, for a = 1, 2, 3 or more, as
    `discounts` estimates them for each order. Below the unigrams stands the uniform distribution,
    so that tokens never seen have a probability too.

    Near the start of a row the highest order available is one of the lower ones, and acts as such:
    by its continuation counts. The n-gram that opens the training text has no token before it; if
    it occurs nowhere else, its continuation count is 0.

    Parameters
    ----------
    tables : counts of at least the orders up to `order`
    order : 1 for unigrams, 2 for bigrams, and so on
    """

    def __init__(self, tables: CountTables, order: int) -> None:
        _check_order("Kneser-Ney", order, tables)
        counts = [*tables.continuation_counts[: order - 1], tables.counts(order)]
        levels = [self._level(tables, k, a) for k, a in enumerate(counts, 1)]
        super().__init__(tables, levels, base_is_uniform=False)

    @staticmethod
    def _level(tables: CountTables, order: int, counts: IntArray) -> Level:
        contexts, _ = tables.prefixes_and_last_tokens(order)
        n_contexts = tables.size(order - 1)
        discount = np.array([0.0, *discounts(counts)])[np.minimum(counts, 3)]
        total = np.bincount(contexts, weights=counts, minlength=n_contexts)
        taken = np.bincount(contexts, weights=discount, minlength=n_contexts)
        # A context seen only where the text opens or ends has nothing to share: it leaves all.
        empty = total == 0
        total[empty], taken[empty] = 1, 1
        return Level(
            share=np.append((counts - discount) / total[contexts], 0.0),
            leftover=np.append(taken / total, 1.0),
        )


CountModel: TypeAlias = Uniform | AddK | KneserNey


def discounts(counts: IntArray) -> tuple[float, float, float]:
    """D1, D2 and D3+ of modified Kneser-Ney for the n-grams of one order.

    With n_r the number of n-grams whose count is r, and Y = n_1 / (n_1 + 2 n_2),

        D_r = r - (r + 1) Y n_{r+1} / n_r        for r = 1, 2 and 3+ (where n_3 and n_4 stand)

    which estimates how much smaller the counts would be in a second text (Chen and Goodman 1998).
    Small texts, and the unigrams of a small alphabet, have no such n_r, or so uneven ones that
    some D_r is not above 0. Then nothing would be left to the lower order, and all three discounts
    are DEFAULT_DISCOUNTS instead.

    Parameters
    ----------
    counts : int array, shape (n-grams,), at least 0; zeros are ignored
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6).tolist()
    if 0 in n[1:5]:
        return DEFAULT_DISCOUNTS
    y = n[1] / (n[1] + 2 * n[2])
    d1, d2, d3 = (r - (r + 1) * y * n[r + 1] / n[r] for r in (1, 2, 3))
    return (d1, d2, d3) if min(d1, d2, d3) > 0 else DEFAULT_DISCOUNTS


def count_ladder(
    tables: CountTables, *, add_k: float, kneser_ney_orders: Sequence[int]
) -> dict[str, CountModel]:
    """All count models, from the weakest up, by the names they have in the perplexity table.

    Parameters
    ----------
    tables : counts of at least order 3 and the highest of `kneser_ney_orders`
    add_k : the pseudocount of unigram, bigram and trigram, above 0
    kneser_ney_orders : for each order n a member "kneser_ney_n"
    """
    ladder: dict[str, CountModel] = {"uniform": Uniform(tables.vocabulary_size)}
    for order, name in enumerate(ADD_K_NAMES, 1):
        ladder[name] = AddK(tables, order, add_k)
    for order in sorted(set(kneser_ney_orders)):
        ladder[f"kneser_ney_{order}"] = KneserNey(tables, order)
    return ladder


def _check_order(model: str, order: int, tables: CountTables) -> None:
    if not 1 <= order <= tables.order:
        raise InputError(
            f"a {model} model of order {order} cannot be built from counts of orders "
            f"1 to {tables.order}"
        )


def _checked_rows(tokens: IntArray, vocabulary_size: int) -> NDArray[np.int64]:
    if np.ndim(tokens) != 2:
        raise ValueError(f"tokens must have shape (rows, length), not {np.shape(tokens)}")
    return checked_tokens(tokens, vocabulary_size)
