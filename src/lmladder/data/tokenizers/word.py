"""Words as tokens, with spacing that can be restored.

A word includes the space before it: "a cat" is two tokens. Where a word has none, the token GLUE
precedes it. All text between words, such as punctuation, newlines and further spaces, is encoded in
bytes. So any text whose words are known is restored by decoding.
"""

import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Annotated, Literal, Self

from lmladder.data.reading import bytes_from_text
from lmladder.data.tokenizers.byte import N_BYTES
from lmladder.data.tokenizers.contract import MAX_VOCABULARY, NAME, Tokenizer, TokenizerSettings
from lmladder.system.arrays import IntArray
from lmladder.system.errors import InputError

import numpy as np
from pydantic import Field

GLUE = N_BYTES  # after the bytes; the word that follows has no space before it
UNK = N_BYTES + 1  # where unknown words have a token; then the words
WORD = re.compile(r"\w+(?:['\u2019]\w+)*")  # don't is one
PIECE = re.compile(rf" ?{WORD.pattern}|\W")
UNKNOWN = {"error": (), "unk": ("<unk>",)}  # the tokens between GLUE and the words
MIN_VOCABULARY = UNK + 2  # with one word
CACHED_PIECES = 1 << 16


class WordSettings(TokenizerSettings):
    """The settings of the word tokenizer: one token for each word, and one for each other byte."""

    name: Literal["word"] = NAME
    vocabulary_size: Annotated[int, Field(ge=MIN_VOCABULARY, le=MAX_VOCABULARY)] | None = Field(
        description="maximum number of tokens; null: all words of the text"
    )
    unknown: Literal["error", "unk"] = Field(
        description="what a word outside the vocabulary becomes: an error, or <unk>"
    )


class WordTokenizer(Tokenizer):
    """One token for each word that it was built with.

    Parameters
    ----------
    words : the vocabulary, each word once
    unknown : "error" rejects other words; "unk" replaces them by the token <unk>
    """

    name = "word"
    fields = ("words", "unknown")

    def __init__(self, words: Sequence[str], unknown: str, eos: int | None = None) -> None:
        special = UNKNOWN[unknown]
        # GLUE removes the space of its word; <unk> represents its space only.
        lengths = [1 + len(word.encode()) for word in words]
        super().__init__([1] * GLUE + [-1] + [1] * len(special) + lengths, eos)
        self.words = [*words]
        self.unknown = unknown
        self._shown = [*special, *words]  # from UNK on, each after a space
        self._token_of = {word: token for token, word in enumerate(words, UNK + len(special))}
        self._tokens = lru_cache(CACHED_PIECES)(self._tokens_of)

    def encode(self, text: str) -> IntArray:
        tokens = chain.from_iterable(map(self._tokens, PIECE.findall(text)))
        try:
            return np.fromiter(tokens, self.dtype)
        except KeyError as error:
            piece = error.args[0]
            offset = next(each.start() for each in PIECE.finditer(text) if each.group() == piece)
            word = piece.removeprefix(" ")
            raise InputError(
                f"unknown word {reprlib.repr(word)} at offset {offset + len(piece) - len(word)}: "
                f"this word tokenizer has {len(self.words)} other words"
            ) from None

    def _tokens_of(self, piece: str) -> tuple[int, ...]:
        """Return the tokens of a match of PIECE; KeyError for a word that has none."""
        word = piece.removeprefix(" ")
        token = self._token_of.get(word)
        if token is None:
            if not WORD.match(word):
                return tuple(bytes_from_text(piece))
            if self.unknown == "error":
                raise KeyError(piece)
            token = UNK
        return (GLUE, token) if piece == word else (token,)

    def _text_of(self, ids: IntArray) -> str:
        """Return the text of ids; GLUE only matters before words."""
        parts = []
        glued = False
        for token in ids.tolist():
            if token < GLUE:
                parts.append(bytes([token]))
            elif token > GLUE:
                parts.append(f"{'' if glued else ' '}{self._shown[token - UNK]}".encode())
            glued = token == GLUE
        return b"".join(parts).decode("utf-8", errors="replace")

    @classmethod
    def build(cls, texts: Iterable[str], config: WordSettings, separator: str | None) -> Self:
        """Return a tokenizer of the most frequent words, up to the configured number of tokens."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(WORD.findall(text))
        if not counts:
            raise InputError("the text has no words; the byte tokenizer reads anything")
        words = sorted(counts, key=lambda word: (-counts[word], word))
        first = UNK + len(UNKNOWN[config.unknown])
        size = config.vocabulary_size or first + len(words)
        if config.unknown == "error" and size < first + len(words):
            raise InputError(
                f"tokenizer.vocabulary_size={size} leaves out words, such as "
                f"{reprlib.repr(words[size - first])}; it must be {first + len(words)}, "
                "or tokenizer.unknown=unk"
            )
        return cls(words[: size - first], config.unknown)
