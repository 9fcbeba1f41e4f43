import json
import os
import subprocess
import sys

from lmladder.config import TokenizerConfig
from lmladder.errors import InputError
from lmladder.text import (
    TOKENIZERS,
    BpeTokenizer,
    ByteTokenizer,
    CharTokenizer,
    WordTokenizer,
    build_tokenizer,
    bytes_from_text,
    text_from_bytes,
    token_dtype,
    tokenizer_from_json,
)
from lmladder.text.tokenizers import encode_pieces, reads_any_text
from lmladder.text.tokenizers.bpe import BLOCK_CHARACTERS, BYTE_OF
from lmladder.text.tokenizers.contract import last_word_end, recut

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

same_examples = settings(derandomize=True, deadline=None)
characters = st.characters(exclude_categories=["Cs"])
CONFIGS = {
    "byte": TokenizerConfig("byte", None, None),
    "char": TokenizerConfig("char", None, None),
    "word": TokenizerConfig("word", None, "error"),
    "bpe": TokenizerConfig("bpe", 300, None),
}
# Words, and every kind of thing that may stand between them.
PARTS = [
    "cat", "Cat", "don't", "na\u00efve", "x_1", "\u732b", "a", " ", "  ", "\n", "\r\n", "\t",
    "\u00a0", "\u2003", "\x1c", "\x85", "'", "\u2019", "''s", "-", "\u2014", "\u201c", "...",
    "\U0001f408", "\u0301", "\x1e",
]  # fmt: skip
texts = st.lists(st.sampled_from(PARTS)).map("".join)


def build(name, *pieces, **changes):
    arguments = {"source": "the text", "boundary": None}
    return build_tokenizer(CONFIGS[name], [pieces], **arguments | changes)


@same_examples
@given(text=st.text(characters) | texts, name=st.sampled_from(sorted(TOKENIZERS)))
def test_decode_undoes_encode(text, name):
    tokenizer = build(name, text, " a")
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert tokenizer.n_bytes(tokens) == len(text.encode())
    assert tokens.ndim == 1
    assert tokens.dtype == token_dtype(tokenizer.vocabulary_size)


@same_examples
@given(data=st.binary())
def test_the_byte_tokenizer_takes_any_bytes_as_they_are(data):
    assert ByteTokenizer().encode(text_from_bytes(data)).tobytes() == data


@same_examples
@given(data=st.lists(st.sampled_from([b"\xff", b"\xc3", b"\xf0\x9f", "\u00e9a ".encode(), b"\n"])))
@pytest.mark.parametrize("name", ["word", "bpe"])
def test_bytes_that_are_not_utf8_have_tokens_of_their_own(name, data):
    data = b"".join(data)
    text = text_from_bytes(data)
    tokenizer = build(name, text, " \u00e9a")
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == data.decode(errors="replace")
    assert tokenizer.n_bytes(tokens) == len(data)


@same_examples
@given(
    parts=st.lists(texts),
    name=st.sampled_from(sorted(TOKENIZERS)),
    boundary=st.sampled_from([None, "\n", "\x1e"]),
)
def test_a_text_in_pieces_has_the_tokens_of_the_whole(parts, name, boundary):
    tokenizer = build(name, *parts, " a\n\x1e", boundary=boundary)
    whole = tokenizer.encode("".join(parts))
    pieces = [*encode_pieces(tokenizer, parts)]
    assert np.concatenate([*pieces, whole[:0]]).tolist() == whole.tolist()
    assert sum(map(tokenizer.n_bytes, pieces)) == tokenizer.n_bytes(whole)
    again = build(name, "".join(parts) + " a\n\x1e", boundary=boundary)
    assert again.to_json() == tokenizer.to_json()


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("", 0),
        ("cat", 0),
        ("cat ", 3),
        ("a cat\ncame", 5),
        ("cat\u00a0 ", 0),
        (" \n ", 0),
        (" a  ", 2),
    ],
)
def test_a_text_may_be_cut_behind_its_last_word_that_has_ended(text, end):
    assert last_word_end(text) == end


def test_a_text_without_a_place_to_cut_is_one_piece():
    assert [*recut(["ab", "cd", "", "e"], last_word_end)] == ["abcde"]
    assert [*recut([], last_word_end)] == []


@same_examples
@given(
    documents=st.lists(texts, min_size=1),
    boundary=st.sampled_from(["\n", "\x1e"]),
    name=st.sampled_from(sorted(TOKENIZERS)),
)
def test_the_boundary_closes_every_document_and_is_nowhere_else(documents, boundary, name):
    documents = [document.replace(boundary, "") for document in documents]
    text = "".join(document + boundary for document in documents)
    tokenizer = build(name, text + " a\n", boundary=boundary)
    assert tokenizer.decode([tokenizer.boundary]) == boundary
    tokens = tokenizer.encode(text)
    ends = np.flatnonzero(tokens == tokenizer.boundary)
    starts = [0, *(ends[:-1] + 1)]
    assert [tokenizer.decode(tokens[a:b]) for a, b in zip(starts, ends, strict=True)] == documents
    assert tokenizer_from_json(tokenizer.to_json()).boundary == tokenizer.boundary


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
def test_a_text_that_is_no_documents_has_no_boundary(name):
    tokenizer = build(name, "a cat\n")
    assert tokenizer.boundary is None
    assert "boundary" not in tokenizer.to_json()


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@pytest.mark.parametrize("boundary", [-1, 10**6, "\n", True, 1.0, [1]])
def test_a_boundary_that_is_no_token_is_refused(name, boundary):
    with pytest.raises(InputError, match="the boundary of a tokenizer is one of its"):
        tokenizer_from_json({**build(name, "a cat").to_json(), "boundary": boundary})


@same_examples
@given(data=st.data(), name=st.sampled_from(sorted(TOKENIZERS)))
def test_any_ids_in_range_can_be_decoded(data, name):
    tokenizer = build(name, "a cat, \u732b, \U0001f408")
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocabulary_size - 1)))
    assert isinstance(tokenizer.decode(ids), str)
    assert tokenizer.decode(ids) == tokenizer.decode(np.array(ids, dtype=np.int64))


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@pytest.mark.parametrize("wrong", [-1, 300, 10**6])
def test_ids_out_of_range_are_a_mistake_of_the_caller(name, wrong):
    with pytest.raises(ValueError, match="token ids must be in"):
        build(name, "abc").decode([0, wrong])


def test_half_a_character_is_decoded_as_a_replacement():
    assert ByteTokenizer().decode(list("\u00e9".encode()[:1])) == "\ufffd"


def test_characters_are_numbered_in_the_order_of_their_code_points():
    tokenizer = build("char", "b\U0001f408a", "\u00e9b")
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
        build("char", *pieces, source="mine.txt")
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
    tokenizer = build(name, text)
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
        {"name": "gpt"},
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
        {"name": "word", "words": ["a"]},
        {"name": "word", "words": "a", "unknown": "error"},
        {"name": "word", "words": [1], "unknown": "error"},
        {"name": "word", "words": [], "unknown": "error"},
        {"name": "word", "words": ["a", "a"], "unknown": "error"},
        {"name": "word", "words": ["a b" * 1000], "unknown": "error"},
        {"name": "word", "words": ["\ud800"], "unknown": "error"},
        {"name": "word", "words": ["a"], "unknown": "x" * 1000},
        {"name": "word", "words": ["a"], "unknown": []},
        {"name": "bpe", "vocabulary": [*BYTE_OF]},
        {"name": "bpe", "vocabulary": [*BYTE_OF][1:], "merges": []},
        {"name": "bpe", "vocabulary": [*BYTE_OF, "a"], "merges": []},
        {"name": "bpe", "vocabulary": [*BYTE_OF, ""], "merges": []},
        {"name": "bpe", "vocabulary": [*BYTE_OF, "a b"], "merges": []},
        {"name": "bpe", "vocabulary": [*BYTE_OF, 5], "merges": []},
        {"name": "bpe", "vocabulary": dict.fromkeys(BYTE_OF), "merges": []},
        {"name": "bpe", "vocabulary": [*BYTE_OF], "merges": ["a b"]},
        {"name": "bpe", "vocabulary": [*BYTE_OF, "ab"], "merges": ["ab"]},
        {"name": "bpe", "vocabulary": [*BYTE_OF, "ab"], "merges": ["a  b"]},
        {"name": "bpe", "vocabulary": [*BYTE_OF, "ab"], "merges": [["a", "b"]]},
        {"name": "bpe", "vocabulary": [*BYTE_OF], "merges": [], "boundary": 255},
        {"name": "bpe", "vocabulary": [*BYTE_OF, "a\u0120b"], "merges": [], "boundary": 256},
    ],
)
def test_a_description_of_no_tokenizer_is_refused_in_one_line(fields):
    with pytest.raises(InputError) as error:
        tokenizer_from_json(fields)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_an_unknown_tokenizer_is_refused_with_the_choices():
    with pytest.raises(
        InputError,
        match=r"unknown tokenizer 'gpt'; choose from \['bpe', 'byte', 'char', 'word'\]",
    ):
        build_tokenizer(TokenizerConfig("gpt", None, None), [["abc"]])


def test_a_word_is_one_token_with_its_space_and_all_else_is_spelled():
    tokenizer = WordTokenizer(["cat", "don't", "a"], "error")
    cat, dont, a = 257, 258, 259
    tokens = tokenizer.encode("a cat, don't  cat\u2014a\n")
    glue, space, comma, newline = 256, 32, 44, 10
    dash = list("\u2014".encode())
    expected = [glue, a, cat, comma, dont, space, cat, *dash, glue, a, newline]
    assert tokens.tolist() == expected


def test_words_are_numbered_from_the_most_frequent_on():
    assert build("word", "b a b c a b d").words == ("b", "a", "c", "d")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dog", "unknown word 'dog' at offset 0"),
        ("a cat, a dog", "unknown word 'dog' at offset 9"),
        ("a cat\na cat's", 'unknown word "cat\'s" at offset 8'),
        ("a  z cat", "unknown word 'z' at offset 3"),
    ],
)
def test_an_unknown_word_is_named_with_its_place(text, told):
    with pytest.raises(InputError) as error:
        WordTokenizer(["a", "cat"], "error").encode(text)
    assert str(error.value) == f"{told}: this word tokenizer knows 2 others"


def test_an_unknown_word_has_a_token_where_that_is_asked_for_and_stands_for_no_bytes():
    tokenizer = WordTokenizer(["a", "cat"], "unk")
    tokens = tokenizer.encode("dogs: a dog")
    assert tokenizer.decode(tokens) == "<unk>: a <unk>"
    assert tokenizer.n_bytes(tokens) == len(": a ")


@pytest.mark.parametrize("ids", [[256], [256, 256, 258, 256], [256, 32, 258], [256, 195]])
def test_what_a_model_of_words_may_write_can_be_decoded(ids):
    tokenizer = WordTokenizer(["a", "cat"], "error")
    shown = ""
    for end in range(1, len(ids) + 1):  # each token adds to what the ones before it gave
        text = tokenizer.decode(ids[:end])
        assert text.startswith(shown)
        shown = text


def word_config(size, unknown):
    return TokenizerConfig("word", size, unknown)


def test_a_vocabulary_that_is_too_small_for_the_words_is_refused_or_leaves_out_the_rarest():
    pieces = ["a a a a b b b c c d"]
    assert build_tokenizer(word_config(261, "error"), [pieces]).words == ("a", "b", "c", "d")
    assert build_tokenizer(word_config(260, "unk"), [pieces]).words == ("a", "b")
    with pytest.raises(InputError) as error:
        build_tokenizer(word_config(260, "error"), [pieces], source="mine.txt")
    assert str(error.value) == (
        "tokenizer.vocabulary_size=260 leaves out words of mine.txt, such as 'd'; "
        "it needs 261, or tokenizer.unknown=unk"
    )
    with pytest.raises(InputError, match=r"vocabulary_size must be more than 257, .* not 257"):
        build_tokenizer(word_config(257, "error"), [pieces])


def test_a_text_without_words_has_no_word_tokenizer():
    with pytest.raises(InputError, match=r"mine\.txt has no words; the byte tokenizer"):
        build("word", "... !", source="mine.txt")


@pytest.mark.parametrize("size", [None, 1, 255])
def test_a_bpe_vocabulary_has_room_for_every_byte(size):
    with pytest.raises(InputError, match=f"must be at least 256 for bpe, .* not {size}"):
        build_tokenizer(TokenizerConfig("bpe", size, None), [["a cat"]])


def test_bpe_merges_the_most_frequent_pair_first():
    tokenizer = build("bpe", "aab " * 9 + "ab " * 3)
    assert tokenizer.merges[0] == ("a", "b")
    assert tokenizer.vocabulary[:3] == ("!", '"', "#")


def test_bpe_makes_no_more_tokens_than_asked_for_nor_than_the_text_has():
    text = "a cat came to a town and slept there, and a dog came to the town"
    sizes = {
        size: build_tokenizer(TokenizerConfig("bpe", size, None), [[text]]).vocabulary_size
        for size in (256, 260, 5000)
    }
    assert (sizes[256], sizes[260]) == (256, 260)
    assert 260 < sizes[5000] < 300


def test_bpe_training_is_the_same_in_another_process_with_another_number_of_cores(tmp_path):
    text = " ".join(f"w{i % 97}x{i % 31} cats{i % 7}" for i in range(3000))
    program = (
        "import json, sys; from lmladder.config import TokenizerConfig; "
        "from lmladder.text import build_tokenizer; "
        "config = TokenizerConfig('bpe', 400, None); "
        "print(json.dumps(build_tokenizer(config, [[sys.argv[1]]]).to_json()))"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", program, text],
            env={**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
            capture_output=True,
            check=True,
        ).stdout
        for threads in ("1", "4")
    ]
    assert found[0] == found[1]
    assert json.loads(found[0])["name"] == "bpe"


def test_a_long_text_is_encoded_in_blocks_and_as_if_it_were_one():
    text = "It was a dark night;  and a cat,\n\n called Figgy's cat, slept. \t\n" * 2000
    tokenizer = build("bpe", text)
    assert len(text) > 5 * BLOCK_CHARACTERS
    whole = tokenizer._engine.encode(text).ids
    assert tokenizer.encode(text).tolist() == whole


def test_bpe_of_gpt2_splits_and_merges_as_the_original_does():
    """Vocabulary and merges as GPT-2's files have them, with its boundary behind the last merge."""
    merges = [("\u0120", "t"), ("h", "e"), ("\u0120t", "he"), ("'", "s")]
    vocabulary = [*sorted(BYTE_OF), *map("".join, merges), "<|endoftext|>"]
    tokenizer = BpeTokenizer(vocabulary, merges, boundary=260)
    tokens = tokenizer.encode("the cat's<|endoftext|> the")
    pieces = [vocabulary[token] for token in tokens]
    assert pieces == ["t", "he", "\u0120", "c", "a", "t", "'s", "<|endoftext|>", "\u0120the"]
    assert tokenizer.decode(tokens) == "the cat's<|endoftext|> the"
    assert tokenizer.encode("!").tolist() == [0]


def test_only_tokenizers_that_read_any_text_need_not_see_all_of_it():
    """What these are fitted to is the training text: nothing of a test text is in their tokens."""
    assert [name for name in CONFIGS if reads_any_text(CONFIGS[name])] == ["byte", "bpe"]
    assert reads_any_text(word_config(None, "unk"))
