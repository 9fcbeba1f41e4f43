"""The folder of a prepared text: what is in it, and that any damage to it is rejected."""

import hashlib
import math
import os
import statistics

from lmladder.data import SPLITS, Corpus, Prepared, write_prepared
from lmladder.data.prepared import FILES, digest_of
from lmladder.system.errors import InputError
from lmladder.system.sealing import seal, unseal
from tests.data.examples import CHOICES, split_settings, tokenizer_settings

import numpy as np
import pytest

SPLIT = split_settings(0.8, 0.1, 0.1)
WHOLE = Corpus("letters", ["abcdefghij" * 10])
SETTINGS = {"data": {"corpus": "words", "seed": 0, "train": 0.8}, "tokenizer": "char"}


def words(count=20):
    return Corpus(
        "words",
        [f"w\u00f6rd {i}" for i in range(count)],
        "\n",
        [1 + i / 7 for i in range(count)],
    )


def write(directory, corpus, choice="char", split=SPLIT, **changes):
    return write_prepared(
        directory,
        corpus,
        tokenizer=tokenizer_settings(choice, **changes),
        split=split,
        seed=0,
        settings=SETTINGS,
    )


@pytest.fixture
def directory(tmp_path):
    write(tmp_path / "prepare", words())
    return tmp_path / "prepare"


def rejection(directory, action=Prepared.open):
    """Return the one-line message with which the folder is rejected."""
    with pytest.raises(InputError) as error:
        action(directory)
    assert "dvc repro prepare" in str(error.value)
    return str(error.value)


def texts_in(prepared):
    return [prepared.tokenizer.decode(prepared.split(name)) for name in SPLITS]


# --- What is in it --------------------------------------------------------------------------------


def test_tokens_are_mapped_and_those_of_the_splits_and_the_facts_count_them(directory, tmp_path):
    prepared = Prepared.open(directory)
    texts = texts_in(prepared)
    assert all(text.endswith("\n") for text in texts)
    assert sorted("".join(texts).splitlines()) == sorted(words().texts)
    assert texts[0].splitlines() != words().texts[:16]
    assert all(isinstance(prepared.split(name), np.memmap) for name in SPLITS)
    assert prepared.train.dtype == np.uint8
    assert not prepared.train.flags.writeable
    facts, text = prepared.corpus, "".join(texts)
    assert (facts.name, facts.tokenizer, facts.settings) == ("words", "char", SETTINGS)
    assert (facts.documents, facts.characters, facts.bytes) == (20, len(text), len(text.encode()))
    assert facts.vocabulary_size == len(set(text))
    assert [facts.splits[name].documents for name in SPLITS] == [16, 2, 2]
    assert [facts.splits[name].tokens for name in SPLITS] == [len(each) for each in texts]
    write(tmp_path / "whole", WHOLE)
    whole = Prepared.open(tmp_path / "whole")
    assert texts_in(whole) == ["abcdefghij" * n for n in (8, 1, 1)]
    assert [len(whole.preceding(name)) for name in SPLITS] == [0, 80, 10]
    two = write(tmp_path / "two", WHOLE, split=split_settings(0.9, 0.1, 0))
    assert Prepared.open(tmp_path / "two").test.shape == (0,)
    assert (two.splits["test"].documents, two.splits["test"].tokens) == (0, 0)


def test_the_oracle_sums_the_nll_of_the_documents_in_the_split(directory, tmp_path):
    prepared = Prepared.open(directory)
    known = dict(zip(words().texts, words().nll, strict=True))
    for name, text in zip(SPLITS, texts_in(prepared), strict=True):
        nll = [known[document] for document in text.splitlines()]
        oracle = prepared.corpus.splits[name].oracle
        assert oracle.nats == pytest.approx(sum(nll), rel=1e-14)
        error = math.sqrt(len(nll)) * statistics.stdev(nll)
        assert oracle.standard_error_nats == pytest.approx(error, rel=1e-12)
    facts = write(tmp_path / "three", words(3), split=split_settings(2 / 3, 1 / 3, 0))
    assert facts.splits["val"].oracle.standard_error_nats is None  # of one document
    assert facts.splits["test"].oracle is None
    assert Prepared.open(tmp_path / "three").corpus == facts
    unknown = write(tmp_path / "unknown", Corpus("words", words().texts, "\n"))
    assert all(split.oracle is None for split in unknown.splits.values())


def test_the_same_corpus_gives_the_same_bytes_in_known_formats(directory, tmp_path):
    write(tmp_path / "again", words())
    files = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == files
    assert sorted(files) == sorted([*FILES, "corpus.json"])
    sums = [hashlib.sha256(files[name]).hexdigest() for name in FILES]
    assert Prepared.open(directory).digest == hashlib.sha256("".join(sums).encode()).hexdigest()
    np.save(tmp_path / "train.npy", np.load(directory / "train.npy"))
    assert (tmp_path / "train.npy").read_bytes() == files["train.npy"]


def test_an_unknown_word_counts_no_bytes_and_leaves_no_oracle_to_compare_with(tmp_path):
    # room for two words
    facts = write(tmp_path, words(), "word", vocabulary_size=260, unknown="unk").splits["val"]
    prepared = Prepared.open(tmp_path)
    text = prepared.tokenizer.decode(prepared.val)
    assert text.count("<unk>") > 0
    assert facts.bytes == len(text.replace("<unk>", "").encode())
    assert facts.oracle is None


def test_only_bpe_is_fitted_to_the_training_text_alone(tmp_path):
    """Words may be cut by a split."""
    text = "once upon a midnight" * 3
    split = split_settings(0.6, 0.2, 0.2)
    write(tmp_path, Corpus("text", [text]), "word", split)
    prepared = Prepared.open(tmp_path)
    assert texts_in(prepared) == [text[:36], text[36:48], text[48:]]
    assert {"midn", "ightonce", "upo", "n"} < set(prepared.tokenizer.words)
    text = "a cat came " * 80 + "zyzyzyzyzy" * 22
    for choice, known in {"word": True, "bpe": False}.items():
        write(tmp_path, Corpus("text", [text]), choice)
        tokens = Prepared.open(tmp_path).tokenizer.to_json()
        assert any("zy" in each for each in tokens.get("words", tokens.get("vocabulary"))) == known
        assert texts_in(Prepared.open(tmp_path))[2].endswith("zyzy")


@pytest.mark.parametrize("choice", CHOICES)
def test_a_text_in_many_pieces_is_written_as_if_it_were_one(tmp_path, monkeypatch, choice):
    """Lines of many lengths and of characters of 1 to 4 bytes."""
    sample = "na\u00efve \u732b \U0001f408 "
    text = "\n".join(sample[: i % 13] + str(i) for i in range(3000))
    write(tmp_path / "whole", Corpus("long", [text]), choice)
    monkeypatch.setattr("lmladder.data.reading.CHUNK_CHARACTERS", 1 << 13)
    assert len(text) > 2 << 13
    write(tmp_path / "pieces", Corpus("long", [text]), choice)
    for name in os.listdir(tmp_path / "whole"):
        whole, pieces = (tmp_path / folder / name for folder in ("whole", "pieces"))
        assert whole.read_bytes() == pieces.read_bytes()
    assert "".join(texts_in(Prepared.open(tmp_path / "pieces"))) == text


# --- Folders that are rejected --------------------------------------------------------------------


def test_a_folder_with_a_missing_or_changed_file_is_rejected(directory):
    """All changes of a bit are tried in tests/faults."""
    for path in directory.iterdir():
        data = path.read_bytes()
        path.write_bytes(data[:-1])
        assert f"{directory} is not a complete prepared text" in rejection(directory)
        path.unlink()
        assert f"there is no file {path}; run `dvc" in rejection(directory)
        path.write_bytes(data)


def test_a_file_that_is_replaced_after_its_check_is_read_as_it_was(directory, monkeypatch):
    def replace_all(sums):
        for name in os.listdir(directory):
            (directory / "other").write_bytes(b"other")
            os.replace(directory / "other", directory / name)
        return digest_of(sums)

    expected = Prepared.open(directory).train.tolist()
    monkeypatch.setattr("lmladder.data.prepared.digest_of", replace_all)
    found = Prepared.open(directory)
    assert found.train.tolist() == expected
    assert found.tokenizer.decode(found.test).endswith("\n")


def test_facts_that_are_not_those_of_a_prepared_text_are_rejected(directory):
    path = directory / "corpus.json"
    whole = path.read_text()
    path.write_text(seal(unseal(whole) | {"vocabulary_size": "many"}))
    assert f"{directory} is not a complete prepared text" in rejection(directory)
    path.write_text(seal(unseal(whole) | {"digest": "0" * 64}))
    assert f"a file in {directory} has changed" in rejection(directory)
