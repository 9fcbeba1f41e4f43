"""The count models: from the uniform distribution to modified Kneser-Ney smoothing.

An n-gram model looks at the last n - 1 tokens, the context h, and estimates the next token from
what followed h in the training text. Most contexts of a new text are rare or unseen, so the
estimates are smoothed: a little probability is taken from seen tokens and given to unseen ones.
Each model here does so by interpolation, order by order from the empty context up:

    p(w | h) = share(hw) + backoff_weight(h) * base(w)

share(hw) is the probability that the counts assign to w after h, and backoff_weight(h) is the
probability that the shares of h leave. An unseen context has no shares and backoff weight 1.
The models differ in two choices only: the shares, and the base distribution.

- Add-k adds k to the count of each token after each context. That is a backoff weight of
  k V / (c(h) + k V) to the uniform distribution, far too much where contexts are rare.
- Kneser-Ney subtracts a discount from each count, and gives it to the next shorter context, h
  without its first token. In the shorter context, w is counted once for each *different* token
  that precedes it: "Francisco" may be frequent, yet as it follows "San" alone, it is improbable
  elsewhere.

References
----------
R. Kneser and H. Ney (1995). Improved backing-off for m-gram language modeling. ICASSP.
S. F. Chen and J. Goodman (1998). An empirical study of smoothing techniques for language
modeling. Technical report TR-10-98, Harvard University.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar

from lmladder.data import Prepared
from lmladder.models.contract import Decoder, LanguageModel
from lmladder.models.counts import UNSEEN, CountTables, checked_tokens
from lmladder.models.kind import GRAY, Kind, Log, no_log
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.settings import Settings
from lmladder.training.checkpoint import Checkpoint

import numpy as np
from pydantic import Field

DEFAULT_DISCOUNTS = (0.5, 1.0, 1.5)  # those of KenLM's --discount_fallback
ADD_K_NAMES = ("unigram", "bigram", "trigram")
TOO_EARLY = UNSEEN - 1  # instead of the id of a context that begins before its sequence


class CountModel:
    """The recursion that all count models have in common; they differ in their levels.

    Near the start of a sequence, where fewer than order - 1 tokens precede, the recursion ends at
    the order that they suffice for. A bigram model's first token is the unigram model's; in
    Kneser-Ney, it is scored by the shorter context's distribution over continuations.

    Parameters
    ----------
    tables : the counts, of an order no less than the number of levels
    levels : for each order 1, 2, ... of the model, its shares by id of the n-gram, and its backoff
        weights by id of the context; float64
    base_is_uniform : whether each order backs off to the uniform distribution; else it backs off to
        the order below, and only order 1 to the uniform distribution
    """

    max_length: int | None = None
    is_concurrent = True  # several threads may call it at once

    def __init__(
        self,
        tables: CountTables,
        levels: Iterable[tuple[FloatArray, FloatArray]],
        *,
        base_is_uniform: bool,
    ) -> None:
        self.vocabulary_size = tables.vocabulary_size
        self._tables = tables
        # One more entry at the end, which UNSEEN = -1 selects: an unseen n-gram has share 0, an
        # unseen context has backoff weight 1.
        self._levels = [(np.append(share, 0.0), np.append(weight, 1.0)) for share, weight in levels]
        self.context_length = max(len(self._levels) - 1, 0)
        self.n_parameters = sum(tables.size(k) for k in range(1, len(self._levels) + 1))
        self._base_is_uniform = base_is_uniform

    def nll(self, tokens: IntArray) -> FloatArray:
        """Return what `LanguageModel.nll` describes, for sequences of any length."""
        sequences = self._checked(tokens)
        uniform = np.full(sequences.shape, 1 / self.vocabulary_size)
        probabilities = uniform.copy()
        ids_by_order = self._tables.ids_by_order(sequences, len(self._levels))
        levels = zip(self._levels, pairwise(ids_by_order), strict=False)
        for k, ((share, weight), (contexts, ngrams)) in enumerate(levels):
            # The tokens from k on have a context of k tokens: (sequences, length - k).
            base = uniform if self._base_is_uniform else probabilities
            probabilities[:, k:] = share[ngrams] + weight[contexts[:, :-1]] * base[:, k:]
        # A probability may be rounded to more than 1, and -log(1) is -0.0.
        nats: FloatArray = np.maximum(-np.log(probabilities[:, 1:]), 0.0) + 0.0
        return nats

    def next_log_probabilities(self, tokens: IntArray) -> FloatArray:
        """Return what `LanguageModel.next_log_probabilities` describes; the length may be 0."""
        sequences = self._checked(tokens)
        start = max(sequences.shape[1] - self.context_length, 0)
        return self._log_probabilities(sequences[:, start:], 1)[:, 0]

    def log_probabilities(self, tokens: IntArray) -> FloatArray:
        """Return what `LanguageModel.log_probabilities` describes, for any length."""
        sequences = self._checked(tokens)
        return self._log_probabilities(sequences, sequences.shape[1])

    def _checked(self, tokens: IntArray) -> IntArray:
        return checked_tokens(tokens, self.vocabulary_size)

    def _log_probabilities(self, sequences: IntArray, count: int) -> FloatArray:
        """Return those after each of the last `count` positions: (sequences, count, vocabulary).

        Each distribution is computed once: the longest context that was seen determines it, and
        how many tokens precede it at the start of a sequence.
        """
        # Of each position, the id of the context of 0, 1, ... tokens: (orders, positions).
        shape = self.context_length + 1, len(sequences), count
        contexts: IntArray = np.full(shape, TOO_EARLY)
        for k, ids in enumerate(self._tables.ids_by_order(sequences, self.context_length)):
            last = ids[:, max(ids.shape[1] - count, 0) :]
            contexts[k, :, count - last.shape[1] :] = last
        contexts = contexts.reshape(len(contexts), -1)
        seen, preceded = (contexts > UNSEEN).sum(axis=0), (contexts > TOO_EARLY).sum(axis=0)
        ids = np.take_along_axis(contexts, seen[None] - 1, axis=0)[0]
        orders = len(contexts) + 1
        keys = (ids * orders + seen) * orders + preceded
        _, first, which = np.unique(keys, return_index=True, return_inverse=True)
        found = self._distributions(contexts[:, first])
        return found[which].reshape(len(sequences), count, self.vocabulary_size)

    def _distributions(self, contexts: IntArray) -> FloatArray:
        """Return the log probabilities after contexts by order: (orders, n) -> (n, vocabulary)."""
        uniform = 1 / self.vocabulary_size
        probabilities = np.full((contexts.shape[1], self.vocabulary_size), uniform)
        for k, (share, weight) in enumerate(self._levels):
            (rows,) = np.nonzero(contexts[k] > TOO_EARLY)
            base = uniform if self._base_is_uniform else probabilities[rows]
            probabilities[rows] = weight[contexts[k, rows], np.newaxis] * base
            which, token, ngrams = self._tables.children(k + 1, contexts[k, rows])
            probabilities[rows[which], token] += share[ngrams]
        return np.log(probabilities, out=probabilities)

    def decoder(self) -> Decoder:
        return Decoder(self)


class Uniform(CountModel):
    """p(w) = 1 / V in every context: a lower bound for all models."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__(CountTables([], [], vocabulary_size), [], base_is_uniform=True)


class AddK(CountModel):
    """p(w | h) = (c(hw) + k) / (c(h) + k V): each n-gram counts as if seen k times more.

    Here c(h) counts only the occurrences of h that are followed by a token. An unseen context
    gives the uniform distribution. k = 1 is Laplace's rule of succession.

    Parameters
    ----------
    tables : counts of at least the orders up to `order`
    order : 1 for unigrams, 2 for bigrams, and so on
    k : pseudocount, above 0, so that no token is ever impossible
    """

    def __init__(self, tables: CountTables, order: int, k: float) -> None:
        pseudocounts, levels = k * tables.vocabulary_size, []
        for n in range(1, order + 1):
            counts = tables.counts(n)
            contexts = tables.prefixes_and_last_tokens(n)[0]
            n_followers = np.bincount(contexts, weights=counts, minlength=tables.size(n - 1))
            total = n_followers + pseudocounts
            levels.append((counts / total[contexts], pseudocounts / total))
        super().__init__(tables, levels, base_is_uniform=True)


class KneserNey(CountModel):
    """Interpolated modified Kneser-Ney smoothing, of any order (Chen and Goodman 1998).

                   a(hw) - D(a(hw))   sum_v D(a(hv))
        p(w | h) = ---------------- + -------------- p(w | h without its first token)
                     sum_v a(hv)       sum_v a(hv)

    where v ranges over the vocabulary. At the highest order, a(hw) is the count c(hw). At the
    orders below it is the continuation count N1+(.hw), the number of distinct tokens that precede
    hw. The discount D(a) is 0 for a = 0 and else one of D1, D2, D3+, for a = 1, 2, 3 or more, as
    `discounts` estimates them for each order. The unigrams back off to the uniform distribution,
    so that unseen tokens have a probability too.

    Near the start of a sequence the highest order available is one of the lower ones, and uses
    continuation counts. The n-gram that opens the training text has no token before it; if it
    occurs nowhere else, its continuation count is 0.

    Parameters
    ----------
    tables : counts of at least the orders up to `order`
    order : 1 for unigrams, 2 for bigrams, and so on
    """

    def __init__(self, tables: CountTables, order: int) -> None:
        super().__init__(tables, self._levels_of(tables, order), base_is_uniform=False)

    @staticmethod
    def _levels_of(tables: CountTables, order: int) -> Iterator[tuple[FloatArray, FloatArray]]:
        all_counts = [*tables.continuation_counts[: order - 1], tables.counts(order)]
        for n, counts in enumerate(all_counts, 1):
            contexts = tables.prefixes_and_last_tokens(n)[0]
            n_contexts = tables.size(n - 1)
            discount = np.array([0.0, *discounts(counts)])[np.minimum(counts, 3)]
            total = np.bincount(contexts, weights=counts, minlength=n_contexts)
            taken = np.bincount(contexts, weights=discount, minlength=n_contexts)
            # A context only at the beginning or end of the text has no shares and weight 1.
            empty = total == 0
            total[empty], taken[empty] = 1, 1
            yield (counts - discount) / total[contexts], taken / total


def discounts(counts: IntArray) -> tuple[float, float, float]:
    """Return D1, D2 and D3+ of modified Kneser-Ney for the n-grams of one order.

    With n_r the number of n-grams whose count is r, and Y = n_1 / (n_1 + 2 n_2),

        D_r = r - (r + 1) Y n_{r+1} / n_r        for r = 1, 2 and 3+ (which uses n_3 and n_4)

    which estimates how much smaller the counts would be in a second text (Chen and Goodman 1998).
    In small texts, and for the unigrams of a small alphabet, some n_r is 0, or they are so uneven
    that some D_r is not above 0. Then nothing would be left to the lower order, and all three
    discounts are DEFAULT_DISCOUNTS instead.

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


class CountSettings(Settings):
    """The count models, from uniform to Kneser-Ney, which share one set of counts."""

    add_k: float = Field(gt=0, description="added to each count of unigram, bigram and trigram")
    kneser_ney_orders: list[Annotated[int, Field(ge=1, le=100)]] = Field(
        description="n-gram orders of the Kneser-Ney models, one model each"
    )

    @property
    def models(self) -> list[str]:
        """The names of the models, weakest first."""
        orders = sorted(set(self.kneser_ney_orders))
        return ["uniform", *ADD_K_NAMES, *(f"kneser_ney_{order}" for order in orders)]


def count_ladder(tables: CountTables, settings: CountSettings) -> dict[str, LanguageModel]:
    """Return all count models, weakest first, by their names in the perplexity table.

    Parameters
    ----------
    tables : counts of at least order 3 and the highest of `kneser_ney_orders`
    """
    ladder: dict[str, LanguageModel] = {"uniform": Uniform(tables.vocabulary_size)}
    for order, name in enumerate(ADD_K_NAMES, 1):
        ladder[name] = AddK(tables, order, settings.add_k)
    for order in sorted(set(settings.kneser_ney_orders)):
        ladder[f"kneser_ney_{order}"] = KneserNey(tables, order)
    return ladder


class Counts(Kind):
    """The count models of one text."""

    Settings = CountSettings
    labels: ClassVar = {"kneser_ney": "Kneser-Ney"}
    color = GRAY

    @classmethod
    def fit(
        cls, start: Checkpoint, settings: Any, text: Prepared, folder: Path, log: Log = no_log
    ) -> Checkpoint:
        """Count the n-grams of the training text; see `Kind.fit`."""
        order = max([3, *settings.kneser_ney_orders])  # there is always a trigram model
        tables = CountTables.count(text.train, start.vocabulary_size, order)
        return replace(start, model=tables.arrays())

    @classmethod
    def restore(cls, settings: CountSettings, checkpoint: Checkpoint) -> dict[str, LanguageModel]:
        tables = CountTables.from_arrays(checkpoint.model, checkpoint.vocabulary_size)
        return count_ladder(tables, settings)
