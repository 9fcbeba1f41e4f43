"""Texts that grow token by token: what is certain, where they end, and why."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lmladder.arrays import FloatArray, IntArray
from lmladder.errors import InputError
from lmladder.models.decoding import Decoder
from lmladder.rng import stream
from lmladder.sampling import Strategy, Transcript, complete
from lmladder.text import ByteTokenizer, CharTokenizer, Tokenizer

import numpy as np
import pytest

BYTES = ByteTokenizer()
LETTERS = CharTokenizer(" .abcdefghijklmnopqrstuvwxyz")
PIECES = ("a", "b", "ab", ".", "\n", "é", "<end>")


class PieceTokenizer:
    """One token a piece of text, the last of which ends a document."""

    name = "pieces"
    vocabulary_size = len(PIECES)
    boundary = len(PIECES) - 1

    def encode(self, text: str) -> IntArray:
        return np.array([PIECES.index(text)])

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        return "".join(PIECES[i] for i in ids)

    def to_json(self) -> dict[str, Any]:
        raise NotImplementedError

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Tokenizer:
        raise NotImplementedError

    @classmethod
    def build(cls, documents: object, *, source: str = "") -> Tokenizer:
        raise NotImplementedError


class WordTokenizer(PieceTokenizer):
    """One token a word; spaces stand between them."""

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        return " ".join(PIECES[i] for i in ids)


class Recites:
    """A model that is all but sure of one text, whatever the prompt."""

    context_length = 1
    max_length = None
    n_parameters = 0

    def __init__(self, tokens: Sequence[int], vocabulary_size: int) -> None:
        self.vocabulary_size = vocabulary_size
        self.tokens = list(tokens)
        self.read = 0

    def nats(self, tokens: IntArray) -> FloatArray:
        raise NotImplementedError

    def next_log_probabilities(self, tokens: IntArray) -> FloatArray:
        logs = np.full((len(tokens), self.vocabulary_size), -9.0)
        logs[:, self.tokens[self.read]] = -0.5
        self.read += 1
        return logs

    def decoder(self) -> Decoder:
        return Decoder(self)


def recite(
    tokens: Sequence[int],
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    *,
    stop: Sequence[str] = (),
    show: Callable[[str], object] = lambda _: None,
) -> tuple[str, int, str | None]:
    """Text, number of tokens and finish reason of a continuation by these tokens at most."""
    model = Recites(tokens, tokenizer.vocabulary_size)
    (made,) = complete(
        model, tokenizer, prompt, tokens=len(tokens), strategy=Strategy(0), stop=stop, show=show
    )
    assert made.tokens == list(tokens)[: len(made.tokens)]
    assert made.log_probability == pytest.approx(-0.5 * len(made.tokens))
    return made.text, len(made.tokens), made.finish_reason


# --- Stop texts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        ((), ("one two. three", 14, "length")),
        ((".",), ("one two", 8, "stop")),
        (("two",), ("one ", 7, "stop")),
        (("three", "two", "zebra"), ("one ", 7, "stop")),
        (("wo", "two", "one two."), ("one ", 7, "stop")),
        (("o",), ("", 1, "stop")),
        (("e",), ("on", 3, "stop")),
        (("three",), ("one two. ", 14, "stop")),
        (("threes", "xx"), ("one two. three", 14, "length")),
    ],
    ids=str,
)
def test_a_text_ends_before_the_first_occurrence_of_a_stop_text(
    stop: tuple[str, ...], expected: tuple[str, int, str]
) -> None:
    assert recite(LETTERS.encode("one two. three"), LETTERS, [0], stop=stop) == expected


def test_of_two_stop_texts_that_one_token_completes_the_earlier_counts() -> None:
    assert recite([0, 2], PieceTokenizer(), [0], stop=["b", "aa"]) == ("", 2, "stop")
    assert recite([3, 2], PieceTokenizer(), [0], stop=["b", ".ab"]) == ("", 2, "stop")


@pytest.mark.parametrize(
    ("tokens", "stop", "expected"),
    [
        ([2, 2], "ba", ("a", 2, "stop")),  # across the border of two tokens
        ([2], "a", ("", 1, "stop")),  # within one
        ([3, 2, 0, 1], "b", (".a", 2, "stop")),
        ([4, 5, 4], "é\n", ("\n", 3, "stop")),
    ],
)
def test_stop_texts_are_seen_wherever_tokens_end(
    tokens: list[int], stop: str, expected: tuple[str, int, str]
) -> None:
    assert recite(tokens, PieceTokenizer(), [0], stop=[stop]) == expected


def test_stop_texts_are_not_looked_for_in_the_prompt() -> None:
    prompt = LETTERS.encode("a.b")
    assert recite(LETTERS.encode("c.d"), LETTERS, prompt, stop=["b", "bc", "."]) == ("c", 2, "stop")


@pytest.mark.parametrize("stop", ["é", "aé", "éa", "\u20ac"])
def test_a_stop_text_of_several_bytes_is_seen(stop: str) -> None:
    text = "xaéay\u20acz"
    tokens = BYTES.encode(text).tolist()
    before = text[: text.index(stop)]
    read = len((before + stop).encode())
    assert recite(tokens, BYTES, [97], stop=[stop]) == (before, read, "stop")


def test_an_empty_stop_text_is_refused() -> None:
    with pytest.raises(InputError, match="a stop text is empty"):
        Transcript(BYTES, [1], ["a", ""])


# --- Documents ------------------------------------------------------------------------------------


def test_a_text_ends_where_the_document_does() -> None:
    assert recite([0, 1, 6, 0], PieceTokenizer(), [0]) == ("ab", 3, "boundary")
    assert recite([6, 0], PieceTokenizer(), [6]) == ("", 1, "boundary")


def test_a_tokenizer_without_such_a_token_has_no_end() -> None:
    assert recite([0, 6, 0], LETTERS, [0]) == (LETTERS.decode([0, 6, 0]), 3, "length")


# --- Pieces of text -------------------------------------------------------------------------------

UTF8 = "a\u00e9\u20ac\U0001f600b\ufffdc"


def pieces(tokens: Sequence[int], prompt: Sequence[int], stop: Sequence[str] = ()) -> list[str]:
    """What is shown of a text by bytes, piece by piece."""
    shown: list[str] = []
    recite(tokens, BYTES, prompt, stop=stop, show=shown.append)
    return [piece for piece in shown if piece]


def test_a_character_is_shown_when_it_is_whole() -> None:
    """U+FFFD itself is shown one token late: it might be half of another."""
    tokens = BYTES.encode(UTF8).tolist()
    assert pieces(tokens, [97]) == ["a", "\u00e9", "\u20ac", "\U0001f600", "b", "\ufffdc"]


def test_a_character_that_the_prompt_begins_belongs_to_the_text() -> None:
    tokens = BYTES.encode(UTF8).tolist()
    for cut in range(1, len(tokens)):
        begun = Transcript(BYTES, tokens[:cut], ())
        for token in tokens[cut:]:
            assert begun.add(token) is None
        begun.close()
        assert begun.prompt + begun.text == UTF8
        assert "\ufffd" not in begun.prompt or cut > tokens.index(0xBF)


@pytest.mark.parametrize("seed", range(20))
def test_bytes_that_are_no_characters_are_shown_as_a_decoder_of_them_all_does(seed: int) -> None:
    drawn = stream(seed, "bytes").choice([0xE2, 0x82, 0xAC, 0xF0, 0x9F, 0x98, 0xFF, 97], size=60)
    tokens = drawn.tolist()
    for cut in (1, 2, 3, 20):
        transcript = Transcript(BYTES, tokens[:cut], ())
        for token in tokens[cut:]:
            transcript.add(token)
            assert len(transcript._pending) <= 3
        transcript.close()
        assert transcript.prompt + transcript.text == BYTES.decode(tokens)


def test_a_tokenizer_that_puts_something_between_tokens_keeps_it() -> None:
    tokenizer = WordTokenizer()
    assert recite([1, 0, 2], tokenizer, [0, 3])[0] == " b a ab"


def test_what_may_begin_a_stop_text_is_held_back_until_it_does_not() -> None:
    tokens = BYTES.encode("ab<en<end>").tolist()
    assert pieces(tokens[:-1], [97], ["<end>"]) == ["a", "b", "<en", "<end"]
    assert pieces(tokens, [97], ["<end>"]) == ["a", "b", "<en"]


def test_the_pieces_make_up_the_text() -> None:
    for seed in range(10):
        tokens = stream(seed, "letters").choice([97, 98, 46], size=40).tolist()
        for stop in ([], ["aab"], ["ab.", "b.b"], ["abababab"]):
            shown: list[str] = []
            text, *_ = recite(tokens, BYTES, [97], stop=stop, show=shown.append)
            assert "".join(shown) == text
            assert not any(each in text for each in stop)
