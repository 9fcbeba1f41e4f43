"""Backoff n-gram models in ARPA files, as KenLM and SRILM write them.

With p and b of the file, the probability of w after a history h is

    p(w | h) = p(h w)                               if the file has the n-gram h w
               b(h) p(w | h without its first token)    otherwise, with b(h) = 1 for an unknown h

If all unigrams are single characters, they are the tokens, and a visible symbol stands for a space;
else the tokens are the words between single spaces. With `newline` = </s> each line is a sentence:
a newline has the probability of </s>, and the history after it is <s>. So the probabilities of all
tokens sum to 1, with <unk> as one of them. A word that is not in the file has no probability of its
own, since <unk> is any of them; a text with such a word is rejected.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lmladder.data.reading import named, opened
from lmladder.models.guests import DIGEST, ByContext, GuestTokenizer, digest, normalized
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.system.errors import InputError
from lmladder.system.settings import Settings

import numpy as np
from pydantic import Field

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
SPECIAL = (BEGIN, END, UNKNOWN, "<UNK>")
LOG_10 = float(np.log(10))


class ArpaSettings(Settings):
    """Which file, and how it writes a text."""

    path: str = Field(description="the ARPA file")
    space: str = Field(description="how a file of single characters writes a space")
    newline: str = Field(description="how it writes a newline; </s>: each line is a sentence")


class ArpaTokenizer(GuestTokenizer):
    """The tokens of an ARPA file, as they are in a text.

    Parameters
    ----------
    words : the vocabulary; token n is words[n]; those in `SPECIAL` are in no text
    """

    name = "arpa"

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(range(len(words)), None)
        self.words = tuple(words)
        self._token_of = {word: i for i, word in enumerate(words) if word not in SPECIAL}
        self.of_characters = all(len(word) == 1 for word in self._token_of)
        self._pattern = re.compile(r"(?s:.)" if self.of_characters else r"\n|[^ \n]+")

    def located(self, text: str) -> tuple[list[int], list[int]]:
        found = [*self._pattern.finditer(text)]
        for each in found:
            if each[0] not in self._token_of:
                what = f"character {named(each[0])}" if self.of_characters else f"word {each[0]!r}"
                raise InputError(
                    f"unknown {what} at offset {each.start()}: an ARPA file has one probability "
                    f"for all that it does not contain, so bits per byte are not known"
                )
        return [self._token_of[each[0]] for each in found], [each.start() for each in found]

    def _text_of(self, ids: IntArray) -> str:
        words = [self.words[token] for token in ids.tolist()]
        return "".join(words) if self.of_characters else re.sub(" ?\n ?", "\n", " ".join(words))


class Arpa(ByContext):
    """The model of an ARPA file; see the head of this module.

    Raises
    ------
    InputError
        If the file is not an ARPA file, or later, if probabilities in it do not sum to 1.
    """

    Settings = ArpaSettings

    @staticmethod
    def learn(
        settings: ArpaSettings, tokens: IntArray, vocabulary_size: int
    ) -> Mapping[str, Array]:
        """Return the digest of the file."""
        return digest(settings.path)

    def __init__(self, settings: ArpaSettings, vocabulary_size: int, arrays: Mapping[str, Array]):
        if not np.array_equal(digest(settings.path)[DIGEST], arrays[DIGEST]):
            raise InputError(
                f"{settings.path} has changed since the checkpoint was made; make it again with "
                "`dvc repro`"
            )
        self.n_parameters = self.context_length = 0
        self._path, ids = settings.path, {BEGIN: -1}
        in_text = {settings.newline: "\n", settings.space: " "}
        backoffs: dict[tuple[int, ...], float] = {}
        found: dict[tuple[int, ...], list[tuple[int, float]]] = defaultdict(list)
        for ngram, log, backoff in ngrams_in(Path(settings.path)):
            if len(ngram) == 1 and ngram[0] != BEGIN:
                ids[ngram[0]] = len(ids) - 1
            if unknown := [word for word in ngram if word not in ids]:
                raise InputError(f"{settings.path}: {unknown[0]!r} is not among the unigrams")
            *history, last = (ids[word] for word in ngram)
            if ngram[-1] != BEGIN:
                found[tuple(history)].append((last, log))
            if ngram[-1] != END:
                backoffs[(*history, last)] = backoff
            self.context_length = max(self.context_length, len(history))
            self.n_parameters += 1
        del ids[BEGIN]
        self.tokenizer = ArpaTokenizer([in_text.get(word, word) for word in ids])
        self.vocabulary_size = len(ids)
        # A newline that ends a sentence is <s> for what follows.
        self._end = ids.get(END, -1) if settings.newline == END else -1
        self._histories = {
            history: (
                backoffs.get(history, 0.0),
                np.array([token for token, _ in found.get(history, ())], np.int64),
                np.array([log for _, log in found.get(history, ())]),
            )
            for history in {*found, *backoffs}
        }

    def after(self, context: IntArray) -> FloatArray:
        logs = np.full(self.vocabulary_size, -np.inf)
        history = tuple(context.tolist())
        begun = [i for i, token in enumerate(history) if token == self._end]
        history = (-1, *history[begun[-1] + 1 :]) if begun else history
        for start in range(len(history), -1, -1):
            known = self._histories.get(history[start:])
            if known is not None:
                backoff, tokens, values = known
                logs += backoff
                logs[tokens] = values
        return normalized(
            logs, len(logs), lambda: f"{self._path} after {self.tokenizer.decode(context)!r}"
        )


def ngrams_in(path: Path) -> Iterator[tuple[list[str], float, float]]:
    """Yield each n-gram of an ARPA file, with its log probability and backoff weight, in nats.

    Raises
    ------
    InputError
        If the file is missing, or not a complete ARPA file; names the line.
    """
    expected: dict[int, int] = {}
    seen, order, number = Counter[int](), 0, 0
    try:
        with opened(path) as file:
            for number, line in enumerate(file, 1):  # noqa: B007
                fields = re.split(r"[ \t]+", line.strip(" \t\r\n"))
                if fields == ["\\end\\"]:
                    if seen != expected:
                        raise ValueError(f"expected n-grams {expected}, got {dict(seen)}")
                    return
                if heading := re.fullmatch(r"\\(\d+)-grams:", fields[0]):
                    order = int(heading[1])
                elif order == 0 and fields[0] == "ngram":
                    size, count = map(int, "".join(fields[1:]).split("="))
                    expected[size] = count
                elif order and fields != [""]:
                    log, *backoff = map(float, (fields[0], *fields[order + 1 :]))
                    if len(fields) <= order or len(backoff) > 1 or not log <= 0:
                        raise ValueError(f"not an n-gram of order {order}")
                    seen[order] += 1
                    yield fields[1 : order + 1], log * LOG_10, sum(backoff) * LOG_10
        raise ValueError("the file ends before \\end\\")
    except ValueError as error:
        raise InputError(f"{path} is not a valid ARPA file, line {number}: {error}") from None
