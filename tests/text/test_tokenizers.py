import json

from lmladder.errors import InputError
from lmladder.text import (
    TOKENIZERS,
    ByteTokenizer,
    CharTokenizer,
    build_tokenizer,
    bytes_from_text,
    text_from_bytes,
    token_dtype,
    tokenizer_from_json,
)

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

same_examples = settings(derandomize=True, deadline=None)
characters = st.characters(exclude_categories=["Cs"])


@same_examples
@given(text=st.text(characters, min_size=1), name=st.sampled_from(sorted(TOKENIZERS)))
def test_decode_undoes_encode(text, name):
    tokenizer = build_tokenizer(name, [text])
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert tokens.ndim == 1
    assert tokens.dtype == token_dtype(tokenizer.vocabulary_size)


@same_examples
@given(data=st.binary())
def test_the_byte_tokenizer_takes_any_bytes_as_they_are(data):
    assert ByteTokenizer().encode(text_from_bytes(data)).tobytes() == data


@same_examples
@given(data=st.data(), name=st.sampled_from(sorted(TOKENIZERS)))
def test_any_ids_in_range_can_be_decoded(data, name):
    tokenizer = build_tokenizer(name, ["a cat, \u732b, \U0001f408"])
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocabulary_size - 1)))
    assert isinstance(tokenizer.decode(ids), str)
    assert tokenizer.decode(ids) == tokenizer.decode(np.array(ids, dtype=np.int64))


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@pytest.mark.parametrize("wrong", [-1, 256, 10**6])
def test_ids_out_of_range_are_a_mistake_of_the_caller(name, wrong):
    with pytest.raises(ValueError, match="token ids must be in"):
        build_tokenizer(name, ["abc"]).decode([0, wrong])


def test_half_a_character_is_decoded_as_a_replacement():
    assert ByteTokenizer().decode(list("\u00e9".encode()[:1])) == "\ufffd"


def test_characters_are_numbered_in_the_order_of_their_code_points():
    tokenizer = build_tokenizer("char", ["b\U0001f408a", "\u00e9b"])
    assert tokenizer.encode("ab\u00e9\U0001f408").tolist() == [0, 1, 2, 3]
    assert tokenizer.vocabulary_size == 4


@pytest.mark.parametrize(
    ("vocabulary_size", "dtype"),
    [(1, "u1"), (256, "u1"), (257, "u2"), (65536, "u2"), (65537, "u4")],
)
def test_tokens_take_the_smallest_dtype(vocabulary_size, dtype):
    tokenizer = CharTokenizer("".join(map(chr, range(0x10000, 0x10000 + vocabulary_size))))
    assert tokenizer.vocabulary_size == vocabulary_size
    tokens = tokenizer.encode(tokenizer.characters)
    assert tokens.dtype == dtype
    assert tokens[-1] == vocabulary_size - 1


@pytest.mark.parametrize(
    ("character", "named"),
    [
        ("c", "'c' (U+0063)"),
        ("\u732b", "'\u732b' (U+732B)"),
        ("\n", r"'\n' (U+000A)"),
        ("\udcff", "byte 0xff (not UTF-8)"),
        ("\ud800", r"'\ud800' (U+D800)"),
    ],
)
def test_an_unknown_character_is_named_with_its_place(character, named):
    with pytest.raises(InputError) as error:
        CharTokenizer("abd").encode("abba" + character)
    assert str(error.value) == (
        f"unknown character {named} at offset 4: this char tokenizer knows 3 others"
    )


def test_the_char_tokenizer_refuses_bytes_that_are_not_utf8_with_their_place():
    pieces = ["\u00e9t\u00e9", text_from_bytes("\u00e9".encode() + b"\xff")]
    with pytest.raises(InputError) as error:
        build_tokenizer("char", pieces, source="mine.txt")
    assert str(error.value) == (
        "mine.txt: byte 0xff (not UTF-8) at byte offset 7; "
        "the char tokenizer reads UTF-8 only, the byte tokenizer reads anything"
    )


def test_a_surrogate_that_is_no_byte_is_refused():
    with pytest.raises(InputError, match=r"U\+D800\) at offset 1 cannot be written as UTF-8"):
        bytes_from_text("a\ud800")


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
def test_a_tokenizer_survives_json(name):
    text = 'a "cat"\n\x00\u2028\U0001f408'
    tokenizer = build_tokenizer(name, [text])
    again = tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json())))
    assert again.to_json() == tokenizer.to_json()
    assert (again.name, again.vocabulary_size) == (name, tokenizer.vocabulary_size)
    np.testing.assert_array_equal(again.encode(text), tokenizer.encode(text))


def test_every_tokenizer_is_listed_under_its_own_name():
    assert all(name == kind.name for name, kind in TOKENIZERS.items())


@pytest.mark.parametrize(
    "fields",
    [
        None,
        [],
        "char",
        {},
        {"name": "bpe"},
        {"name": []},
        {"name": "x\n" * 10_000},
        {"name": "byte", "extra": 1},
        {"name": "char"},
        {"name": "char", "characters": ""},
        {"name": "char", "characters": ["a"]},
        {"name": "char", "characters": "ba"},
        {"name": "char", "characters": "aa"},
        {"name": "char", "characters": "a\ud800"},
        {"name": "char", "characters": "ab", 3: 1},
    ],
)
def test_a_description_of_no_tokenizer_is_refused_in_one_line(fields):
    with pytest.raises(InputError) as error:
        tokenizer_from_json(fields)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_an_unknown_tokenizer_is_refused_with_the_choices():
    with pytest.raises(
        InputError, match=r"unknown tokenizer 'word'; choose from \['byte', 'char'\]"
    ):
        build_tokenizer("word", ["abc"])
