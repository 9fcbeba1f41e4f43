"""Texts that grow token by token: what is final, where they end, and why."""

from typing import Any

from lmladder.data import ByteTokenizer
from lmladder.data.tokenizers.contract import Tokenizer
from lmladder.sampling import Continuation, Strategy, complete
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.errors import InputError
from lmladder.system.streams import stream
from tests.models.examples import Fake

import numpy as np
import pytest

BYTES = ByteTokenizer()
PIECES = ("a", "b", "ab", ".", "\n", "é", "<end>")


class PieceTokenizer(Tokenizer):
    """One token per piece of text, the last of which ends a document."""

    name = "pieces"

    def __init__(self) -> None:
        super().__init__([1] * len(PIECES), len(PIECES) - 1)

    def encode(self, text: str) -> IntArray:
        raise NotImplementedError

    def _text_of(self, ids: IntArray) -> str:
        return "".join(PIECES[i] for i in ids)


def recite(
    tokens: Any, tokenizer: Tokenizer, prompt: Any, **options: Any
) -> tuple[str, int, str | None]:
    """Return text, number of tokens and finish reason of at most these tokens."""
    left = list(tokens)

    def logs(_: IntArray) -> FloatArray:
        return np.where(np.arange(tokenizer.vocabulary_size) == left.pop(0), -0.5, -9.0)[None]

    model = Fake(tokenizer.vocabulary_size, logs=logs)
    (made,) = complete(
        model, tokenizer, prompt, tokens=len(left), strategy=Strategy(temperature=0), **options
    )
    assert made.tokens == list(tokens)[: len(made.tokens)]
    assert made.log_probability == pytest.approx(-0.5 * len(made.tokens))
    return made.text, len(made.tokens), made.finish_reason


# --- Ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "stop", "expected"),
    [
        ([0, 2], ["b", "aa"], ("", 2, "stop")),  # of two that one token completes, the earlier
        ([3, 2], ["b", ".ab"], ("", 2, "stop")),
        ([2, 2], ["ba"], ("a", 2, "stop")),  # across two tokens
        ([3, 2, 0, 1], ["b"], (".a", 2, "stop")),  # within one
        ([1, 0], ["ab"], ("ba", 2, "length")),  # not across the end of the prompt
        ([0, 1, 6, 0], [], ("ab", 3, "eos")),  # the end of the document
    ],
)
def test_ends_are_found_at_any_position_relative_to_tokens(
    tokens: list[int], stop: list[str], expected: tuple[str, int, str]
) -> None:
    assert recite(tokens, PieceTokenizer(), [0], stop=stop) == expected


@pytest.mark.parametrize("stop", ["é", "aé", "éa", "\u20ac"])
def test_a_stop_text_of_several_bytes_is_found(stop: str) -> None:
    text = "xaéay\u20acz"
    before = text[: text.index(stop)]
    expected = before, len((before + stop).encode()), "stop"
    assert recite(BYTES.encode(text), BYTES, [97], stop=[stop]) == expected
    with pytest.raises(InputError, match="a stop text is empty"):
        Continuation(BYTES, [1], [stop, ""])


# --- Pieces of text -------------------------------------------------------------------------------

UTF8 = "a\u00e9\u20ac\U0001f600b\ufffdc"


def shown(tokens: Any, prompt: Any, **options: Any) -> list[str]:
    """Return what is shown of a text by bytes, piece by piece."""
    pieces: list[str] = []
    text, *_ = recite(tokens, BYTES, prompt, show=pieces.append, **options)
    assert "".join(pieces) == text
    return [piece for piece in pieces if piece]


def test_a_character_is_shown_when_it_is_complete() -> None:
    """U+FFFD itself is shown one token late: it might be half of another."""
    tokens = BYTES.encode(UTF8)
    assert shown(tokens, [97]) == ["a", "\u00e9", "\u20ac", "\U0001f600", "b", "\ufffdc"]


def test_a_possible_beginning_of_a_stop_text_is_held_back() -> None:
    tokens = BYTES.encode("ab<en<end>")
    assert shown(tokens[:-1], [97], stop=["<end>"]) == ["a", "b", "<en", "<end"]
    assert shown(tokens, [97], stop=["<end>"]) == ["a", "b", "<en"]
    for seed in range(10):
        drawn = stream(seed, "letters").choice([97, 98, 46], size=40)
        for stop in ([], ["aab"], ["ab.", "b.b"], ["abababab"]):
            text = "".join(shown(drawn, [97], stop=stop))
            assert not any(each in text for each in stop)


def grown(tokens: list[int], cut: int) -> Continuation:
    """A prompt of the tokens before the cut, and the others added one by one."""
    made = Continuation(BYTES, tokens[:cut])
    for token in tokens[cut:]:
        made.add(token, 0.0)
        assert made.finish_reason is None
        assert len(made._pending) <= 3
    made.finish("length")
    return made


def test_bytes_that_are_no_characters_are_shown_as_a_decoder_of_them_all_does() -> None:
    for seed in range(20):
        drawn = stream(seed, "bytes").choice([0xE2, 0x82, 0xAC, 0xF0, 0x9F, 0x98, 0xFF, 97], 60)
        for cut in (1, 2, 3, 20):
            made = grown(drawn.tolist(), cut)
            assert made.prompt + made.text == BYTES.decode(drawn.tolist())
