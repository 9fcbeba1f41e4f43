"""Guests: models of other programs, which are rungs like any other.

The kind `callable` is a Python function. The rest is for kinds of one's own (own.py): a model that
computes one distribution at a time, a tokenizer of its own, and files of which a checkpoint has the
sha256 instead of weights. A guest returns whole distributions, so that anyone can check that they
sum to 1.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

from lmladder.data import Tokenizer
from lmladder.data.reading import ESCAPED, opened
from lmladder.models.contract import Decoder
from lmladder.models.own import FittedAtOnce, executed
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.system.errors import InputError
from lmladder.system.settings import Count, Settings

import numpy as np
from pydantic import Field

DIGEST = "sha256"  # the name of an array
TOLERANCE = 1e-3  # of the logarithm of the sum of probabilities, as files have few digits
SHOWN = 20  # characters of a text, in messages


def digest(path: str) -> dict[str, Array]:
    """Return the sha256 of a file, or of all files in a folder, as arrays of a checkpoint.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    top, whole = Path(path), hashlib.sha256()
    files = [each for each in top.iterdir() if each.is_file()] if top.is_dir() else [top]
    for each in sorted(each for each in files if each.name[0] != "."):
        with opened(each, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{each.relative_to(top)} {found}\n".encode())
    return {DIGEST: np.frombuffer(whole.digest(), np.uint8)}


class GuestTokenizer(Tokenizer):
    """A tokenizer that belongs to a guest; it rejects a text that it would change."""

    @abstractmethod
    def located(self, text: str) -> tuple[list[int], list[int]]:
        """Return the tokens of a text, and the offset of the first character of each."""

    def encode(self, text: str) -> IntArray:
        return self.encode_located(text)[0]

    def encode_located(self, text: str) -> tuple[IntArray, IntArray]:
        """Return what `located` returns, both of shape (tokens,).

        Raises
        ------
        InputError
            If the text of these tokens is another one. Only a code that can be decoded gives an
            upper bound of the information in a text.
        """
        if ESCAPED.search(text):
            raise InputError(f"the tokenizer of the guest ({self.name}) reads only valid UTF-8")
        found, starts = self.located(text)
        decoded = self.decode(found)
        if decoded != text:
            at = next((i for i, each in enumerate(text) if each != decoded[i : i + 1]), len(text))
            was, became = (each[at : at + SHOWN] for each in (text, decoded))
            raise InputError(
                f"the tokenizer of the guest ({self.name}) changes the text: {was!r} at offset "
                f"{at} becomes {became!r}, so bits per byte are not known"
            )
        return np.array(found, self.dtype), np.array(starts, np.int64)

    def n_bytes(self, ids: IntArray) -> int:
        return len(self.decode(ids).encode())


class ByContext(FittedAtOnce):
    """A model that computes one distribution at a time; the attributes are of `LanguageModel`."""

    vocabulary_size: int
    context_length: int
    max_length: int | None = None
    n_parameters: int

    def after(self, context: IntArray) -> FloatArray:
        """Return the log probabilities of the next token: (length,) -> (vocabulary_size,).

        The context has at most `context_length` tokens, so that no prediction sees its target.
        """
        raise NotImplementedError

    def _after(self, tokens: IntArray, end: int) -> FloatArray:
        return self.after(tokens[max(0, end - self.context_length) : end])

    def nll(self, tokens: IntArray) -> FloatArray:
        found = [
            [-self._after(each, end)[each[end]] for end in range(1, len(each))] for each in tokens
        ]
        nats: FloatArray = np.maximum(np.array(found, np.float64), 0.0) + 0.0  # -log(1) is -0.0
        return nats.reshape(len(tokens), -1)

    def log_probabilities(self, tokens: IntArray) -> FloatArray:
        found = [[self._after(each, end + 1) for end in range(len(each))] for each in tokens]
        return np.array(found)

    def next_log_probabilities(self, tokens: IntArray) -> FloatArray:
        return np.array([self._after(each, len(each)) for each in tokens])

    def decoder(self) -> Decoder:
        return Decoder(self)


def normalized(logs: Array, size: int, source: Callable[[], str]) -> FloatArray:
    """Return log probabilities with the sum of probabilities exactly 1; `source` names them.

    Raises
    ------
    InputError
        If they are not numbers of shape (size,), or their sum is not nearly 1.
    """
    if logs.shape != (size,) or logs.dtype.kind != "f":
        raise InputError(
            f"{source()} must be a distribution, the log probabilities of all {size} tokens, got "
            f"{logs.dtype} of shape {logs.shape}; a loss alone cannot be checked"
        )
    logs = logs.astype(np.float64)
    with np.errstate(invalid="ignore"):
        total = float(np.logaddexp.reduce(logs))
    if not abs(total) <= TOLERANCE:  # nor NaN
        raise InputError(f"{source()} must be probabilities that sum to 1, got {np.exp(total):.6g}")
    return logs - total


class CallableSettings(Settings):
    """A Python function that returns the log probabilities of the next token."""

    watch: str = Field(description="the Python file, whose change makes the rung again")
    function: str = Field(description="the name of the function")
    context_length: Count = Field(description="maximum number of tokens that it receives")
    parameters: Count = Field(description="the number of learned values, for the table")


class Function(ByContext):
    """A Python function of the tokens before, (length,), int64, oldest first.

    It returns the log probability of each possible next token, (vocabulary_size,). The tokens are
    those of the text. The function sees no token that it predicts.

    Raises
    ------
    InputError
        If no user named the file, so that it was not executed, or it does not define the function.
    """

    Settings = CallableSettings
    executes = True
    is_foreign = True

    def __init__(
        self, settings: CallableSettings, vocabulary_size: int, arrays: Mapping[str, Array]
    ):
        self.vocabulary_size, self.context_length = vocabulary_size, settings.context_length
        self.n_parameters = settings.parameters
        self._source = f"{settings.function} of {settings.watch}"
        self._function = getattr(executed(Path(settings.watch)), settings.function, None)
        if not callable(self._function):
            raise InputError(f"{settings.watch} does not define a function {settings.function}")

    def after(self, context: IntArray) -> FloatArray:
        try:
            found = np.asarray(self._function(context.astype(np.int64)))  # type: ignore[misc]
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"{self._source} failed: {reason}") from error
        return normalized(found, self.vocabulary_size, lambda: f"the result of {self._source}")
