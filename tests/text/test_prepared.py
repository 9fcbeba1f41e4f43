import hashlib
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from lmladder.config import TokenizerConfig
from lmladder.errors import InputError, RunError
from lmladder.sealing import seal, unseal
from lmladder.text import (
    SPLITS,
    Documents,
    LongText,
    Prepared,
    cache_directory,
    load_corpus,
    write_prepared,
)
from lmladder.text.corpus import PIECE_CHARACTERS

import numpy as np
import pytest

BYTE = TokenizerConfig("byte", None, None)
CHAR = TokenizerConfig("char", None, None)
WORD = TokenizerConfig("word", None, "error")
BPE = TokenizerConfig("bpe", 300, None)
WHOLE = LongText.of("letters", "abcdefghij" * 10)
SETTINGS = {"data": {"corpus": "words", "seed": 0, "train": 0.8}, "tokenizer": "char"}


def words(count=20):
    return Documents.of(
        "words",
        [f"w\u00f6rd {i}" for i in range(count)],
        [1 + i / 7 for i in range(count)],
    )


def write(directory, corpus, **changes):
    arguments = {"tokenizer": CHAR, "train": 0.8, "val": 0.1, "test": 0.1, "seed": 0}
    return write_prepared(directory, corpus, **arguments | changes, settings=SETTINGS)


@pytest.fixture
def directory(tmp_path):
    write(tmp_path / "prepare", words())
    return tmp_path / "prepare"


def refusal(directory, action=Prepared.open):
    """The one-line message with which the folder is refused."""
    with pytest.raises(InputError) as error:
        action(directory)
    assert "\n" not in str(error.value)
    assert "dvc repro prepare" in str(error.value)
    return str(error.value)


def rewrite(path, change):
    """Apply `change` to the facts in corpus.json, and seal them again."""
    fields = unseal(path.read_text())
    change(fields)
    path.write_text(seal(fields))


def test_one_document_is_cut_in_order(tmp_path):
    write(tmp_path, WHOLE)
    prepared = Prepared.open(tmp_path)
    text = "".join(prepared.tokenizer.decode(prepared.split(name)) for name in SPLITS)
    assert text == "abcdefghij" * 10
    assert [len(prepared.split(name)) for name in SPLITS] == [80, 10, 10]


def test_several_documents_are_shuffled_and_end_with_a_newline_each(directory):
    prepared = Prepared.open(directory)
    texts = [prepared.tokenizer.decode(prepared.split(name)) for name in SPLITS]
    assert all(text.endswith("\n") for text in texts)
    assert sorted("".join(texts).splitlines()) == sorted(words())
    assert texts[0].splitlines() != list(words())[:16]


def test_tokens_are_mapped_and_not_read(directory):
    prepared = Prepared.open(directory)
    assert all(isinstance(prepared.split(name), np.memmap) for name in SPLITS)
    assert prepared.train.dtype == np.uint8
    assert not prepared.train.flags.writeable


def test_a_split_of_fraction_zero_is_an_empty_array(tmp_path):
    write(tmp_path, WHOLE, train=0.9, test=0)
    prepared = Prepared.open(tmp_path)
    assert prepared.test.shape == (0,)
    assert prepared.corpus.splits["test"].documents == 0
    assert prepared.corpus.splits["test"].oracle is None


def test_the_facts_count_what_was_written(directory):
    facts = Prepared.open(directory).corpus
    text = "".join(document + "\n" for document in words())
    assert (facts.name, facts.tokenizer, facts.settings) == ("words", "char", SETTINGS)
    assert (facts.documents, facts.characters) == (20, len(text))
    assert facts.bytes == len(text.encode()) > facts.characters
    assert facts.vocabulary_size == len(set(text))
    assert [facts.splits[name].documents for name in SPLITS] == [16, 2, 2]
    assert sum(facts.splits[name].tokens for name in SPLITS) == facts.characters
    assert sum(facts.splits[name].bytes for name in SPLITS) == facts.bytes


def test_the_oracle_sums_the_nats_of_the_documents_in_the_split(directory):
    prepared = Prepared.open(directory)
    known = dict(zip(words(), words().nats, strict=True))
    for name in SPLITS:
        text = prepared.tokenizer.decode(prepared.split(name))
        nats = [known[document] for document in text.splitlines()]
        oracle = prepared.corpus.splits[name].oracle
        assert oracle.nats == pytest.approx(sum(nats), rel=1e-14)
        assert oracle.standard_error_nats == pytest.approx(
            math.sqrt(len(nats)) * statistics.stdev(nats), rel=1e-12
        )


def test_the_error_of_a_single_document_is_unknown(tmp_path):
    facts = write(tmp_path, words(3), train=2 / 3, val=1 / 3, test=0)
    assert facts.splits["val"].documents == 1
    assert facts.splits["val"].oracle.standard_error_nats is None
    assert Prepared.open(tmp_path).corpus == facts


def test_text_of_unknown_probability_has_no_oracle(tmp_path):
    write(tmp_path, Documents.of("words", [*words()]))
    assert all(split.oracle is None for split in Prepared.open(tmp_path).corpus.splits.values())


def test_the_same_corpus_gives_the_same_bytes(tmp_path):
    write(tmp_path / "a", words())
    write(tmp_path / "b", words())
    names = sorted(os.listdir(tmp_path / "a"))
    assert names == ["corpus.json", "test.npy", "tokenizer.json", "train.npy", "val.npy"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_corpus_json_is_sorted_and_ends_its_last_line(directory):
    text = (directory / "corpus.json").read_text()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"


def test_the_digest_is_of_the_three_arrays_and_the_tokenizer(directory):
    names = ("train.npy", "val.npy", "test.npy", "tokenizer.json")
    data = b"".join((directory / name).read_bytes() for name in names)
    assert Prepared.open(directory).digest == hashlib.sha256(data).hexdigest()


def test_the_past_of_a_split_is_the_split_before_it(tmp_path):
    write(tmp_path, WHOLE)
    prepared = Prepared.open(tmp_path)
    assert len(prepared.past("train")) == 0
    np.testing.assert_array_equal(prepared.past("val"), prepared.train)
    np.testing.assert_array_equal(prepared.past("test"), prepared.val)


def test_the_past_skips_an_empty_split(tmp_path):
    write(tmp_path, WHOLE, val=0, test=0.2)
    prepared = Prepared.open(tmp_path)
    np.testing.assert_array_equal(prepared.past("test"), prepared.train)


def test_an_unknown_split_is_refused_with_the_choices(directory):
    prepared = Prepared.open(directory)
    for action in (prepared.split, prepared.past):
        with pytest.raises(InputError, match="unknown split 'dev'; choose from"):
            action("dev")


def test_any_bytes_pass_through_the_byte_tokenizer(tmp_path):
    data = bytes(range(256)) * 4
    path = tmp_path / "any.bin"
    path.write_bytes(data)
    write(tmp_path / "prepare", load_corpus(corpus="file", path=path), tokenizer=BYTE)
    prepared = Prepared.open(tmp_path / "prepare")
    assert b"".join(prepared.split(name).tobytes() for name in SPLITS) == data
    assert prepared.corpus.bytes == len(data)


@pytest.mark.parametrize("tokenizer", [BYTE, CHAR, WORD, BPE], ids=lambda each: each.name)
def test_bytes_are_counted_the_same_whatever_the_tokenizer(tmp_path, tokenizer):
    write(tmp_path, words(), tokenizer=tokenizer)
    prepared = Prepared.open(tmp_path)
    for name in SPLITS:
        text = prepared.tokenizer.decode(prepared.split(name))
        assert prepared.corpus.splits[name].bytes == len(text.encode())
        assert prepared.corpus.splits[name].oracle is not None
    assert prepared.tokenizer.decode([prepared.tokenizer.boundary]) == "\n"


def test_an_unknown_word_counts_no_bytes_and_leaves_no_oracle_to_compare_with(tmp_path):
    unk = TokenizerConfig("word", 260, "unk")  # room for two words
    facts = write(tmp_path, words(), tokenizer=unk).splits["val"]
    prepared = Prepared.open(tmp_path)
    text = prepared.tokenizer.decode(prepared.val)
    assert text.count("<unk>") > 0
    assert facts.bytes == len(text.replace("<unk>", "").encode())
    assert facts.oracle is None


def test_a_split_that_goes_through_a_word_makes_words_of_its_parts(tmp_path):
    text = "once upon a midnight" * 3
    write(tmp_path, LongText.of("text", text), tokenizer=WORD, train=0.6, val=0.2, test=0.2)
    prepared = Prepared.open(tmp_path)
    parts = [prepared.tokenizer.decode(prepared.split(name)) for name in SPLITS]
    assert parts == [text[:36], text[36:48], text[48:]]
    assert {"midn", "ightonce", "upo", "n"} < set(prepared.tokenizer.words)


def test_bpe_learns_nothing_from_the_test_text(tmp_path):
    text = "a cat came " * 80 + "zyzyzyzyzy" * 22
    write(tmp_path, LongText.of("text", text), tokenizer=BPE)
    prepared = Prepared.open(tmp_path)
    assert not any("z" in token and len(token) > 1 for token in prepared.tokenizer.vocabulary)
    assert prepared.tokenizer.decode(prepared.test).endswith("zyzy")


def test_bytes_that_are_not_utf8_stop_the_char_tokenizer_before_anything_is_written(tmp_path):
    path = tmp_path / "any.bin"
    path.write_bytes(b"caf\xc3\xa9 \xff")
    with pytest.raises(InputError, match=r"^any.bin: byte 0xff \(not UTF-8\) at byte offset 6;"):
        write(tmp_path / "prepare", load_corpus(corpus="file", path=path))
    assert not (tmp_path / "prepare").exists()


def test_settings_that_agree_are_passed_over(directory):
    Prepared.open(directory).require_settings(SETTINGS)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            SETTINGS | {"data": {"corpus": "words", "seed": 1, "train": 0.8}},
            "data.seed=0, but this run asks for data.seed=1;",
        ),
        (SETTINGS | {"tokenizer": "byte"}, 'tokenizer="char", but .* tokenizer="byte";'),
        (SETTINGS | {"more": None}, "more=nothing, but this run asks for more=null;"),
        ({"data": SETTINGS["data"]}, 'tokenizer="char", but .* tokenizer=nothing;'),
    ],
)
def test_settings_that_differ_are_named_with_the_remedy(directory, settings, told):
    prepared = Prepared.open(directory)
    message = refusal(settings, prepared.require_settings)
    assert str(directory) in message
    with pytest.raises(InputError, match=told):
        prepared.require_settings(settings)


@pytest.mark.parametrize(
    "name", ["corpus.json", "tokenizer.json", "train.npy", "val.npy", "test.npy"]
)
def test_a_missing_file_is_named_with_the_remedy(directory, name):
    (directory / name).unlink()
    assert f"{directory / name} is missing" in refusal(directory)


def test_a_missing_folder_is_refused_with_the_remedy(tmp_path):
    assert "is missing" in refusal(tmp_path / "missing")


@pytest.mark.parametrize("keep", [0, 5, 60, 128, -1])
def test_a_truncated_array_is_refused_in_one_line(directory, keep):
    path = directory / "train.npy"
    path.write_bytes(path.read_bytes()[:keep])
    assert str(path) in refusal(directory)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3, np.int64),
        np.zeros((1, 3), np.uint8),
        np.zeros((), np.uint8),
        np.zeros(3, np.float32),
        np.array([None, {}, "abc"], dtype=object),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_an_array_of_another_kind_is_refused_in_one_line(directory, array):
    np.save(directory / "val.npy", array, allow_pickle=True)
    assert str(directory / "val.npy") in refusal(directory)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-3,), }",
        "{'descr': '|u9', 'fortran_order': False, 'shape': (3,), }",
        "(" * 9000,
        "[" * 90 + "]" * 90,
        "__import__('os')",
    ],
    ids=lambda header: header[:40],
)
def test_a_hostile_header_is_refused_in_one_line(directory, header):
    head = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    (directory / "val.npy").write_bytes(head + b"abc")
    assert str(directory / "val.npy") in refusal(directory)


def test_an_archive_in_place_of_an_array_is_refused(directory):
    with open(directory / "val.npy", "wb") as file:
        np.savez(file, np.zeros(3, np.uint8))
    assert str(directory / "val.npy") in refusal(directory)


def test_tokens_beyond_the_vocabulary_are_refused(directory):
    tokens = np.load(directory / "train.npy")
    tokens[5] = 200
    np.save(directory / "train.npy", tokens)
    assert "holds token 200, but the vocabulary has only" in refusal(directory)


def test_another_number_of_tokens_than_told_is_refused(directory):
    np.save(directory / "test.npy", np.load(directory / "test.npy")[:-1])
    assert "tokens, but corpus.json tells of" in refusal(directory)


def test_a_tokenizer_of_another_corpus_is_refused(directory, tmp_path):
    write(tmp_path / "other", WHOLE)
    shutil.copy(tmp_path / "other" / "tokenizer.json", directory)
    assert "not the tokenizer that corpus.json tells of" in refusal(directory)


@pytest.mark.parametrize("name", ["corpus.json", "tokenizer.json"])
@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"{}", b"null", b"\xff\xfe", b"[" * 100_000, b'{"name": NaN}'],
    ids=lambda data: repr(data[:20]),
)
def test_a_damaged_json_file_is_refused_in_one_line(directory, name, data):
    (directory / name).write_bytes(data)
    assert str(directory / name) in refusal(directory)


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts.pop("digest"),
        lambda facts: facts.update(extra=1),
        lambda facts: facts.update(vocabulary_size="14"),
        lambda facts: facts.update(documents=True),
        lambda facts: facts.update(characters=-1),
        lambda facts: facts.update(splits=[]),
        lambda facts: facts["splits"].pop("val"),
        lambda facts: facts["splits"].update(val=None),
        lambda facts: facts["splits"]["val"].update(tokens=1.5),
        lambda facts: facts["splits"]["val"].update(oracle={"nats": 1.0}),
        lambda facts: facts["splits"]["val"]["oracle"].update(nats=None),
        lambda facts: facts["splits"]["val"]["oracle"].update(nats=math.nan),
        lambda facts: facts["splits"]["val"]["oracle"].update(nats=math.inf),
    ],
)
def test_facts_of_another_shape_are_refused_in_one_line(directory, change):
    rewrite(directory / "corpus.json", change)
    assert "does not describe a prepared text" in refusal(directory)


def test_files_as_written_verify(directory):
    Prepared.open(directory).verify()


@pytest.mark.parametrize("name", ["train.npy", "tokenizer.json"])
def test_a_changed_file_does_not_verify(directory, name):
    path = directory / name
    prepared = Prepared.open(directory)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()  # not in place, under the memory map
    path.write_bytes(data)
    message = refusal(directory, lambda _: prepared.verify())
    assert str(path) in message


def test_a_changed_digest_does_not_verify(directory):
    rewrite(directory / "corpus.json", lambda facts: facts.update(digest="0" * 64))
    with pytest.raises(InputError):
        Prepared.open(directory).verify()


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path):
    (tmp_path / "prepare").write_bytes(b"a file where the folder should be")
    with pytest.raises(RunError, match="cannot write to") as error:
        write(tmp_path / "prepare", words())
    assert "\n" not in str(error.value)


def test_a_folder_renewed_by_half_is_refused(directory, monkeypatch):
    def fail(path, data):
        raise RunError(f"cannot write {path}")

    monkeypatch.setattr("lmladder.text.writing.atomic_write", fail)
    with pytest.raises(RunError):
        write(directory, WHOLE)
    assert "corpus.json is missing" in refusal(directory)


KILLED_IN_THE_THIRD_PIECE = """
import os, sys
from lmladder.config import TokenizerConfig
from lmladder.text import CharTokenizer, LongText, write_prepared
from lmladder.text.corpus import PIECE_CHARACTERS

encode, pieces = CharTokenizer.encode, []

def encode_or_die(self, text):
    pieces.append(text)
    if len(pieces) == 3:
        os.kill(os.getpid(), 9)
    return encode(self, text)

CharTokenizer.encode = encode_or_die
corpus = LongText.of("letters", "a" * 4 * PIECE_CHARACTERS)
tokenizer, split = TokenizerConfig("char", None, None), {"train": 1, "val": 0, "test": 0}
write_prepared(sys.argv[1], corpus, tokenizer=tokenizer, **split, seed=0, settings={})
"""


def test_a_prepare_that_is_killed_in_a_write_leaves_only_what_the_next_one_removes(directory):
    before = (directory / "train.npy").read_bytes()
    done = subprocess.run([sys.executable, "-c", KILLED_IN_THE_THIRD_PIECE, directory], check=False)
    assert done.returncode == -9
    assert (directory / "train.npy").read_bytes() == before
    assert "corpus.json is missing" in refusal(directory)
    (side,) = directory.glob(".train.npy.*")
    write(directory, words())
    assert not side.exists()
    Prepared.open(directory).verify()


def text_longer_than_a_piece():
    """Lines of many lengths and of characters of 1 to 4 bytes, over several pieces."""
    sample = "na\u00efve \u732b \U0001f408 "
    lines = [sample[: i % 13] + str(i) for i in range(PIECE_CHARACTERS // 3)]
    return "\r\n".join(lines)


@pytest.mark.parametrize("tokenizer", [BYTE, CHAR, WORD, BPE], ids=lambda each: each.name)
@pytest.mark.parametrize("documents", ["whole", "lines"])
def test_a_text_in_many_pieces_is_written_as_if_it_were_one(tmp_path, documents, tokenizer):
    text = text_longer_than_a_piece()
    path = tmp_path / "long.txt"
    path.write_bytes(text.encode())
    corpus = load_corpus(corpus="file", path=path, documents=documents)
    in_memory = {
        "whole": LongText.of("long.txt", text),
        "lines": Documents.of("long.txt", text.split("\r\n")),
    }[documents]
    assert len(list(corpus.pieces())) > 2
    streamed = write(tmp_path / "a", corpus, tokenizer=tokenizer)
    write(tmp_path / "b", in_memory, tokenizer=tokenizer)
    for name in os.listdir(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    prepared = Prepared.open(tmp_path / "a")
    prepared.verify()
    found = b"".join(prepared.tokenizer.decode(prepared.split(name)).encode() for name in SPLITS)
    if documents == "whole":
        assert found == text.encode()
    else:
        assert sorted(found.splitlines()) == sorted(text.encode().splitlines())
    assert (streamed.bytes, streamed.characters) == (len(found), len(found.decode()))


def test_an_array_is_what_numpy_itself_writes(directory, tmp_path):
    np.save(tmp_path / "train.npy", np.load(directory / "train.npy"))
    assert (tmp_path / "train.npy").read_bytes() == (directory / "train.npy").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are read from /proc")
def test_memory_does_not_grow_with_the_text(tmp_path):
    """What is added by 24 MB more text is a few bytes for each of its lines."""

    def peak_mib(copies):
        text = tmp_path / f"{copies}.txt"
        text.write_text("Once upon a time, a cat came to a town and slept there.\n" * copies)
        script = Path(__file__).parents[2] / "benchmarks" / "prepare.py"
        done = subprocess.run(
            [sys.executable, script, "--text", text, "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)["peak_mib"]

    assert peak_mib(450_000) - peak_mib(20_000) < 24


def test_tiny_shakespeare_is_split_as_others_split_it(tmp_path):
    path = cache_directory() / "tinyshakespeare.txt"
    if not path.exists():
        pytest.skip(f"tinyshakespeare.txt is not in {cache_directory()} (see LMLADDER_DATA)")
    write(tmp_path, load_corpus(corpus="file", path=path), train=0.9, test=0)
    prepared = Prepared.open(tmp_path)
    assert (len(prepared.train), len(prepared.val)) == (1_003_854, 111_540)
    assert prepared.tokenizer.vocabulary_size == 65
    assert prepared.tokenizer.decode(prepared.train[:14]) == "First Citizen:"
