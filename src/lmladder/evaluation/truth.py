"""Comparison with the truth, where the distribution of a text is known.

The excess of a model at a token is the divergence of its distribution q from the true one p,

    KL(p || q) = sum_v p(v) log(p(v) / q(v))

given the same text before it: what the model loses, in nats, for what it does not know. Its mean is
the expected loss of the model minus the entropy. Where only one token is possible, it is the loss
of the model.

The mean is over all tokens of stories that the grammar generates for this purpose, the same for all
models, in independent sets. Within a set they are `balanced`, so that the sets differ little. The
standard error is that of a ratio, from the sums over each set. The first sets determine how many a
model reads, as in the two stages of C. Stein (1945), Annals of Mathematical Statistics 16: to stop
at the first standard error that is small would choose those that are small by chance.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from lmladder.data import Prepared, Tokenizer
from lmladder.data.tales import Grammar, Story, balanced
from lmladder.evaluation.calibration import BINS, bin_of
from lmladder.evaluation.context import context_ranges
from lmladder.evaluation.predictions import predicted
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.models.contract import LanguageModel
from lmladder.models.oracle import END, IMPOSSIBLE, SYMBOLS, Oracle, arrays_of
from lmladder.models.windows import read_tokens
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.errors import InputError
from lmladder.system.progress import CountingProgress
from lmladder.system.streams import stream

import numpy as np

STORIES = 25  # of a set
MIN_SETS, MAX_SETS = 6, 400  # that a model reads
RELATIVE = 0.01  # of the excess: a standard error that is small enough, if `excess_error` is less
CERTAIN = 1 - 1e-9  # the probability of a token that is the only possible one, but for rounding
# Kinds of tokens: one of several is possible; one only; or one only, as it names again what the
# story has named before.
KINDS = ("choice", "forced", "recall")


def is_known(prepared: Prepared) -> bool:
    """Return whether the distribution of each token of a prepared text is known."""
    if prepared.corpus.grammar is None:
        return False
    try:
        arrays = arrays_of(prepared.corpus.grammar, prepared.tokenizer)
        Oracle(Grammar(prepared.corpus.grammar), arrays[SYMBOLS])
    except InputError:  # no tokens for characters
        return False
    return True


@dataclass(frozen=True)
class Excess:
    """How far a model is from the truth, at the tokens of a group.

    Attributes
    ----------
    model : whose predictions
    by : what defines the group: "all", one of `KINDS`, "position" in the story from 1, "distance"
        of a recall to the latest mention in tokens, or "confidence" of the model in its most likely
        token
    first, last : the range of positions, distances (inclusive) or confidences; None for no range
    tokens : size of the group
    excess : mean divergence from the truth, in nats per token
    standard_error : of the excess as an estimate for all stories; NaN if one set has all tokens
    confidence, probability : of the model's most likely token, its mean probability under the model
        and under the truth; a calibrated model has equal ones
    """

    model: str
    by: str
    first: float | None
    last: float | None
    tokens: int
    excess: float
    standard_error: float
    confidence: float
    probability: float


class Truth:
    """The true distribution of each token of a set of stories, and what determines the token.

    Attributes
    ----------
    tokens : of the stories
    lengths : number of tokens of each story
    position : of each token in its story, from 1
    distance : of a token that is recalled, to the same token of the latest mention; else 0
    kind : index in `KINDS` of each token
    """

    def __init__(self, oracle: Oracle, tokenizer: Tokenizer, stories: Sequence[Story]) -> None:
        texts = [tokenizer.encode(story.text + END).astype(np.int64) for story in stories]
        newline = tokenizer.encode(END).astype(np.int64)
        self.tokens, self.lengths = np.concatenate(texts), np.array([*map(len, texts)])
        self.position = np.concatenate([np.arange(1, each + 1) for each in self.lengths])
        distances, uncertain, logs = [], [], []  # the last of uncertain tokens only: a small part
        for story, text in zip(stories, texts, strict=True):
            found = oracle.log_probabilities(np.append(newline, text[:-1])[None])[0]
            uncertain.append(found.max(axis=1) < np.log(CERTAIN))
            logs.append(found[uncertain[-1]])
            # Where each character begins, as a token may be a byte of it.
            is_byte = len(text) > len(story.text) + len(END)
            sizes = (len(each.encode()) if is_byte else 1 for each in story.text)
            offsets = list(accumulate(sizes, initial=0))
            distance = np.zeros(len(text), np.int64)
            for each in story.mentions:
                if each.before is not None:
                    first, last = offsets[each.start], offsets[each.end]
                    distance[first:last] = first - offsets[each.before]
            distances.append(np.where(uncertain[-1], 0, distance))
        self.distance, is_uncertain = np.concatenate(distances), np.concatenate(uncertain)
        self.kind = np.where(is_uncertain, 0, np.where(self.distance > 0, 2, 1))
        self._logs = np.concatenate(logs)
        self._row = np.where(is_uncertain, is_uncertain.cumsum() - 1, -1)
        # The groups that each token belongs to, by their index in `groups_of`: (4, tokens).
        _, ends = context_ranges(oracle.context_length)
        first_position, self._first_bin = 1 + len(KINDS), 1 + len(KINDS) + 2 * len(ends)
        position, distance = first_position + np.searchsorted(ends, [self.position, self.distance])
        distance = np.where(self.distance > 0, distance + len(ends), self._first_bin + BINS)  # none
        self._groups = np.stack([np.zeros_like(position), 1 + self.kind, position, distance])

    def compared(self, model: LanguageModel, settings: EvaluateSettings) -> FloatArray:
        """Return three values of each token under a model: (tokens, 3).

        They are the divergence from the truth in nats, the probability of the model's most likely
        token, and the true probability of that token. The last story precedes the first one. A
        model of limited length that can read the longest story reads each story once, with what
        precedes it; any other model reads them as a text that is scored.
        """

        def read(positions: IntArray) -> FloatArray:
            """Compare at positions in the text, (sequences, length): (sequences, length - 1, 3)."""
            logs, scored = model.log_probabilities(self.tokens[positions[:, :-1]]), positions[:, 1:]
            values, rows = predicted(logs, self.tokens[scored]), self._row[scored]
            uncertain = rows >= 0
            true, logs = self._logs[rows[uncertain]], logs[uncertain]
            p = np.exp(true)
            gaps = np.where(true > IMPOSSIBLE, true - logs, 0.0)  # else inf, times p
            values[uncertain, 0] = (p * gaps).sum(axis=1)
            chosen = np.take_along_axis(p, logs.argmax(axis=1)[:, None], 1)
            values[uncertain, 2] = chosen[:, 0]
            return values

        count, longest = len(self.tokens), int(self.lengths.max())
        if model.max_length is None or model.max_length < longest:
            before, positions = np.split(np.arange(-count, count), 2)
            return read_tokens(model, read, positions, before, **settings.reading)
        window = np.arange(-min(model.max_length, 2 * longest) - 1, 0)
        sequences = (self.lengths.cumsum()[:, None] + window) % count
        size = max(1, settings.batch_tokens // len(window))
        batches = np.split(sequences, range(size, len(sequences), size))
        of_story = window[1:] >= -self.lengths[:, None]
        return np.concatenate([read(each) for each in batches])[of_story]

    def sums(self, model: LanguageModel, settings: EvaluateSettings) -> FloatArray:
        """Return the tokens of each group, and the sums of what `compared` returns: (groups, 4)."""
        values = self.compared(model, settings)
        groups = np.concatenate([*self._groups, self._first_bin + bin_of(values[:, 1])])
        weights = [None, *np.tile(values, (len(self._groups) + 1, 1)).T]
        none = self._first_bin + BINS
        return np.stack([np.bincount(groups, each, none + 1)[:none] for each in weights], axis=1)


def groups_of(longest: int) -> list[tuple[str, float | None, float | None]]:
    """Return `by`, `first` and `last` of all groups, for stories of at most `longest` tokens."""
    ranges = list(zip(*(each.tolist() for each in context_ranges(longest)), strict=True))
    bins = [(i / BINS, (i + 1) / BINS) for i in range(BINS)]
    return [
        *((each, None, None) for each in ("all", *KINDS)),
        *(("position", *each) for each in ranges),
        *(("distance", *each) for each in ranges),
        *(("confidence", *each) for each in bins),
    ]


def ratio(sums: FloatArray) -> tuple[FloatArray, float]:
    """Return the means over the tokens of all sets, and the standard error of the first mean.

    Parameters
    ----------
    sums : of each set, the tokens and the sums of some values over them, (sets, 1 + values)
    """
    tokens, *totals = sums.sum(axis=0)
    means = np.array(totals) / tokens
    n_sets = len(sums) if np.count_nonzero(sums[:, 0]) > 1 else 1
    if n_sets == 1 or not math.isfinite(means[0]):  # a possible token may have the probability 0
        return means, math.nan
    deviations = sums[:, 1] - means[0] * sums[:, 0]
    factor = math.sqrt(n_sets / (n_sets - 1))
    return means, factor * math.sqrt(np.square(deviations).sum()) / float(tokens)


def compare_with_truth(
    models: Mapping[str, LanguageModel],
    oracle: Oracle,
    prepared: Prepared,
    settings: EvaluateSettings,
    seed: int = 0,
) -> list[Excess]:
    """Return how far each model is from the truth.

    A model reads `MIN_SETS` sets of stories, then as many as the standard error of the settings
    seems to need, and so on until it is reached, or `MAX_SETS` are read.

    Parameters
    ----------
    oracle : of the text that the models were trained on
    seed : of the stories, which are never those of the text
    """
    sums: dict[str, list[FloatArray]] = {name: [] for name in models}
    needed = dict.fromkeys(models, MIN_SETS)  # sets, by the models that are not done
    while needed:
        missing = sum(count - len(sums[name]) for name, count in needed.items())
        with CountingProgress("excess", "stories", missing * STORIES) as progress:
            for index in range(max(needed.values())):
                behind = [name for name in needed if len(sums[name]) == index < needed[name]]
                if not behind:
                    continue
                stories = balanced(oracle.grammar, stream(seed, "excess", index), STORIES)
                truth = Truth(oracle, prepared.tokenizer, stories)
                for name in behind:
                    sums[name].append(truth.sums(models[name], settings))
                    progress.advance(STORIES)
        seems = {name: _sets_for(np.stack(sums[name])[:, 0], settings) for name in needed}
        needed = {name: count for name, count in seems.items() if count > len(sums[name])}
    groups = groups_of(oracle.context_length)
    return [each for name in models for each in _means(name, groups, np.stack(sums[name], axis=1))]


def _sets_for(sums: FloatArray, settings: EvaluateSettings) -> int:
    """Return how many sets the standard error of the settings seems to need; `ratio` has `sums`."""
    (excess, *_), error = ratio(sums)
    enough = max(settings.excess_error, RELATIVE * excess)
    return min(MAX_SETS, math.ceil(len(sums) * (error / enough) ** 2)) if error > enough else 0


def _means(
    model: str, groups: Sequence[tuple[str, float | None, float | None]], sums: FloatArray
) -> Iterator[Excess]:
    """Yield the means over each group that is not empty; `sums` is (groups, sets, 4)."""
    for group, each in zip(groups, sums, strict=True):
        if tokens := int(each[:, 0].sum()):
            means, error = ratio(each)
            excess, confidence, probability = means.tolist()
            yield Excess(model, *group, tokens, excess, error, confidence, probability)
