"""Tokenizers: properties of all kinds, what is specific to each, and what is rejected."""

import json
from itertools import pairwise

from lmladder.data import (
    CharTokenizer,
    WhitespaceTokenizer,
    WordTokenizer,
    build_tokenizer,
    reading,
    text_from_bytes,
    tokenizer_from_json,
)
from lmladder.data.reading import CHUNK_CHARACTERS, chunks
from lmladder.data.tokenizers import must_know_whole_text, tokenizer_from_checkpoint
from lmladder.data.tokenizers.bpe import BYTE_OF
from lmladder.system.errors import InputError
from tests.data.examples import CHOICES, tokenizer_settings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

same_examples = settings(derandomize=True, deadline=None, max_examples=40)
NAMES = list(CHOICES)
# Words, and every kind of text that may be between them.
PARTS = [
    "cat", "Cat", "don't", "na\u00efve", "x_1", "\u732b", "a", " ", "  ", "\n", "\r\n", "\t",
    "\u00a0", "\u2003", "\x1c", "\x85", "'", "\u2019", "''s", "-", "\u2014", "\u201c", "...",
    "\U0001f408", "\u0301", "\x1e",
]  # fmt: skip
texts = st.lists(st.sampled_from(PARTS)).map("".join)
any_texts = texts | st.text(st.characters(exclude_categories=["Cs"]))


def build(name, *pieces, separator=None, source="the text", **changes):
    return build_tokenizer(
        tokenizer_settings(name, **changes), [pieces], separator=separator, source=source
    )


# --- All kinds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [CHUNK_CHARACTERS, 4])
@pytest.mark.parametrize("name", NAMES)
@same_examples
@given(parts=st.lists(any_texts), separator=st.sampled_from([None, "\n", "\x1e"]))
def test_tokens_restore_the_text_whatever_its_pieces_and_json_restores_the_tokenizer(
    name, size, parts, separator
):
    """Also where a text is cut within words, as it has no better place."""
    parts = [*parts, " a\n\x1e"]
    text = "".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CHUNK_CHARACTERS", size)
        tokenizer = build(name, *parts, separator=separator)
        pieces = [tokenizer.encode(piece) for piece in chunks(parts)]
        whole = np.concatenate(pieces)
        assert build(name, text, separator=separator).to_json() == tokenizer.to_json()
        again = tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json())))
        assert [again.encode(piece).tolist() for piece in chunks([text])] == [
            each.tolist() for each in pieces
        ]
    assert (again.name, again.to_json()) == (name, tokenizer.to_json())
    assert tokenizer.decode(whole) == text
    assert (whole.ndim, whole.dtype) == (1, tokenizer.dtype)
    assert sum(map(tokenizer.n_bytes, pieces)) == tokenizer.n_bytes(whole) == len(text.encode())
    if separator is None:
        assert again.eos is None
    else:  # eos ends every document and occurs nowhere else
        documents = np.split(whole, np.flatnonzero(whole == tokenizer.eos) + 1)
        assert "".join(map(tokenizer.decode, documents)) == text
        found = [tokenizer.decode(each).removesuffix(separator) for each in documents]
        assert found == text.split(separator)


@pytest.mark.parametrize("name", ["byte", "word", "bpe"])
@same_examples
@given(data=st.lists(st.sampled_from([b"\xff", b"\xc3", b"\xf0\x9f", "\u00e9a ".encode(), b"\n"])))
def test_bytes_that_are_not_utf8_are_tokens(name, data):
    data = b"".join(data)
    text = text_from_bytes(data)
    tokenizer = build(name, text, " \u00e9a")
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == data.decode(errors="replace")
    assert tokenizer.n_bytes(tokens) == len(data)
    assert name != "byte" or tokens.tobytes() == data


# --- Each kind ------------------------------------------------------------------------------------


def test_characters_are_tokens_in_the_order_of_their_code_points():
    tokenizer = build("char", "b\U0001f408a", "\u00e9b")
    assert tokenizer.encode("ab\u00e9\U0001f408").tolist() == [0, 1, 2, 3]
    for size, dtype in {1: "u1", 256: "u1", 257: "u2", 65536: "u2", 65537: "u4"}.items():
        tokenizer = CharTokenizer("".join(map(chr, range(0x10000, 0x10000 + size))))
        tokens = tokenizer.encode(tokenizer.characters)
        assert (tokens.dtype, tokens[-1]) == (dtype, size - 1)


def test_a_word_is_one_token_with_its_space_and_other_text_is_encoded_in_bytes():
    tokenizer = WordTokenizer(["cat", "don't", "a"], "error")
    cat, dont, a = 257, 258, 259
    glue, space, comma, newline = 256, 32, 44, 10
    dash = list("\u2014".encode())
    expected = [glue, a, cat, comma, dont, space, cat, *dash, glue, a, newline]
    assert tokenizer.encode("a cat, don't  cat\u2014a\n").tolist() == expected
    for ids in ([256], [256, 256, 258, 256], [256, 32, 258], [256, 195]):
        shown = [tokenizer.decode(ids[:end]) for end in range(len(ids) + 1)]
        assert all(text.startswith(before) for before, text in pairwise(shown))


def test_the_most_frequent_words_are_in_the_vocabulary():
    text = "b a b c a b d a b a"
    assert build("word", text).words == build("word", text, vocabulary_size=261).words
    assert build("word", text).words == ["a", "b", "c", "d"]
    tokenizer = build("word", text, vocabulary_size=260, unknown="unk")
    assert tokenizer.words == ["a", "b"]
    tokens = tokenizer.encode("dogs: a dog")
    assert tokenizer.decode(tokens) == "<unk>: a <unk>"
    assert tokenizer.n_bytes(tokens) == len(": a ")


def test_words_between_white_space_are_tokens():
    tokenizer = WhitespaceTokenizer(["the", "cat", "END"], eos=2)
    tokens = tokenizer.encode(" the\u00a0cat\n\tEND ")
    assert (tokens.tolist(), tokens.dtype) == ([0, 1, 2], np.uint8)
    assert tokenizer.decode(tokens) == "the cat END"
    assert tokenizer.n_bytes(tokens) == len("the cat END ")
    assert tokenizer.encode("").tolist() == []
    assert tokenizer_from_json(tokenizer.to_json()).to_json() == tokenizer.to_json()


# --- Text and settings that are rejected ----------------------------------------------------------


@pytest.mark.parametrize(
    ("tokenizer", "text", "message"),
    [
        (CharTokenizer("abd"), "abbac", "character 'c' (U+0063) at offset 4: this char tokenizer"),
        (WordTokenizer(["a", "cat"], "error"), "a cat, a dog", "word 'dog' at offset 9: "),
        (WhitespaceTokenizer(["a"]), "a dog", "word 'dog': this whitespace tokenizer has 1 other"),
    ],
)
def test_unknown_text_is_rejected_with_its_position(tokenizer, text, message):
    with pytest.raises(InputError) as error:
        tokenizer.encode(text)
    assert str(error.value).startswith(f"unknown {message}")


@pytest.mark.parametrize(
    ("name", "changes", "text", "message"),
    [
        ("word", {}, "... !", "mine.txt: the text has no words; the byte tokenizer"),
        ("bpe", {"vocabulary_size": 255}, "a", "tokenizer.vocabulary_size must be at least 256"),
        ("char", {}, "cat\udcff", "mine.txt: byte 0xff (not UTF-8); the char tok"),
    ],
    ids=ascii,
)
def test_a_text_or_settings_that_do_not_suit_a_tokenizer_are_rejected(name, changes, text, message):
    with pytest.raises(InputError) as error:
        build(name, text, source="mine.txt", **changes)
    assert str(error.value).startswith(message)


# --- Descriptions that are rejected ---------------------------------------------------------------


BYTES = [*BYTE_OF]
WRONG = [
    *(None, {}, {"name": "gpt"}, {"name": []}, {"name": "x\n" * 10_000}),
    *({"name": "byte", "extra": 1}, {"name": "char"}),
    *({"name": "char", "characters": each} for each in ("", ["a"], "a\ud800")),
    *({"name": "word", "words": words, "unknown": "error"} for words in ([1], ["\ud800"])),
    *({"name": "bpe", "vocabulary": each, "merges": []} for each in (BYTES[1:], [*BYTES, "\n"])),
]


def test_what_does_not_describe_a_tokenizer_is_rejected_in_one_short_line():
    for fields in WRONG:
        with pytest.raises(InputError) as error:
            tokenizer_from_json(fields)
        assert len(str(error.value)) < 200, fields


def with_header(path, fields):
    """Write a file with these fields in its header, as in a checkpoint."""
    save_file({"a": np.ones(1)}, path, {"lmladder": json.dumps(fields)})
    return path


def test_the_tokenizer_of_a_checkpoint_is_used_as_it_is(tmp_path):
    ours = build("bpe", "the cat the cat", separator="\n")
    path = with_header(tmp_path / "checkpoint.safetensors", {"tokenizer": ours.to_json()})
    settings = tokenizer_settings("checkpoint", path=str(path))
    assert not must_know_whole_text(settings)
    built = build_tokenizer(settings, [["another text"]], separator="\x1e")
    assert built.to_json() == ours.to_json()


def test_a_file_without_a_tokenizer_is_rejected(tmp_path):
    for fields in ([], {}, {"tokenizer": {"name": "nope"}}):
        with pytest.raises(InputError):
            tokenizer_from_checkpoint(with_header(tmp_path / "other.safetensors", fields))
