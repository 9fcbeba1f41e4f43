"""The continuation of a prompt: its tokens, their final text, and the reason why it ended."""

from collections.abc import Sequence
from copy import copy

from lmladder.data import Tokenizer
from lmladder.system.arrays import IntArray
from lmladder.system.errors import InputError

UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # how a tokenizer decodes an incomplete character
MAX_UNFINISHED = 3  # bytes, and so tokens, of an incomplete character


class Continuation:
    """Tokens added to a prompt one by one, and their text if a tokenizer is given.

    The text ends before the first occurrence of a stop text, at any position relative to tokens,
    or before the token that ends a document. Text that may still change is held back: the bytes of
    an incomplete character, and a possible beginning of a stop text.

    Parameters
    ----------
    prompt : the tokens before, in which stop texts are not searched for
    stop : texts, none of them empty

    Attributes
    ----------
    prompt : the text of the prompt, except for an incomplete character at its end
    text : the text after it, of all tokens so far except for those that are pending
    tokens : all that were added, in order
    log_probability : of these tokens given the prompt, in nats, according to the model without the
        strategy
    finish_reason : None while it is unfinished; then "length", "stop" or "eos"
    """

    def __init__(
        self,
        tokenizer: Tokenizer | None = None,
        prompt: Sequence[int] | IntArray = (),
        stop: Sequence[str] = (),
    ):
        if "" in stop:
            raise InputError("a stop text is empty; give at least one character")
        self.tokens: list[int] = []
        self.log_probability = 0.0
        self.finish_reason: str | None = None
        self.prompt = self.text = ""
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._max_stop = max(map(len, stop), default=1)
        if tokenizer is not None:
            given = [int(token) for token in prompt]
            complete = _n_complete(tokenizer, given)
            self.prompt = tokenizer.decode(given[:complete])
            self._before = given[:complete][-1:]  # decoded last
            self._pending = given[complete:]  # not decoded yet

    def add(self, token: int, log_probability: float) -> None:
        """Append a token, which may finish the continuation."""
        self.tokens.append(token)
        self.log_probability += log_probability
        if self._tokenizer is None:
            return
        if token == self._tokenizer.eos:
            self.finish("eos")
        else:
            self._pending = [*self._pending, token]
            self._decode(_n_complete(self._tokenizer, self._pending))

    def finish(self, reason: str) -> None:
        """Finish, for this reason unless the text that was pending completes a stop text."""
        if self._tokenizer is not None and self.finish_reason is None:
            self._decode(len(self._pending))
        self.finish_reason = self.finish_reason or reason

    def fork(self) -> "Continuation":
        """Return a copy that continues independently."""
        other = copy(self)
        other.tokens = list(self.tokens)
        return other

    @property
    def final_length(self) -> int:
        """The number of characters of `text` that no further token can remove."""
        for held in range(min(len(self.text), self._max_stop - 1), 0, -1):
            if any(stop.startswith(self.text[-held:]) for stop in self._stop):
                return len(self.text) - held
        return len(self.text)

    def _decode(self, count: int) -> None:
        """Append the text of the first pending tokens, up to a stop text."""
        assert self._tokenizer is not None
        tokens, self._pending = self._pending[:count], self._pending[count:]
        before = self._tokenizer.decode(self._before)  # a tokenizer may put text between tokens
        search_from = max(0, len(self.text) - self._max_stop + 1)
        self.text += self._tokenizer.decode(self._before + tokens)[len(before) :]
        self._before = tokens or self._before
        found = [self.text.find(stop, search_from) for stop in self._stop]
        if starts := [start for start in found if start >= 0]:
            self.text = self.text[: min(starts)]
            self.finish_reason = "stop"


def _n_complete(tokenizer: Tokenizer, tokens: list[int]) -> int:
    """Return the number of tokens before a character that further bytes may complete.

    That character begins in the last token that can be decoded apart from those before it.
    """
    text = tokenizer.decode(tokens)
    if text.endswith(UNFINISHED):
        for start in range(len(tokens) - 1, max(0, len(tokens) - MAX_UNFINISHED) - 1, -1):
            if tokenizer.decode(tokens[:start]) + tokenizer.decode(tokens[start:]) == text:
                return start
    return len(tokens)
