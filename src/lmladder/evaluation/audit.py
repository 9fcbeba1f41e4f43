"""The audit of a score: checks that a number is a score of the text that it claims.

A loss in nats per byte is a score only if each byte is predicted once, by a distribution that is
fixed before the byte is known. An audit knows a model only by what `LanguageModel` promises, and
compares results that the promise makes equal. docs/scoring.md describes its limits.

The checks of predictions are in an order such that each relies on those before it: where the same
call gives two results, no other comparison means anything. So after the first of them that fails
the rest is not judged. The checks of the text, its bytes and the truth stand alone.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from lmladder.autograd import CapturedLoss
from lmladder.data import Prepared, Tokenizer
from lmladder.evaluation.exact import LOG_2, token_nll
from lmladder.evaluation.guests import convert
from lmladder.evaluation.ladder import READING, split_nll
from lmladder.models import restore_models
from lmladder.models.contract import LanguageModel, own_tokenizer
from lmladder.models.neural import NeuralLanguageModel
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.system.errors import InputError
from lmladder.system.streams import stream
from lmladder.training.checkpoint import Checkpoint

import numpy as np

TOLERANCE = 1e-4  # in nats and relative; float32 rounds by some 1e-5
LENGTH, SHORT = 256, 48  # tokens of sequences at most; the latter for whole distributions
MAX_ELEMENTS = 1 << 23  # of distributions that are computed at a time
MAX_TARGETS = 1024  # size of a vocabulary of which every token is tried as the next one
STRETCHES, LEAD, STRETCH = 1000, 4, 10  # of the text that are decoded; tokens before and in each
LUCK = math.log(1e6)  # nats; a model gains as much over the truth once in a million texts
UNKNOWN, UNDECODABLE = "<unk>", "\N{REPLACEMENT CHARACTER}"
PASSED, FAILED, NOT_JUDGED = "passed", "FAILED", "not judged"


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes
    ----------
    check : its name
    status : PASSED, FAILED, or NOT_JUDGED
    detail : what was tried, what is wrong, or why it is not judged
    """

    check: str
    status: str
    detail: str


class WrongError(Exception):
    """A check found something wrong, which the message describes."""


@dataclass(frozen=True)
class Subject:
    """What is audited.

    Attributes
    ----------
    load : returns the model as it is before it has scored anything, each time a new one
    text, preceding : the tokens that are scored, and those before them, at least one; 1-d
    tokenizer : of the model
    nats : -log probability of the text, as it was scored
    claim : the loss that is claimed for the text, in nats per token; None: no claim is checked
    is_validation : whether the text is scored in the parts that `parts_of_validation` names
    true_nats : -log probability of the text under the distribution that it was drawn from
    """

    load: Callable[[], LanguageModel]
    text: IntArray
    preceding: IntArray
    tokenizer: Tokenizer
    nats: float
    claim: float | None = None
    is_validation: bool = False
    true_nats: float | None = None

    @cached_property
    def model(self) -> LanguageModel:
        """A model for checks that rely on it to be the same after each call."""
        return self.load()

    @cached_property
    def stream(self) -> IntArray:
        """The text after the end of what precedes it."""
        before = np.asarray(self.preceding)[-max(self.model.max_length or 0, LENGTH) :]
        return np.concatenate([before, self.text]).astype(np.int64)

    @cached_property
    def length(self) -> int:
        """The number of tokens that a sequence gives to the model, at most `max_length`."""
        return min(self.model.max_length or LENGTH, LENGTH, len(self.stream) - 1)

    @cached_property
    def short(self) -> int:
        """The length of sequences for which whole distributions are computed."""
        return max(1, min(self.length, SHORT, MAX_ELEMENTS // self.model.vocabulary_size))

    @cached_property
    def windows(self) -> IntArray:
        """Four sequences from the beginning to the end of the text: (4, length + 1)."""
        starts = np.linspace(0, len(self.stream) - self.length - 1, 4).astype(np.int64)
        return self.stream[starts[:, None] + np.arange(self.length + 1)]

    @cached_property
    def visits(self) -> Sequence[Sequence[Array]]:
        """What new models predict of one window: one at first and again, two after other text."""
        window, other = self.windows[1:2], self.random(1, self.length + 1)
        visited = []
        for first in (window, other, other):
            model = self.load()
            visited += [self.predictions(model, text) for text in (first, window)]
        return [*visited[:2], *visited[3::2]]

    def predictions(self, model: LanguageModel, sequences: IntArray) -> Sequence[Array]:
        """Return all that a model predicts of sequences, (sequences, length + 1)."""
        logs = model.log_probabilities(sequences[:, : self.short])
        return model.nll(sequences), logs, model.next_log_probabilities(sequences[:, :-1])

    def random(self, *shape: int) -> IntArray:
        """Return random tokens, the same for the same shape."""
        return stream(0, "audit").integers(self.model.vocabulary_size, size=shape)

    def agree(self, found: Any, expected: Any) -> bool:
        """Return whether arrays, or sequences of arrays, agree within the tolerance."""
        if not isinstance(found, np.ndarray):
            return all(self.agree(*pair) for pair in zip(found, expected, strict=True))
        return bool(np.isclose(found, expected, TOLERANCE, TOLERANCE, True).all())

    def require(self, found: Any, expected: Any, message: str) -> None:
        """Raise `WrongError` with the largest difference unless two arrays agree."""
        found, expected = np.asarray(found), np.asarray(expected)
        if not self.agree(found, expected):
            unequal = found != expected  # not the difference of two infinities
            worst = np.abs(found[unequal] - expected[unequal]).max()
            raise WrongError(f"{message}; the difference is up to {worst:.3g} nats")


def subject_of(
    checkpoint: Checkpoint, name: str, prepared: Prepared, split: str, **facts: Any
) -> Subject:
    """Return what to audit of a model of a checkpoint on a split; score it if `nats` is not given.

    Raises
    ------
    InputError
        If the prepared text is not in the tokens of the checkpoint.
    """
    texts, tokenizer = (prepared.split(split), prepared.preceding(split)), prepared.tokenizer
    model = restore_models(checkpoint)[name]
    if own := own_tokenizer(model):
        tokenizer, guest = own, convert(own, model.context_length, prepared, split)
        texts = guest.tokens, guest.preceding
    elif checkpoint.tokenizer != tokenizer.to_json():
        raise InputError(f"the text in {prepared.directory} is not in the tokens of {name}")
    if "nats" not in facts:
        facts["nats"] = float(split_nll(model, prepared, split, **READING).sum())
    if (oracle := prepared.corpus.splits[split].oracle) is not None:
        facts["true_nats"] = oracle.nats
    facts["is_validation"] = split == "val"
    return Subject(lambda: restore_models(checkpoint)[name], *texts, tokenizer, **facts)


def audit_scorer(
    load: Callable[[], LanguageModel],
    text: IntArray,
    preceding: IntArray,
    tokenizer: Tokenizer,
    claim: float | None = None,
) -> list[Finding]:
    """Audit a model that need not be a rung; the parameters are those of `Subject`."""
    nats = float(token_nll(load(), text, preceding, **READING).sum())
    return audit(Subject(load, text, preceding, tokenizer, nats, claim))


def finite(subject: Subject) -> str:
    """Losses and probabilities are numbers."""
    vocabulary, length = subject.model.vocabulary_size, subject.length
    shapes = [(1, length), (1, subject.short, vocabulary), (1, vocabulary)]
    sequences = [*subject.windows[:, None], subject.random(1, length + 1)]
    for each in sequences:
        losses, *logs = found = subject.predictions(subject.model, each)
        if (given := [*map(np.shape, found)]) != shapes:
            raise WrongError(f"predictions have the shapes {given} instead of {shapes}")
        best = -min(losses.min(), *(-array.max() for array in logs))
        if not (np.isfinite(losses).all() and best < TOLERANCE):  # nor NaN
            raise WrongError("a loss is not finite, or a probability is not one")
    return f"{len(sequences)} sequences of {length} tokens, one of them random"


def repeat(subject: Subject) -> str:
    """The same call gives the same result."""
    at_first, again, after_other, after_other_too = subject.visits
    if not subject.agree(after_other, after_other_too):
        raise WrongError("the same calls of the model, loaded twice, give different results")
    if subject.agree(again, after_other) and not subject.agree(again, at_first):
        raise WrongError("the same call gives another result the second time")
    return "the same calls of the model loaded twice, and the same call twice"


def update(subject: Subject) -> str:
    """A token is scored before the model learns from it."""
    _, again, after_other, _ = subject.visits
    if not subject.agree(again, after_other):  # it remembers what it has scored
        window, found = subject.windows[1:2], subject.visits[0][0][0, -1]
        expected = -subject.load().next_log_probabilities(window[:, :-1])[0, window[0, -1]]
        subject.require(found, expected, "a model learns from a token before it scores the token")
    return "the loss of a token, and its probability to a new model that has not read it"


def history(subject: Subject) -> str:
    """Predictions do not depend on what was scored before."""
    at_first, again, after_other, _ = subject.visits
    if not (subject.agree(after_other, at_first) and subject.agree(again, at_first)):
        raise WrongError("predictions depend on the text that was scored before")
    model, window = subject.load(), subject.windows[1:2]
    following = model.next_log_probabilities(window[:, :-1])
    logs = model.log_probabilities(window[:, : subject.short])
    if not subject.agree((model.nll(window), logs, following), at_first):
        raise WrongError("predictions depend on the order of calls")
    return "a text at first, after itself, after another one, and with calls in another order"


def future(subject: Subject) -> str:
    """No prediction depends on a later token."""
    model, length, short = subject.model, subject.length, subject.short
    drawn = stream(0, "audit").integers(1, length + 1, size=8).tolist()
    places = {2, 3, 4, short - 1, length - 1, length, *drawn} & {*range(2, length + 1)}
    for kept in sorted(places):
        window = subject.windows[kept % len(subject.windows)]
        losses, logs = model.nll(window[None]), model.log_probabilities(window[None, :short])
        head, tail = np.split(window, [kept])
        others = (tail + 1) % model.vocabulary_size
        changes = {
            "removed": tail[:0],
            "others": others,
            "random": subject.random(len(tail)),
            "others, but for the first": np.append(tail[:1], others[1:]),
        }
        for change, following in changes.items():
            other = np.append(head, following)[None]
            message = f"predictions change if all tokens after token {kept} are {change}"
            subject.require(model.nll(other)[:, : kept - 1], losses[:, : kept - 1], message)
            found = model.log_probabilities(other[:, :short])[:, :kept]
            subject.require(found, logs[:, :kept], message)
    return f"4 changes of the tokens after {len(places)} tokens of up to {length}"


def batch(subject: Subject) -> str:
    """No prediction depends on other sequences of the batch."""
    model, count = subject.model, len(subject.windows)
    fits = max(1, 8 * MAX_ELEMENTS // (2 * count * model.vocabulary_size))
    windows = subject.windows[:, : fits + 1]
    each_alone = [subject.predictions(model, each) for each in windows[:, None]]
    alone = [np.concatenate(arrays) for arrays in zip(*each_alone, strict=True)]
    before = {
        "together": windows[:0],
        "twice in a batch": windows[::-1],
        "after random ones": subject.random(*windows.shape),
    }
    for name, others in before.items():
        together = subject.predictions(model, np.concatenate([others, windows]))
        for found, expected in zip(together, alone, strict=True):
            message = f"sequences that are scored {name} have other predictions than alone"
            subject.require(found[len(others) :], expected, message)
    return f"{count} sequences, each alone and in {len(before)} batches"


def context(subject: Subject) -> str:
    """No prediction depends on more than the stated context."""
    model, read = subject.model, max(1, subject.model.context_length)
    longest = min(model.max_length or read + SHORT, read + SHORT, len(subject.stream) - 1)
    if longest <= read:
        return f"no sequence is longer than the context of {read:,} tokens"
    window, count = subject.stream[-longest - 1 :], longest - read
    alone = window[np.arange(1, count + 1)[:, None] + np.arange(read + 1)]
    found, expected = model.nll(window[None])[0, -count:], model.nll(alone)[:, -1]
    subject.require(found, expected, f"predictions depend on more than {read:,} tokens")
    return f"{count} tokens, each after {read:,} tokens and after more"


def sums(subject: Subject) -> str:
    """Probabilities sum to 1."""
    model, length = subject.model, subject.length
    lengths = sorted({1, min(2, length), subject.short, length})
    sequences = np.concatenate([subject.windows, subject.random(2, length + 1)])
    logs = [*model.log_probabilities(sequences[:, : subject.short])]
    logs += [model.next_log_probabilities(sequences[:, :each]) for each in lengths]
    totals = np.exp(np.concatenate(logs)).sum(axis=1)
    worst = totals[np.abs(totals - 1).argmax()]
    if not abs(worst - 1) <= TOLERANCE:
        raise WrongError(f"the probabilities of the next token sum to {worst:.6g}")
    every = np.arange(model.vocabulary_size)
    places = lengths[:3] if len(every) <= MAX_TARGETS else []
    for each in places:
        losses = _losses_of(every, model, subject.windows[2, :each])
        if not abs((total := float(np.exp(-losses).sum())) - 1) <= TOLERANCE:
            raise WrongError(f"exp(-loss), summed over all possible next tokens, is {total:.6g}")
    return f"{len(totals)} distributions; the losses of every next token at {len(places)} positions"


def _losses_of(targets: IntArray, model: LanguageModel, prefix: IntArray) -> FloatArray:
    """Return the loss of each of some tokens as the next one after (length,)."""
    size = max(1, MAX_ELEMENTS // (len(prefix) * model.vocabulary_size))
    sequences = np.append(np.tile(prefix, (len(targets), 1)), targets[:, None], axis=1)
    batches = np.split(sequences, range(size, len(targets), size))
    return np.concatenate([model.nll(each)[:, -1] for each in batches])


def loss(subject: Subject) -> str:
    """A loss is that of the distribution before the token."""
    model, fresh, short = subject.model, subject.load(), subject.short
    longest = min(model.max_length or LENGTH, len(subject.stream) - 1)
    window = subject.stream[-longest - 1 :]
    losses, logs = model.nll(window[None])[0], model.log_probabilities(window[None, :short])[0]
    drawn = stream(0, "audit").integers(1, longest + 1, size=64).tolist()
    positions = {1, 2, 3, short - 1, short, longest - 1, longest, *drawn} & {*range(1, longest + 1)}
    for kept in sorted(positions):
        alone = fresh.next_log_probabilities(window[None, :kept])[0]
        message = f"after the {kept} tokens before it alone, a token has another loss"
        subject.require(losses[kept - 1], -alone[window[kept]], message)
        if kept <= short:
            subject.require(logs[kept - 1], alone, f"{message} than in log_probabilities")
            others = subject.random(16)
            found = _losses_of(others, model, window[:kept])
            subject.require(found, -alone[others], f"{message}, if it is another token")
    return f"{len(positions)} positions in {longest} tokens, after the tokens before each alone"


def text(subject: Subject) -> str:
    """The claimed loss is that of the whole text, by the stated rule."""
    count = len(subject.text)
    if not math.isfinite(loss := subject.nats / count):
        raise WrongError(f"the loss of the text is {loss} nats")
    claim = loss if subject.claim is None else subject.claim
    if not subject.agree(np.array(claim), np.array(loss)):
        raise WrongError(f"{claim:.6f} nats per token are claimed, and {loss:.6f} are found")
    bits = subject.nats / subject.tokenizer.n_bytes(subject.text) / LOG_2
    return f"{count:,} tokens: {loss:.6f} nats per token, {bits:.6f} bits per byte"


def byte_count(subject: Subject) -> str:
    """Each byte is counted once."""
    tokens, tokenizer = np.asarray(subject.text), subject.tokenizer
    _, firsts = np.unique(tokens, return_index=True)  # every token, where it first occurs
    evenly = np.linspace(0, len(firsts) - 1, min(len(firsts), STRETCHES)).astype(int)
    pieces = 0
    for at in firsts[evenly].tolist():
        for found, decoded in _pieces(tokenizer, tokens[max(0, at - LEAD) : at + STRETCH]):
            expected = len(decoded.encode())
            if found != expected and not (UNKNOWN in decoded and found < expected):
                raise WrongError(f"{decoded!r} has {expected} bytes, and {found} are counted")
            pieces += 1
    whole, total = tokenizer.decode(tokens), tokenizer.n_bytes(tokens)
    # The first and the last token may stand for more than the decoder shows, such as for a space.
    if UNKNOWN not in whole and UNDECODABLE not in whole and abs(len(whole.encode()) - total) > 1:
        raise WrongError(f"the text has {len(whole.encode()):,} bytes, and {total:,} are counted")
    return f"{pieces:,} pieces with {len(evenly):,} different tokens; the text of {total:,} bytes"


def _pieces(tokenizer: Tokenizer, tokens: IntArray) -> Iterator[tuple[int, str]]:
    """Yield the counted bytes and the text of groups of tokens that are whole characters.

    Both are what the group adds to the tokens before it. The first token, and bytes that are not
    UTF-8, are left out.
    """
    start, before = 1, tokenizer.decode(tokens[:1])
    for end in range(2, len(tokens) + 1):
        text = tokenizer.decode(tokens[:end])
        if text.endswith(UNDECODABLE) or text == before:
            continue  # in the middle of a character, or a sign for how the next token is written
        added = text.removeprefix(before)
        if before and text.startswith(before) and UNDECODABLE not in before[-1:] + added:
            yield tokenizer.n_bytes(tokens[:end]) - tokenizer.n_bytes(tokens[:start]), added
        start, before = end, text


def truth(subject: Subject) -> str:
    """The loss is not less than that of the truth."""
    true_nats = subject.true_nats or 0.0
    if (gain := true_nats - subject.nats) > LUCK:
        chance = f"{LUCK:.1f} occur by chance once in a million texts"
        raise WrongError(f"the loss is {gain:,.1f} nats better than the truth; {chance}")
    return f"{subject.nats:,.0f} nats, and {true_nats:,.0f} by the true distribution"


Check = Callable[[Subject], str]  # returns what it tried; its docstring is what it checks
PREDICTIONS = (repeat, finite, update, history, future, batch, context, sums, loss)
ALONE = (text, byte_count, truth)
UNKNOWN_TRUTH = "whether the model has seen the text: its true probability is not known"


def audit(subject: Subject) -> list[Finding]:
    """Return the findings of all checks.

    The models that score the parts of a validation text are audited like the model itself.
    """

    def part(index: int) -> LanguageModel:
        model: Any = subject.load()
        return model.cross_fitted[index]

    parts = range(len(getattr(subject.model, "cross_fitted", ())) * subject.is_validation)
    subjects = [subject, *(replace(subject, load=partial(part, index)) for index in parts)]
    found = [_judged(each, PREDICTIONS) for each in subjects]
    worst = max(found, key=lambda each: len(names_of(each, NOT_JUDGED)))
    alone = [each for check in ALONE for each in _judged(subject, [check])]
    if subject.true_nats is None:
        alone[-1] = Finding(truth.__name__, NOT_JUDGED, UNKNOWN_TRUTH)
    return worst + alone


def _judged(subject: Subject, checks: Sequence[Check]) -> list[Finding]:
    """Return the findings of checks, of which each relies on those before it."""
    findings: list[Finding] = []
    for check in checks:
        failed = names_of(findings, FAILED)
        try:
            status, detail = NOT_JUDGED, f"as {failed} failed"
            if not failed:
                status, detail = PASSED, check(subject)
        except (WrongError, ValueError, TypeError, LookupError, ArithmeticError) as error:
            # A model that is not ours may raise anything that a wrong array causes.
            name = "" if isinstance(error, WrongError) else f"{type(error).__name__}: "
            status, detail = FAILED, f"{name}{error}"
        findings.append(Finding(check.__name__, status, detail))
    return findings


def names_of(findings: Sequence[Finding], status: str) -> str:
    """Return the names of the checks with a status, separated by commas."""
    return ", ".join(each.check for each in findings if each.status == status)


def slow_because(subject: Subject) -> str | None:
    """Return why the training steps of a model cannot be recorded and replayed; None if they can.

    Such a model is trained correctly, but slower.
    """
    model = subject.load()
    if not isinstance(model, NeuralLanguageModel):
        return None
    recorded = CapturedLoss(model.loss, model.parameters().values())
    for _ in range(3):
        recorded(subject.windows[:, : subject.short + 1], stream(0, "audit"))
    return recorded.untraceable_reason
