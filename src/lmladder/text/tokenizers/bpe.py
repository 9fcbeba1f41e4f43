"""Byte-level byte-pair encoding, as in GPT-2 (Radford et al. 2019; Sennrich et al. 2016).

Training and encoding are done by the `tokenizers` library; what is kept is our own: the vocabulary
and the merges, from which the same tokenizer is made again. Tokens are written in GPT-2's alphabet,
which has a visible character for each byte, so that a space is \u0120 and a newline \u010a.
"""

import json
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import zip_longest
from typing import Any

from lmladder.arrays import IntArray
from lmladder.config import TokenizerConfig
from lmladder.errors import InputError
from lmladder.text.tokenizers.contract import (
    bytes_from_text,
    ids_in_range,
    last_word_end,
    named,
    recut,
    require_boundary,
    require_keys,
    text_from_bytes,
    token_dtype,
    with_boundary,
)

import numpy as np

BLOCK_CHARACTERS = 1 << 14  # of a long text, encoded by one core at a time
LEAST_COUNT = 2  # of a pair that training merges


def _byte_alphabet() -> dict[str, int]:
    """The byte of each character: itself where it is visible, else the next free from U+0100."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    return {
        **{chr(byte): byte for byte in visible},
        **{chr(0x100 + number): byte for number, byte in enumerate(others)},
    }


BYTE_OF = _byte_alphabet()


class BpeTokenizer:
    """Tokens that are runs of bytes: any text has some, and frequent ones are words.

    Parameters
    ----------
    vocabulary : the n-th is token n, in GPT-2's alphabet; every single byte is one of them
    merges : pairs of tokens whose concatenation is a token too, the first to be merged first
    boundary : the token that closes a document; its text is this token wherever it stands
    """

    name = "bpe"

    def __init__(
        self,
        vocabulary: Sequence[str],
        merges: Sequence[tuple[str, str]],
        boundary: int | None = None,
    ) -> None:
        _require_whole(vocabulary, merges)
        require_boundary(boundary, len(vocabulary))
        self.vocabulary = tuple(vocabulary)
        self.merges = tuple(merges)
        self.vocabulary_size = len(vocabulary)
        self.boundary = boundary
        self._text_of = [bytes(BYTE_OF[letter] for letter in token) for token in vocabulary]
        self._bytes_of = np.array([len(data) for data in self._text_of])
        self._number_of = {token: number for number, token in enumerate(vocabulary)}
        self._token_apart = {
            text_from_bytes(bytes([byte])): self._number_of[letter]
            for letter, byte in BYTE_OF.items()
            if byte >= 0x80
        }
        if boundary is None:
            self._apart = _apart(None)
        else:
            text = self._text_of_boundary(boundary)
            self._token_apart[text] = boundary
            self._apart = _apart(text)

    def encode(self, text: str) -> IntArray:
        bytes_from_text(text)  # or an InputError
        parts = self._apart.split(text)  # every second one has a token of its own
        blocks: list[str] = []
        closing: list[list[int]] = []  # the token, if any, that follows each block
        for part, token in zip_longest(parts[::2], parts[1::2]):
            cut = _blocks(part)
            blocks += cut
            closing += [[]] * (len(cut) - 1)
            closing.append([] if token is None else [self._token_apart[token]])
        ids: list[int] = []
        encodings = self._engine.encode_batch_fast(blocks, add_special_tokens=False)
        for encoding, token_after in zip(encodings, closing, strict=True):
            ids += encoding.ids + token_after
        return np.array(ids, token_dtype(self.vocabulary_size))

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        """Text of `ids`; bytes that are not UTF-8, such as half a character, become U+FFFD."""
        tokens = ids_in_range(ids, self.vocabulary_size).tolist()
        return b"".join(map(self._text_of.__getitem__, tokens)).decode("utf-8", errors="replace")

    def n_bytes(self, ids: IntArray) -> int:
        return int(self._bytes_of[ids].sum())

    @staticmethod
    def last_cut(text: str) -> int:
        return last_word_end(text)

    def to_json(self) -> dict[str, Any]:
        fields = {
            "name": self.name,
            "vocabulary": list(self.vocabulary),
            "merges": [" ".join(pair) for pair in self.merges],
        }
        return with_boundary(fields, self.boundary)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "BpeTokenizer":
        require_keys(fields, cls.name, {"vocabulary", "merges"})
        for key in ("vocabulary", "merges"):
            values = fields[key]
            if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
                raise InputError(f"the {key} of a bpe tokenizer must be a list of strings")
        merges = []
        for merge in fields["merges"]:
            left, _, right = merge.partition(" ")
            merges.append((left, right))
        return cls(fields["vocabulary"], merges, fields.get("boundary"))

    @classmethod
    def build(
        cls, pieces: Iterable[str], config: TokenizerConfig, *, boundary: str | None, source: str
    ) -> "BpeTokenizer":
        """As many tokens as configured, or fewer if no pair of tokens is left that occurs twice.

        The same text gives the same tokens, however many cores count its pairs.
        """
        size = config.vocabulary_size
        if size is None or size < len(BYTE_OF):
            raise InputError(
                f"tokenizer.vocabulary_size must be at least {len(BYTE_OF)} for bpe, "
                f"as many as there are bytes, not {size}"
            )
        apart = _apart(boundary)
        texts = (part for piece in pieces for part in apart.split(piece)[::2])
        vocabulary, merges = _train(texts, size)
        newline = None if boundary is None else vocabulary.index(_in_alphabet(boundary))
        return cls(vocabulary, merges, newline)

    def _text_of_boundary(self, boundary: int) -> str:
        try:
            text = self._text_of[boundary].decode("utf-8")
        except UnicodeDecodeError:
            raise InputError("the boundary of a bpe tokenizer must be whole characters") from None
        if re.search(r"\S[ \n]", text):  # where a text may be cut
            raise InputError("the boundary of a bpe tokenizer cannot be words with a space between")
        return text

    @cached_property
    def _engine(self) -> Any:
        from tokenizers import models

        return _byte_level(models.BPE(vocab=self._number_of, merges=list(self.merges)))


def _apart(boundary: str | None) -> re.Pattern[str]:
    """For `split`, which then gives what the library is not to see, each between other text."""
    boundaries = [] if boundary is None else [re.escape(boundary)]
    return re.compile("|".join([*boundaries, "[\udc80-\udcff]"]).join("()"))


def _blocks(text: str) -> list[str]:
    if len(text) <= BLOCK_CHARACTERS:
        return [text]
    starts = range(0, len(text), BLOCK_CHARACTERS)
    return [*recut((text[i : i + BLOCK_CHARACTERS] for i in starts), last_word_end)]


def _byte_level(model: Any) -> Any:
    """The library's tokenizer around `model`, which splits text before it as GPT-2 does."""
    # Here and not above, as only those who use BPE need the library.
    from tokenizers import Tokenizer, pre_tokenizers

    engine = Tokenizer(model)
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return engine


def _train(texts: Iterable[str], size: int) -> tuple[list[str], list[tuple[str, str]]]:
    from tokenizers import models, trainers

    engine = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=LEAST_COUNT,
        initial_alphabet=list(BYTE_OF),
        show_progress=False,
    )
    engine.train_from_iterator(texts, trainer)
    model = json.loads(engine.to_str())["model"]
    vocabulary = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return vocabulary, [(left, right) for left, right in model["merges"]]


def _require_whole(vocabulary: Sequence[str], merges: Sequence[tuple[str, str]]) -> None:
    """InputError unless vocabulary and merges are those of a byte-level BPE."""
    known = set(vocabulary)
    if len(known) < len(vocabulary) or "" in known or not BYTE_OF.keys() <= known:
        raise InputError("a bpe tokenizer needs its tokens each once, and every byte among them")
    if strange := set("".join(vocabulary)) - BYTE_OF.keys():
        raise InputError(f"a bpe tokenizer has no byte for {named(min(strange))}")
    for left, right in merges:
        if not {left, right, left + right} <= known:
            raise InputError(
                f"a bpe tokenizer cannot merge {reprlib.repr(left)} and {reprlib.repr(right)}: "
                "these and what they make must be tokens"
            )


def _in_alphabet(character: str) -> str:
    """An ASCII character as GPT-2's alphabet writes it."""
    return next(letter for letter, byte in BYTE_OF.items() if byte == ord(character))
