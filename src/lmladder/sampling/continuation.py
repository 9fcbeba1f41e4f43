"""What has been added to a prompt: tokens, their text as far as it is certain, and why it ended."""

from collections.abc import Sequence
from copy import copy

from lmladder.arrays import IntArray
from lmladder.errors import InputError
from lmladder.text import Tokenizer

UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # how a tokenizer decodes a character that lacks bytes
LONGEST_UNFINISHED = 3  # bytes, and so tokens, of such a character


class Continuation:
    """Tokens added to a prompt, and their text where there is a `Transcript`.

    Attributes
    ----------
    prompt, text : of the prompt, and of the tokens up to a stop text or the end of the document; a
        character of which the prompt has only some bytes belongs to `text`
    tokens : all that were chosen, in order
    log_probability : of these tokens given the prompt, in nats, by the model itself, whatever the
        strategy made of it
    finish_reason : None as long as more may come; then "length", "stop" or "boundary"
    """

    def __init__(self, transcript: "Transcript | None" = None):
        self.tokens: list[int] = []
        self.log_probability = 0.0
        self.finish_reason: str | None = None
        self.transcript = transcript

    @property
    def text(self) -> str:
        return "" if self.transcript is None else self.transcript.text

    @property
    def prompt(self) -> str:
        return "" if self.transcript is None else self.transcript.prompt

    def add(self, token: int, log_probability: float) -> None:
        self.tokens.append(token)
        self.log_probability += log_probability
        if self.transcript is not None:
            self.finish_reason = self.transcript.add(token)

    def finish(self, reason: str) -> None:
        """No more tokens will come. A reason found in the text wins."""
        if self.finish_reason is None:
            found = self.transcript.close() if self.transcript is not None else None
            self.finish_reason = found or reason

    def fork(self) -> "Continuation":
        """A second one that begins alike and goes on by itself."""
        other = copy(self)
        other.tokens = list(self.tokens)
        other.transcript = copy(self.transcript)
        return other


class Transcript:
    """The text of tokens that come one by one.

    The text ends before the first occurrence of a stop text, wherever the borders of tokens fall,
    or before the token that ends a document. What may still change is held back: the bytes of a
    character that is not whole yet, and what may be the beginning of a stop text.

    Parameters
    ----------
    prompt : the tokens before; stop texts are not looked for there
    stop : texts, none of them empty

    Attributes
    ----------
    prompt : the prompt's text, but for a character at its end that lacks bytes
    text : what follows it, of all tokens that have come but those that are pending
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int] | IntArray, stop: Sequence[str]):
        if "" in stop:
            raise InputError("a stop text is empty; give at least one character")
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._boundary: int | None = getattr(tokenizer, "boundary", None)
        tokens = [int(token) for token in prompt]
        unfinished = self._unfinished(tokens)
        self._pending = tokens[len(tokens) - unfinished :]  # not decoded for good yet
        self._before = tokens[: len(tokens) - unfinished]  # decoded last
        self.prompt = tokenizer.decode(self._before)
        self._before = self._before[-1:]
        self.text = ""

    def add(self, token: int) -> str | None:
        """Take in one more token; the reason why the text is over, None if it is not."""
        if token == self._boundary:
            return self.close() or "boundary"
        self._pending = [*self._pending, token]
        whole = len(self._pending) - self._unfinished(self._pending)
        return self._settle(whole, self._decoded(self._pending[:whole]))

    def close(self) -> str | None:
        """No more tokens will come: what is pending stays. "stop" if that completes a stop text."""
        return self._settle(len(self._pending), self._decoded(self._pending))

    @property
    def certain(self) -> int:
        """How much of `text` no further token can take back."""
        for held in range(min(len(self.text), max(map(len, self._stop), default=1) - 1), 0, -1):
            if any(stop.startswith(self.text[-held:]) for stop in self._stop):
                return len(self.text) - held
        return len(self.text)

    def _unfinished(self, tokens: list[int]) -> int:
        """How many of the last tokens have a character that further bytes may make whole.

        It begins in the last token that can be decoded apart from those before it.
        """
        decode = self._tokenizer.decode
        text = decode(tokens)
        if text.endswith(UNFINISHED):
            for count in range(1, min(LONGEST_UNFINISHED, len(tokens)) + 1):
                if decode(tokens[:-count]) + decode(tokens[-count:]) == text:
                    return count
        return 0

    def _decoded(self, tokens: list[int]) -> str:
        """The text of tokens where they stand: a tokenizer may join its tokens by something."""
        before = self._tokenizer.decode(self._before)
        return self._tokenizer.decode(self._before + tokens)[len(before) :]

    def _settle(self, count: int, text: str) -> str | None:
        """Add the text of the first pending tokens; "stop" if that completes a stop text."""
        if count:
            self._before, self._pending = self._pending[:count], self._pending[count:]
        longest = max(map(len, self._stop), default=0)
        search_from = max(0, len(self.text) - longest + 1)
        self.text += text
        found = [self.text.find(stop, search_from) for stop in self._stop]
        if places := [place for place in found if place >= 0]:
            self.text = self.text[: min(places)]
            return "stop"
        return None
