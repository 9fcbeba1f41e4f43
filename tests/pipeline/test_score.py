"""`lmladder score`: any text under any checkpoint, as the pipeline scores its own."""

import io
import json
import math
import sys
from dataclasses import replace
from types import SimpleNamespace

from lmladder.data import ByteTokenizer, Prepared, WordTokenizer
from lmladder.models.counts import CountTables
from lmladder.training.checkpoint import Checkpoint
from tests.data.examples import prepared_text

import pytest

COUNTS = "outputs/bigram/checkpoint.safetensors"


@pytest.fixture
def counted(smoke, tmp_path):
    """A checkpoint of count models of a text, with the tokenizer that is asked for."""

    def save(tokenizer, text):
        tables = CountTables.count(tokenizer.encode(text), tokenizer.vocabulary_size, 3)
        changed = replace(
            Checkpoint.load(smoke / COUNTS),
            vocabulary_size=tokenizer.vocabulary_size,
            tokenizer=tokenizer.to_json(),
            model=tables.arrays(),
        )
        path = tmp_path / f"{tokenizer.name}.safetensors"
        changed.save(path)
        return path

    return save


@pytest.fixture
def score(lmladder):
    """The scores that `lmladder score` prints, by model."""

    def run(*arguments, key="models"):
        printed = lmladder("score", *arguments, "--json").succeeded().stdout
        return json.loads(printed)[key]

    return run


@pytest.fixture
def standard_input(monkeypatch):
    def give(data):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    return give


@pytest.mark.parametrize(
    ("rung", "split", "before"), [("bigram", "val", "train"), ("transformer", "test", "val")]
)
def test_the_text_of_a_split_has_the_tables_score_to_the_last_digit(
    smoke, lmladder, tmp_path, rung, split, before
):
    prepared = Prepared.open(smoke / "outputs/prepare")
    for name in (split, before):
        (tmp_path / name).write_text(prepared.tokenizer.decode(prepared.split(name)))
    asked = ("score", f"outputs/{rung}", tmp_path / split, "--context", tmp_path / before)
    rows = {row["model"]: row for row in smoke.table() if row["split"] == split}
    heads, *lines = lmladder(*asked).succeeded().stdout.splitlines()
    for line in lines:
        name, *values = line.split()
        found = dict(zip(heads.split()[1:], values, strict=True))
        assert found == {key: rows[name][key] for key in found}
    if rung == "transformer":  # windows that do not overlap
        printed = lmladder(*asked, "--min-context", "0", "--json").succeeded().stdout
        crops = json.loads(printed)["models"]["transformer"]["nats_per_token"]
        assert round(crops, 6) == float(rows[rung]["crop_nats_per_token"])


@pytest.mark.parametrize("rung", ["bigram", "transformer"])
def test_the_nats_of_tokens_add_up_to_the_score(lmladder, score, rung):
    asked = (f"outputs/{rung}", "--text", "Once upon a time")
    scores = score(*asked)
    tokens = score(*asked, "--per-token", key="tokens")
    assert "".join(token["text"] for token in tokens) == "Once upon a time"
    heads, *lines = lmladder("score", *asked, "--per-token").succeeded().stdout.splitlines()
    assert heads.split() == [*scores, "id", "token"]
    assert [line.split(" ")[-1] for line in lines[:4]] == ["'O'", "'n'", "'c'", "'e'"]
    for name, nats in score(*asked, "--per-token", key="nats").items():
        assert math.fsum(nats) == pytest.approx(scores[name]["nats"], rel=1e-12)


def test_bytes_are_counted_as_they_are_and_those_of_unknown_words_do_not_count(
    lmladder, score, counted, standard_input
):
    byte_checkpoint = counted(ByteTokenizer(), "Once upon a time é" * 9)
    standard_input(b"\xff\x00\xc3\n")
    found = score(byte_checkpoint).values()
    assert {(each["tokens"], each["bytes"]) for each in found} == {(4, 4)}
    assert list(score(byte_checkpoint, "--model", "bigram", "--text", "O")) == ["bigram"]
    sample = lmladder("sample", byte_checkpoint, "--model", "uniform", "--samples", 2)
    assert sample.succeeded().stdout.replace("\n", "").replace("\t", "").isprintable()
    path = counted(WordTokenizer(["Once", "upon"], "unk"), "Once upon Once upon a" * 3)
    found = score(path, "--text", " Once upon midnight").values()
    assert {(each["tokens"], each["bytes"]) for each in found} == {(3, 11)}
    done = lmladder("score", path, "--text", "midnight")
    done.failed_in_one_line(2, "the text has only unknown words")


def test_an_invalid_text_is_one_line(lmladder, standard_input):
    for data, named in ((b"", "is empty"), (b"On\xc3", "byte 0xc3")):
        standard_input(data)
        lmladder("score", "outputs/mlp").failed_in_one_line(2, "the standard input", named)


# --- The oracle -----------------------------------------------------------------------------------

CORPUS = "outputs/prepare/corpus.json"


def test_the_oracle_of_a_prepared_text_scores_samples_and_is_inspected(score, lmladder):
    (found,) = score(CORPUS, "--text", "Once upon a time").values()
    assert 0 < found["nats_per_token"] < 0.3
    (found,) = score(CORPUS, "--text", "Once upon a GPU").values()
    assert found["nats"] > 708  # no story
    shown = lmladder("score", CORPUS, "--text", "Oz").succeeded().stdout.splitlines()[-1]
    assert len(shown) < 100  # though the perplexity has 150 digits
    options = ("--tokens", 500, "--temperature", 1)
    sample = lmladder("sample", CORPUS, *options).succeeded().stdout
    (found,) = score(CORPUS, "--text", sample.rstrip("\n") + "\n").values()
    assert found["nats"] < 80
    assert "oracle" in lmladder("inspect", CORPUS).succeeded().stdout


def test_a_prepared_text_without_an_oracle_is_rejected_in_one_line(lmladder, tmp_path):
    prepared_text(tmp_path, "To be, or not to be. " * 50)
    done = lmladder("sample", tmp_path / "corpus.json")
    done.failed_in_one_line(2, tmp_path, "was not generated by a grammar")
