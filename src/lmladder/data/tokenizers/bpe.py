"""Byte-level byte-pair encoding, as in GPT-2 (Radford et al. 2019; Sennrich et al. 2016).

The `tokenizers` library trains and encodes; vocabulary and merges are stored, from which it makes
the same tokenizer again. Tokens are written in GPT-2's alphabet, which has a visible character for
each byte, so that a space is \u0120 and a newline \u010a.
"""

import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Literal, Self

from lmladder.data.reading import ESCAPED, bytes_from_text
from lmladder.data.tokenizers.byte import N_BYTES
from lmladder.data.tokenizers.contract import MAX_VOCABULARY, NAME, Tokenizer, TokenizerSettings
from lmladder.system.arrays import IntArray
from lmladder.system.extras import require

import numpy as np
from pydantic import Field

MIN_COUNT = 2  # of a pair that training merges

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
    fields = ("vocabulary", "merges")

    def __init__(
        self, vocabulary: Sequence[str], merges: Sequence[str], eos: int | None = None
    ) -> None:
        self._bytes = [bytes(BYTE_OF[letter] for letter in token) for token in vocabulary]
        super().__init__([len(data) for data in self._bytes], eos)
        self.vocabulary = [*vocabulary]
        self.merges = [*merges]
        self._byte_tokens = [vocabulary.index(LETTER_OF[byte]) for byte in range(N_BYTES)]

    def encode(self, text: str) -> IntArray:
        parts = re.split(f"({ESCAPED.pattern}+)", text)  # the library accepts UTF-8 only
        valid = ["" if ESCAPED.match(part) else part for part in parts]
        ids: list[int] = []
        encodings = self.engine.encode_batch_fast(valid, add_special_tokens=False)
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
        require("tokenizer=bpe", "tokenizers")
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

    @cached_property
    def engine(self) -> Any:
        """The tokenizer of the library that gives the same tokens, but only accepts UTF-8."""
        require("tokenizer=bpe", "tokenizers")
        from tokenizers import AddedToken, models

        token_of = {token: index for index, token in enumerate(self.vocabulary)}
        special = []
        if self.eos is not None:  # the library searches for it as it is written in a text
            text = self._bytes[self.eos].decode()
            token_of[text] = token_of.pop(self.vocabulary[self.eos])
            special.append(AddedToken(text, normalized=False, special=True))
        pairs: Any = [tuple(pair.split(" ")) for pair in self.merges]
        engine = byte_level(models.BPE(vocab=token_of, merges=pairs))
        engine.add_special_tokens(special)
        return engine


def byte_level(model: Any) -> Any:
    """Return the library's tokenizer around `model` that splits text before it as GPT-2 does."""
    # Here and not above, as only BPE needs the library.
    from tokenizers import Tokenizer, decoders, pre_tokenizers

    engine = Tokenizer(model)
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    engine.decoder = decoders.ByteLevel()
    return engine
