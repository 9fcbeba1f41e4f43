"""Byte-level byte-pair encoding, as in GPT-2 (Radford et al. 2019; Sennrich et al. 2016).

The `tokenizers` library trains and encodes; vocabulary and merges are stored, from which it makes
the same tokenizer again. Tokens are written in GPT-2's alphabet, which has a visible character for
each byte, so that a space is \u0120 and a newline \u010a.
"""

import json
import re
import reprlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

from lmladder.data.reading import bytes_from_text, chunks, named
from lmladder.data.tokenizers.byte import N_BYTES
from lmladder.data.tokenizers.contract import (
    MAX_VOCABULARY,
    NAME,
    Tokenizer,
    TokenizerSettings,
)
from lmladder.system.arrays import IntArray
from lmladder.system.errors import InputError

import numpy as np
from pydantic import Field

MIN_COUNT = 2  # of a pair that training merges
NOT_UTF8 = re.compile("([\udc80-\udcff]+)")  # bytes, which the library does not accept


# The letter of each byte: itself if it is visible, else the next from U+0100 on.
VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
LETTER_OF = {byte: chr(byte) for byte in VISIBLE}
LETTER_OF |= {
    byte: chr(N_BYTES + index) for index, byte in enumerate(sorted({*range(N_BYTES)} - {*VISIBLE}))
}
BYTE_OF = {letter: byte for byte, letter in LETTER_OF.items()}


class BpeSettings(TokenizerSettings):
    """The settings of byte-level byte-pair encoding, as in GPT-2, trained on the training text."""

    name: Literal["bpe"] = NAME
    vocabulary_size: int = Field(
        ge=N_BYTES,
        le=MAX_VOCABULARY,
        description="maximum number of tokens, including the 256 bytes",
    )


class BpeTokenizer(Tokenizer):
    """Tokens that are sequences of bytes: any text can be encoded; a frequent word is one token.

    Parameters
    ----------
    vocabulary : the tokens in order, in GPT-2's alphabet; every single byte is one of them
    merges : pairs of tokens, with a space between, whose concatenation is a token too, the first to
        be merged first
    eos : the token that ends a document: its text is this token wherever it occurs
    """

    name = "bpe"
    fields: ClassVar = {"vocabulary": list, "merges": list}

    def __init__(
        self, vocabulary: Sequence[str], merges: Sequence[str], eos: int | None = None
    ) -> None:
        self._pairs = _checked_pairs(vocabulary, merges)
        self._bytes = [bytes(BYTE_OF[letter] for letter in token) for token in vocabulary]
        super().__init__([len(data) for data in self._bytes], eos)
        self.vocabulary = tuple(vocabulary)
        self.merges = tuple(merges)
        self._byte_tokens = [vocabulary.index(LETTER_OF[byte]) for byte in range(N_BYTES)]
        self._eos_text = None if eos is None else self._checked_eos(eos)

    def encode(self, text: str) -> IntArray:
        bytes_from_text(text)  # or an InputError
        parts = [part for chunk in chunks([text]) for part in NOT_UTF8.split(chunk)]
        for_library = ["" if NOT_UTF8.match(part) else part for part in parts]
        ids: list[int] = []
        encodings = self.engine.encode_batch_fast(for_library, add_special_tokens=False)
        for part, encoding in zip(parts, encodings, strict=True):
            ids += encoding.ids or [self._byte_tokens[byte] for byte in bytes_from_text(part)]
        return np.array(ids, self.dtype)

    def _text_of(self, ids: IntArray) -> str:
        return b"".join(self._bytes[token] for token in ids.tolist()).decode(errors="replace")

    @classmethod
    def build(cls, texts: Iterable[str], config: BpeSettings, separator: str | None) -> Self:
        """Return a tokenizer with as many tokens as configured, or fewer if no pair occurs twice.

        The same text gives the same tokens, for any number of cores that count its pairs.
        """
        from tokenizers import models, trainers

        engine = byte_level(models.BPE())
        trainer = trainers.BpeTrainer(
            vocab_size=config.vocabulary_size,
            min_frequency=MIN_COUNT,
            initial_alphabet=list(BYTE_OF),
            show_progress=False,
        )
        apart = re.compile(f"[\udc80-\udcff{re.escape(separator or '')}]+")
        engine.train_from_iterator((part for text in texts for part in apart.split(text)), trainer)
        model = json.loads(engine.to_str())["model"]
        vocabulary = sorted(model["vocab"], key=model["vocab"].__getitem__)
        return cls(vocabulary, [" ".join(pair) for pair in model["merges"]])

    def _checked_eos(self, eos: int) -> str:
        """Return the text of eos; InputError if the library could not find it in a text."""
        token, data = self.vocabulary[eos], self._bytes[eos]
        text = data.decode("utf-8", errors="replace")
        merged = {part for left, right in self._pairs for part in (left, right, left + right)}
        if (
            text.encode() != data
            or re.search(r"\S[ \n]", text)  # a text may be cut between the two
            or token in merged
            or (text != token and text in self.vocabulary)
        ):
            raise InputError(
                f"eos of a bpe tokenizer cannot be {reprlib.repr(token)}: it must be whole "
                "characters, without a space after a word, and no part of another token"
            )
        return text

    @cached_property
    def engine(self) -> Any:
        """The tokenizer of the library that gives the same tokens, but only accepts UTF-8."""
        from tokenizers import AddedToken, models

        token_of = {token: index for index, token in enumerate(self.vocabulary)}
        text = self._eos_text
        if self.eos is not None:  # the library searches for it as it is written in a text
            token_of[str(text)] = token_of.pop(self.vocabulary[self.eos])
        engine = byte_level(models.BPE(vocab=token_of, merges=self._pairs))
        if text is not None:
            engine.add_special_tokens([AddedToken(text, normalized=False, special=True)])
        return engine


def byte_level(model: Any) -> Any:
    """Return the library's tokenizer around `model` that splits text before it as GPT-2 does."""
    # Here and not above, as only BPE needs the library.
    from tokenizers import Tokenizer, decoders, pre_tokenizers

    engine = Tokenizer(model)
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    engine.decoder = decoders.ByteLevel()
    return engine


def _checked_pairs(vocabulary: Sequence[str], merges: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of the merges; InputError unless all are those of a byte-level BPE."""
    known = set(vocabulary)
    if len(known) < len(vocabulary) or "" in known or not BYTE_OF.keys() <= known:
        raise InputError("a bpe tokenizer needs its tokens each once, and every byte among them")
    if unknown := set("".join(vocabulary)) - BYTE_OF.keys():
        raise InputError(f"a bpe tokenizer has no byte for {named(min(unknown))}")
    pairs = []
    for merge in merges:
        left, _, right = merge.partition(" ")
        if not {left, right, left + right} <= known:
            raise InputError(
                f"a bpe tokenizer cannot merge {reprlib.repr(merge)}: both tokens and their "
                "concatenation must be in its vocabulary"
            )
        pairs.append((left, right))
    return pairs
