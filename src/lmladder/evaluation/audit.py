"""The audit of a score: checks that a number is a score of the text that it claims.

A loss in nats per byte is a score only if each byte is predicted once, by a distribution that is
fixed before the byte is known. An audit knows a model only by what `LanguageModel` promises, and
compares results that the promise makes equal. docs/audit.md describes the checks and their limits.

The checks of predictions are in an order such that each relies on those before it: where the same
call gives two results, no other comparison means anything. So after the first of them that fails
the rest is not judged. The checks of bytes and of the truth stand alone.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from lmladder.data import Prepared, Tokenizer
from lmladder.evaluation.blocks import block_starts
from lmladder.evaluation.exact import Score, read_tokens
from lmladder.evaluation.guests import convert
from lmladder.models.contract import LanguageModel, own_tokenizer, parts_of_validation
from lmladder.system.arrays import Array, BoolArray, FloatArray, IntArray
from lmladder.system.streams import stream
from lmladder.training.checkpoint import Checkpoint

import numpy as np

TOLERANCE = 1e-4  # in nats and relative; float32 rounds by some 1e-5
LENGTH, SHORT = 256, 48  # tokens of sequences at most; the latter for whole distributions
MAX_ELEMENTS = 1 << 23  # of distributions that are computed at a time
MAX_TARGETS = 1024  # size of a vocabulary of which every token is tried as the next one
RETRIED = 12  # blocks of the text that are scored again
STRETCHES, LEAD, STRETCH = 1000, 4, 10  # of the text that are decoded; tokens before and in each
LUCK = math.log(1e6)  # nats; a model gains as much over the truth once in a million texts
UNKNOWN, UNDECODABLE = "<unk>", "\N{REPLACEMENT CHARACTER}"
PASSED, FAILED, NOTHING, NOT_JUDGED = "passed", "FAILED", "nothing to try", "not judged"


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes
    ----------
    check, claim : its name, and what it checks
    status : PASSED, FAILED, NOTHING, or NOT_JUDGED after the failure of an earlier check
    detail : what was tried, what is wrong, or why nothing was tried
    """

    check: str
    claim: str
    status: str
    detail: str


class WrongError(Exception):
    """A check found something wrong, which the message describes."""


class NothingToTryError(Exception):
    """A check does not apply; the message says why."""


@dataclass(frozen=True)
class Subject:
    """What is audited.

    Attributes
    ----------
    load : returns the model as it is before it has scored anything, each time a new one
    text, preceding : the tokens that are scored, and those before them, at least one; 1-d
    tokenizer : of the model
    score : what is claimed for the text; None: only predictions and bytes are checked
    blocks : the index of the block of `score` to which each token belongs; None: `block_starts`
    is_validation : whether the text is scored in the parts that `parts_of_validation` names
    true_nats : -log probability of the text under the distribution that it was drawn from
    min_context, batch_tokens : of `read_tokens`: the rule by which the text was scored
    tolerance : of comparisons, in nats and relative
    """

    load: Callable[[], LanguageModel]
    text: IntArray
    preceding: IntArray
    tokenizer: Tokenizer
    score: Score | None = None
    blocks: IntArray | None = None
    is_validation: bool = False
    true_nats: float | None = None
    min_context: float = 0.5
    batch_tokens: int = 8192
    tolerance: float = TOLERANCE

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

    @property
    def has_memory(self) -> bool:
        """Whether predictions depend on which text was scored before."""
        return not self.agree(self.visits[1], self.visits[2])

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
        return bool(np.isclose(found, expected, self.tolerance, self.tolerance, True).all())

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
    """Return what to audit of a model of a checkpoint on a split; `facts` are other attributes.

    Where the tokens of the model are not those of the prepared text, its tokenizer encodes it.
    """
    texts, tokenizer = (prepared.split(split), prepared.preceding(split)), prepared.tokenizer
    model = checkpoint.restore_models()[name]
    if own := own_tokenizer(model):
        starts = block_starts(len(texts[0]))
        tokenizer, guest = own, convert(own, model.context_length, prepared, split)
        texts = guest.tokens, guest.preceding
        facts["blocks"] = np.searchsorted(starts, guest.positions, side="right") - 1
    elif checkpoint.tokenizer != tokenizer.to_json():
        decode, tokenizer = tokenizer.decode, checkpoint.restore_tokenizer()
        texts = tokenizer.encode(decode(texts[0])), tokenizer.encode(decode(texts[1]))
    if (oracle := prepared.corpus.splits[split].oracle) is not None:
        facts["true_nats"] = oracle.nats
    facts["is_validation"] = split == "val"
    return Subject(lambda: checkpoint.restore_models()[name], *texts, tokenizer, **facts)


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
        if not (np.isfinite(losses).all() and best < subject.tolerance):  # nor NaN
            raise WrongError("a loss is not finite, or a probability is not one")
    if subject.score and not np.isfinite([subject.score.nats, *subject.score.block_losses]).all():
        raise WrongError("a claimed loss is not finite")
    return f"{len(sequences)} sequences of {length} tokens, one of them random"


def repeat(subject: Subject) -> str:
    """The same call gives the same result."""
    at_first, again, after_other, after_other_too = subject.visits
    if not subject.agree(after_other, after_other_too):
        raise WrongError("the same calls of the model, loaded twice, give different results")
    if not subject.has_memory and not subject.agree(again, at_first):
        raise WrongError("the same call gives another result the second time")
    return "the same calls of the model loaded twice, and the same call twice"


def update(subject: Subject) -> str:
    """A token is scored before the model learns from it."""
    if subject.has_memory:
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


def _changed(subject: Subject, window: IntArray, kept: int) -> Iterator[tuple[str, IntArray]]:
    """Yield sequences that agree in the first tokens, and how the later ones differ."""
    size, (head, tail) = subject.model.vocabulary_size, np.split(window, [kept])
    changes = {
        "removed": tail[:0],
        "others": (tail + 1) % size,
        "random": subject.random(len(tail)),
        "in reverse order": tail[::-1],
        "all the same": np.full_like(tail, head[0]),
        "others, but for the first": np.append(tail[:1], (tail[1:] + 1) % size),
    }
    for name, other in changes.items():
        yield name, np.concatenate([head, other])[None]


def future(subject: Subject) -> str:
    """No prediction depends on a later token."""
    model, length, short = subject.model, subject.length, subject.short
    drawn = stream(0, "audit").integers(1, length + 1, size=4)
    places = {1, 2, 3, short // 2, short - 1, length // 2, length - 1, length, *drawn.tolist()}
    tried = 0
    for kept in sorted(places & {*range(1, length + 1)}):
        window = subject.windows[kept % len(subject.windows)]
        losses, logs = model.nll(window[None]), model.log_probabilities(window[None, :short])
        for change, other in _changed(subject, window, kept):
            message = f"predictions change if all tokens after token {kept} are {change}"
            if kept > 1:
                found = model.nll(other)[:, : kept - 1]
                subject.require(found, losses[:, : kept - 1], message)
            found = model.log_probabilities(other[:, :short])[:, :kept]
            subject.require(found, logs[:, :kept], message)
            tried += 1
    return f"{tried} changes of later tokens, in sequences of up to {length} tokens"


def batch(subject: Subject) -> str:
    """No prediction depends on other sequences of the batch."""
    model, count = subject.model, len(subject.windows)
    fits = max(1, 8 * MAX_ELEMENTS // (2 * count * model.vocabulary_size))
    windows = subject.windows[:, : fits + 1]
    each_alone = [subject.predictions(model, each) for each in windows[:, None]]
    alone = [np.concatenate(arrays) for arrays in zip(*each_alone, strict=True)]
    last = slice(count, None)
    batches: Mapping[str, tuple[IntArray, slice]] = {
        "together": (windows, slice(None)),
        "in reverse order": (windows[::-1], slice(None, None, -1)),
        "twice in a batch": (np.concatenate([windows, windows]), last),
        "after random ones": (np.concatenate([subject.random(*windows.shape), windows]), last),
        "after equal tokens": (np.concatenate([np.zeros_like(windows), windows]), last),
    }
    for name, (sequences, order) in batches.items():
        for found, expected in zip(subject.predictions(model, sequences), alone, strict=True):
            message = f"sequences that are scored {name} have other predictions than alone"
            subject.require(found[order], expected, message)
    return f"{count} sequences, each alone and in {len(batches)} batches"


def context(subject: Subject) -> str:
    """No prediction depends on more than the stated context."""
    model, read = subject.model, max(1, subject.model.context_length)
    longest = min(model.max_length or read + SHORT, read + SHORT, len(subject.stream) - 1)
    if longest <= read:
        raise NothingToTryError(f"no sequence is longer than the context of {read:,} tokens")
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
    if not abs(worst - 1) <= subject.tolerance:
        raise WrongError(f"the probabilities of the next token sum to {worst:.6g}")
    every = np.arange(model.vocabulary_size)
    places = lengths[:3] if len(every) <= MAX_TARGETS else []
    for each in places:
        losses = _losses_of(every, model, subject.windows[2, :each])
        if not abs((total := float(np.exp(-losses).sum())) - 1) <= subject.tolerance:
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
    positions = {1, 2, 3, short - 1, short, longest // 2, longest - 1, longest}
    positions |= {*stream(0, "audit").integers(1, longest + 1, size=64).tolist()}
    for kept in sorted(positions := positions & {*range(1, longest + 1)}):
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
    """The whole text is scored, by the stated rule."""
    score, n_tokens = subject.score, len(subject.text)
    if score is None:
        raise NothingToTryError("no score of a whole text is beside the model")
    if score.tokens != n_tokens:
        raise WrongError(f"{score.tokens:,} tokens are scored, and the text has {n_tokens:,}")
    losses, starts = np.array(score.block_losses), block_starts(n_tokens)
    block: IntArray = np.repeat(np.arange(len(starts)), np.diff(starts, append=n_tokens))
    block = block if subject.blocks is None else subject.blocks
    if len(losses) != block[-1] + 1:
        raise WrongError(f"{len(losses)} blocks are scored, and the text has {block[-1] + 1}")
    subject.require(losses.sum() / n_tokens, score.nats / n_tokens, "the blocks have another sum")
    evenly = np.linspace(0, len(losses) - 1, RETRIED).astype(int)
    chosen = np.unique([*evenly, losses.argmin(), losses.argmax()])
    again = np.bincount(block, _scored(subject, np.isin(block, chosen)))
    message = "blocks of the text that are scored again by the rule have other losses"
    subject.require(again[chosen], losses[chosen], message)
    return f"{n_tokens:,} tokens in {len(losses)} blocks, of which {len(chosen)} were scored again"


def _scored(subject: Subject, wanted: BoolArray) -> FloatArray:
    """Return the nats of the wanted tokens of the text, by its rule; 0 for the others."""
    preceding, count = np.asarray(subject.preceding), len(subject.text)
    tokens = np.concatenate([preceding, subject.text]).astype(np.int64)
    needed = np.append(np.zeros(len(preceding), bool), wanted)

    def read(positions: IntArray, model: LanguageModel) -> FloatArray:
        """Return the losses at positions of windows that contain wanted ones; else 0."""
        nats = np.zeros(positions[:, 1:].shape)
        if (chosen := needed[positions[:, 1:]].any(axis=1)).any():
            nats[chosen] = model.nll(tokens[positions[chosen]])
        return nats

    whole = [(0, count, subject.model)]
    found = []
    for first, end, model in (
        parts_of_validation(subject.model, count) if subject.is_validation else whole
    ):
        before, positions = np.split(np.arange(len(preceding) + end), [len(preceding) + first])
        options: Any = {"min_context": subject.min_context, "batch_tokens": subject.batch_tokens}
        found.append(read_tokens(model, partial(read, model=model), positions, before, **options))
    return np.where(wanted, np.concatenate(found), 0.0)


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
    if subject.score and subject.score.bytes != total:
        raise WrongError(f"{subject.score.bytes:,} bytes are claimed, and the text has {total:,}")
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
    """The score is not better than the truth."""
    if subject.score is None or subject.true_nats is None:
        raise NothingToTryError("the score or the true probability of the text is not known")
    gain = subject.true_nats - subject.score.nats
    if gain > LUCK:
        raise WrongError(
            f"the score is {gain:,.1f} nats better than the truth; more than {LUCK:.1f} occur by "
            "chance once in a million texts"
        )
    return (
        f"{subject.score.nats:,.0f} nats claimed, {subject.true_nats:,.0f} by the true distribution"
    )


Check = Callable[[Subject], str]  # returns what it tried; its docstring is what it claims
PREDICTIONS: Sequence[Check] = (
    *(repeat, finite, update, history, future, batch, context, sums, loss, text),
)
ALONE: Sequence[Check] = (byte_count, truth)


def audit(subject: Subject) -> list[Finding]:
    """Return the findings of all checks.

    The models that score the parts of a validation text are audited like the model itself.
    """
    parts = range(len(getattr(subject.model, "cross_fitted", ())) * subject.is_validation)
    found = [_of_predictions(subject)]
    for index in parts:
        load = partial(_part, subject.load, index)
        found.append(_of_predictions(replace(subject, load=load, score=None)))
    worst = max(found, key=lambda each: sum(one.status == NOT_JUDGED for one in each))
    return worst + [_finding(check, subject) for check in ALONE]


def _part(load: Callable[[], Any], index: int) -> LanguageModel:
    model: LanguageModel = load().cross_fitted[index]
    return model


def _of_predictions(subject: Subject) -> list[Finding]:
    findings: list[Finding] = []
    for check in PREDICTIONS:
        failed = failures(findings)
        findings.append(_finding(check, subject, f"as {failed} failed" if failed else ""))
    return findings


def _finding(check: Check, subject: Subject, obstacle: str = "") -> Finding:
    status, detail = NOT_JUDGED, obstacle
    try:
        if not obstacle:
            status, detail = PASSED, check(subject)
    except NothingToTryError as reason:
        status, detail = NOTHING, str(reason)
    except (WrongError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        # A model that is not ours may raise anything that a wrong array causes.
        name = "" if isinstance(error, WrongError) else f"{type(error).__name__}: "
        status, detail = FAILED, f"{name}{error}"
    return Finding(check.__name__, (check.__doc__ or "").rstrip("."), status, detail)


def failures(findings: Sequence[Finding]) -> str:
    """Return the names of the checks that failed, separated by commas; empty if none did."""
    return ", ".join(each.check for each in findings if each.status == FAILED)
