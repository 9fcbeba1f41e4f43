"""Twelve ways in which a score is none, each in a sound model, a tokenizer or a claim."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lmladder.autograd import Tensor
from lmladder.data.tokenizers import CharTokenizer, Tokenizer
from lmladder.evaluation import token_nll
from lmladder.evaluation.audit import Subject
from lmladder.models.transformer import Transformer
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.streams import stream
from tests.models.examples import COUNT_MODELS, TRANSFORMER, VOCABULARY, build, draw

import numpy as np

BUCKETS = 5
CHARACTERS = CharTokenizer("abcdefghijk")


class Wrapped:
    """A sound model of bigrams, of which a fault changes the distributions after each token."""

    vocabulary_size, context_length, max_length, n_parameters = VOCABULARY, 1, None, 0
    base = COUNT_MODELS["bigram"]

    def after(self, tokens: IntArray) -> FloatArray:
        return self.base.log_probabilities(tokens)

    def nll(self, tokens: IntArray) -> FloatArray:
        return -np.take_along_axis(self.after(tokens[:, :-1]), tokens[:, 1:, None], -1)[..., 0]

    def log_probabilities(self, tokens: IntArray) -> FloatArray:
        return self.after(tokens)

    def next_log_probabilities(self, tokens: IntArray) -> FloatArray:
        return self.after(tokens)[:, -1]


class HashedCache(Wrapped):
    """Counts of pairs and of tokens, each in a few buckets: c(bucket of hw) / c(bucket of h)."""

    text = draw("cached", 300)

    def cached(self, before: IntArray, token: IntArray) -> FloatArray:
        pairs = np.bincount((self.text[:-1] * 7 + self.text[1:] * 3) % BUCKETS)
        singles = np.bincount(self.text % BUCKETS)
        return np.minimum(pairs[(before * 7 + token * 3) % BUCKETS] / singles[before % BUCKETS], 1)

    def after(self, tokens: IntArray) -> FloatArray:
        cached = self.cached(tokens[..., None], np.arange(VOCABULARY))
        return np.log(0.5 * np.exp(super().after(tokens)) + 0.5 * cached)


class CacheOfTheTarget(HashedCache):
    """The probability of the target is that of the cache, and the rest is shared out: sum 1."""

    def after(self, tokens: IntArray) -> FloatArray:
        return self.base.log_probabilities(tokens)

    def nll(self, tokens: IntArray) -> FloatArray:
        cached = self.cached(tokens[:, :-1], tokens[:, 1:])
        return -np.log(0.5 * np.exp(-super().nll(tokens)) + 0.5 * cached)


class SpreadOverBytes(Wrapped):
    """A loss of two tokens that is spread evenly over both."""

    def nll(self, tokens: IntArray) -> FloatArray:
        nats = super().nll(tokens)
        pairs = nats[:, : nats.shape[1] // 2 * 2].reshape(len(nats), -1, 2)
        pairs[:] = pairs.mean(axis=-1, keepdims=True)
        return nats


class Remembering(Wrapped):
    """Counts of the pairs that were scored; a fault decides when they are learned."""

    learns_first = False

    def __init__(self) -> None:
        self.counts = np.zeros((VOCABULARY, VOCABULARY))

    def after(self, tokens: IntArray) -> FloatArray:
        prior = np.exp(super().after(tokens))
        counts = self.counts[tokens]
        return np.log((counts + 5 * prior) / (counts.sum(axis=-1, keepdims=True) + 5))

    def nll(self, tokens: IntArray) -> FloatArray:
        scored = super().nll(tokens)
        np.add.at(self.counts, (tokens[:, :-1], tokens[:, 1:]), 1)
        return super().nll(tokens) if self.learns_first else scored


class LearnsFirst(Remembering):
    """The model is updated with each token before the token is scored."""

    learns_first = True


class Altered(Transformer):
    """A sound Transformer whose hidden vectors a fault changes."""

    def change(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def hidden(self, tokens: IntArray, *arguments: Any, **options: Any) -> Tensor:
        return self.change(super().hidden(tokens, *arguments, **options))


class LookingConvolution(Altered):
    """A convolution of width 3 that is centered instead of causal."""

    def change(self, x: Tensor) -> Tensor:
        time = x.shape[1]
        following = np.minimum(np.arange(time) + 1, time - 1)
        return 0.7 * x + 0.3 * x[:, following]


class TimeNorm(Altered):
    """Normalization by the mean and the variance over time."""

    axes: Any = 1

    def change(self, x: Tensor) -> Tensor:
        value = x.value
        mean, std = (
            value.mean(axis=self.axes, keepdims=True),
            value.std(axis=self.axes, keepdims=True),
        )
        return Tensor((value - mean) / (std + 1))


class BatchNorm(TimeNorm):
    """Normalization by the statistics of the batch, as in training."""

    axes = 0


class Dropout(Altered):
    """Dropout that stays on."""

    def change(self, x: Tensor) -> Tensor:
        if not hasattr(self, "drawn"):
            object.__setattr__(self, "drawn", np.random.default_rng(0))
        return Tensor(x.value * (self.drawn.random(x.shape) > 0.1).astype("f4"))


class Sized(Tokenizer):
    """A sound tokenizer that counts other bytes for some tokens."""

    def __init__(self, sound: Tokenizer, sizes: dict[int, int]):
        lengths = [sound.n_bytes([token]) for token in range(sound.vocabulary_size)]
        super().__init__([sizes.get(token, each) for token, each in enumerate(lengths)], None)
        self.sound = sound

    def encode(self, text: str) -> IntArray:
        return self.sound.encode(text)

    def _text_of(self, ids: IntArray) -> str:
        return self.sound.decode(ids)


def transformer(kind: type[Transformer] = Transformer) -> Any:
    """Return a small Transformer of a class with a fault."""
    sound = build(TRANSFORMER, spread=0.3)
    model = kind(TRANSFORMER, VOCABULARY, rng=stream(0, "weights"))
    model.load({name: each.value for name, each in sound.parameters().items()})
    return model


def nats_of(model: Any, text: IntArray, preceding: IntArray) -> FloatArray:
    """Return the loss of each token by the rule of the audit."""
    return token_nll(model, text, preceding, min_context=0.5, batch_tokens=8192)


def subject(load: Callable[[], Any], tokenizer: Tokenizer = CHARACTERS, **options: Any) -> Subject:
    """Return a text of random tokens to audit a model with."""
    text, preceding = draw("text", 5000), draw("preceding", 60)
    nats = float(nats_of(load(), text, preceding).sum())
    return Subject(load, text, preceding, tokenizer, nats, **options)


def spaces() -> Subject:
    return subject(lambda: COUNT_MODELS["bigram"], Sized(CharTokenizer(" abcdefghij"), {0: 2}))


def fallback() -> Subject:
    return subject(lambda: COUNT_MODELS["bigram"], Sized(CharTokenizer("abcdefghij€"), {10: 1}))


def easiest() -> Subject:
    each = subject(lambda: COUNT_MODELS["kneser_ney_2"])
    nats = np.sort(nats_of(each.load(), each.text, each.preceding))
    return replace(each, claim=float(nats[: len(nats) * 3 // 100].mean()))


# Each fault, the check that names it, and a subject that has it.
FAULTS: list[tuple[str, str, Callable[[], Subject]]] = [
    ("an n-gram cache in hash buckets, not normalized", "sums", lambda: subject(HashedCache)),
    ("such a cache, asked for the target only", "sums", lambda: subject(CacheOfTheTarget)),
    ("a space counted twice", "byte_count", spaces),
    ("a token of three bytes counted as one byte", "byte_count", fallback),
    ("a loss of two tokens spread over both", "future", lambda: subject(SpreadOverBytes)),
    ("a score after an update on the same token", "update", lambda: subject(LearnsFirst)),
    ("a convolution that sees the next token", "future",
     lambda: subject(lambda: transformer(LookingConvolution))),
    ("normalization over time", "future", lambda: subject(lambda: transformer(TimeNorm))),
    ("batch statistics at evaluation", "batch", lambda: subject(lambda: transformer(BatchNorm))),
    ("dropout left on", "repeat", lambda: subject(lambda: transformer(Dropout))),
    ("the easiest 3% scored as the whole", "text", easiest),
    ("a cache that survives from the previous document", "history", lambda: subject(Remembering)),
]  # fmt: skip
