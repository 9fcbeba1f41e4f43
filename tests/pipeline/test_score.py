"""`lmladder score`: any text under any checkpoint, as the pipeline scores its own."""

import inspect
import io
import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from lmladder import cli
from lmladder.checkpoint import Checkpoint
from lmladder.commands import score as command
from lmladder.models.counts import CountTables
from lmladder.reports import read_csv
from lmladder.text import ByteTokenizer, Prepared, WordTokenizer
from tests.reports.test_html import Page

import numpy as np
import pytest
import yaml

RUNGS = ("bigram", "mlp", "transformer")
CHECKPOINTS = {rung: f"outputs/{rung}/checkpoint.safetensors" for rung in RUNGS}
COUNTS, TRANSFORMER = CHECKPOINTS["bigram"], CHECKPOINTS["transformer"]
HOSTILE = "<script>alert(1)</script>\u202e & שלום\x00\x1b[31m\r\n\u0301é"


@pytest.fixture(scope="module")
def splits(smoke, tmp_path_factory):
    """The files of the splits' texts, by name."""
    prepared = Prepared.open(smoke / "outputs/prepare")
    folder = tmp_path_factory.mktemp("splits")
    for name in ("train", "val", "test"):
        text = prepared.tokenizer.decode(prepared.split(name))
        (folder / name).write_bytes(text.encode())
    return folder


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
def byte_checkpoint(counted):
    return counted(ByteTokenizer(), "Once upon a time é" * 9)


@pytest.fixture
def standard_input(monkeypatch):
    def give(data):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    return give


def scores(done):
    return json.loads(done.succeeded().stdout)["models"]


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize(("split", "past"), [("test", "val"), ("val", "train")])
def test_the_text_of_a_split_has_the_tables_score_to_the_last_digit(
    smoke, lmladder, splits, rung, split, past
):
    asked = (CHECKPOINTS[rung], splits / split, "--past", splits / past)
    found = scores(lmladder("score", *asked, "--json"))
    table = read_csv(smoke / "outputs/evaluate/perplexity.csv")
    rows = table[table["split"] == split].set_index("model")
    assert found
    printed = lmladder("score", *asked).succeeded().stdout.splitlines()
    assert len(printed) == 1 + len(found)
    for line, (name, score) in zip(printed[1:], found.items(), strict=True):
        row = rows.loc[name]
        numbers = [row["nats_per_token"], row["perplexity"], row["bits_per_byte"]]
        assert [
            round(score[key], 6) for key in ("nats_per_token", "perplexity", "bits_per_byte")
        ] == numbers
        assert line.split() == [
            name, str(row["tokens"]), str(row["bytes"]), *(f"{each:.6f}" for each in numbers)
        ]  # fmt: skip


def test_the_scorer_has_the_settings_of_the_configuration(project):
    settings = yaml.safe_load((project / "conf/evaluate/default.yaml").read_text())
    assert settings["batch_tokens"] == command.BATCH_TOKENS
    options = inspect.signature(cli.score).parameters
    assert settings["least_context"] == options["least_context"].default


def test_a_file_the_option_and_the_standard_input_are_one_text(lmladder, tmp_path, standard_input):
    (tmp_path / "text").write_text("Once upon")
    expected = scores(lmladder("score", TRANSFORMER, "--text", "Once upon", "--json"))
    assert scores(lmladder("score", TRANSFORMER, tmp_path / "text", "--json")) == expected
    for dash in (["-"], []):
        standard_input(b"Once upon")
        assert scores(lmladder("score", TRANSFORMER, *dash, "--json")) == expected


def test_without_a_past_the_text_begins_a_line(lmladder, tmp_path):
    (tmp_path / "line").write_bytes(b"a\n")
    for rung in (COUNTS, CHECKPOINTS["mlp"]):
        first = scores(lmladder("score", rung, "--text", "O", "--json"))
        assert all(each["tokens"] == 1 for each in first.values())
    bigram = ("score", COUNTS, "--model", "bigram", "--text", "O", "--json")
    assert scores(lmladder(*bigram)) == scores(lmladder(*bigram, "--past", tmp_path / "line"))


def test_one_of_several_models_can_be_named(lmladder):
    every = scores(lmladder("score", COUNTS, "--text", "Once", "--json"))
    assert list(every) == ["uniform", "unigram", "bigram", "trigram", "kneser_ney_3"]
    one = scores(lmladder("score", COUNTS, "--text", "Once", "--json", "--model", "trigram"))
    assert one == {"trigram": every["trigram"]}


@pytest.mark.parametrize("rung", RUNGS)
def test_the_nats_of_the_tokens_add_up_to_the_score(lmladder, rung):
    told = json.loads(
        lmladder("score", CHECKPOINTS[rung], "--text", "Once upon", "--json", "--per-token")
        .succeeded()
        .stdout
    )
    assert "".join(token["text"] for token in told["tokens"]) == "Once upon"
    for name, score in told["models"].items():
        assert math.fsum(told["nats"][name]) == pytest.approx(score["nats"], rel=1e-12)


def test_each_token_is_printed_with_its_nats_and_quoted(lmladder):
    lines = (
        lmladder("score", COUNTS, "--text", "O\nn", "--per-token", "--model", "uniform")
        .succeeded()
        .stdout.splitlines()
    )
    assert lines[0].split() == ["uniform", "id", "token"]
    assert [line.split()[-1] for line in lines[1:4]] == ["'O'", r"'\n'", "'n'"]
    vocabulary = Checkpoint.load(Path(COUNTS)).vocabulary_size
    assert {line.split()[0] for line in lines[1:4]} == {f"{math.log(vocabulary):.6f}"}
    assert lines[4] == ""
    assert lines[5].split()[:2] == ["model", "tokens"]


def test_hostile_tokens_cannot_speak_to_the_terminal(lmladder, byte_checkpoint):
    done = lmladder("score", byte_checkpoint, "--text", HOSTILE, "--per-token")
    assert done.succeeded().stdout.replace("\n", "").isprintable()


def test_a_byte_checkpoint_reads_any_bytes(lmladder, byte_checkpoint, standard_input):
    standard_input(b"\xff\x00\xc3\n")
    found = scores(lmladder("score", byte_checkpoint, "--json"))
    assert {(each["tokens"], each["bytes"]) for each in found.values()} == {(4, 4)}


def test_bytes_of_unknown_words_do_not_count(lmladder, counted):
    path = counted(WordTokenizer(["Once", "upon"], "unk"), "Once upon Once upon a" * 3)
    found = scores(lmladder("score", path, "--text", " Once upon midnight", "--json"))
    assert {(each["tokens"], each["bytes"]) for each in found.values()} == {(3, 11)}
    done = lmladder("score", path, "--text", "midnight")
    done.failed_in_one_line(2, "the text is of unknown words only")


# --- The coloured text ----------------------------------------------------------------------------


def nats_told(page):
    told = [attributes.get("data-told") for _, attributes in Page(page).elements]
    return [float(re.search(r"([\d.]+) nats", each)[1]) for each in told if each]


@pytest.mark.parametrize("rung", RUNGS)
def test_the_surprise_of_the_coloured_text_adds_up_to_the_score(lmladder, tmp_path, rung):
    path = tmp_path / "surprisal.html"
    asked = ("score", CHECKPOINTS[rung], "--text", "Once upon a time", "--html", path, "--json")
    (*_, strongest) = scores(lmladder(*asked)).values()
    told = nats_told(path.read_text())
    assert len(told) == 16
    assert sum(told) == pytest.approx(strongest["nats"], abs=16 * 5e-5)
    first = path.read_bytes()
    lmladder(*asked).succeeded()
    assert path.read_bytes() == first


def test_hostile_text_is_coloured_and_does_nothing(lmladder, byte_checkpoint, tmp_path):
    path = tmp_path / "surprisal.html"
    asked = ("score", byte_checkpoint, "--text", HOSTILE, "--html", path)
    (*_, strongest) = scores(lmladder(*asked, "--json")).values()
    page = Page(path.read_text())
    assert "script" not in {tag for tag, _ in page.elements}
    assert "<script>alert(1)</script>U+202E & שלוםU+0000U+001B[31mU+000D↵\n\u0301é" in page.text
    told = nats_told(path.read_text())
    assert sum(told) == pytest.approx(strongest["nats"], abs=len(told) * 5e-5)


def test_a_text_too_long_for_a_page_is_refused_before_it_is_scored(lmladder, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "MOST_COLOURED", 5)
    path = tmp_path / "surprisal.html"
    done = lmladder("score", TRANSFORMER, "--text", "Once u", "--html", path)
    done.failed_in_one_line(2, "6 tokens", "at most 5")
    assert not path.exists()


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([TRANSFORMER, "--text", "caf\u00e9"], ["the text", "U+00E9", "offset 3"]),
        ([TRANSFORMER, "--text", "a\udcff"], ["byte 0xff"]),
        ([TRANSFORMER, "--text", ""], ["the text is empty"]),
        ([TRANSFORMER, "nope.txt"], ["nope.txt"]),
        ([TRANSFORMER, "outputs"], ["outputs", "directory"]),
        ([TRANSFORMER, TRANSFORMER], [f"{TRANSFORMER}: unknown character"]),
        ([TRANSFORMER, "README.md", "--text", "a"], ["not both"]),
        ([TRANSFORMER, "--text", "a", "--past", "nope.txt"], ["nope.txt"]),
        ([TRANSFORMER, "--text", "a", "--past", "README.md"], ["README.md: unknown character"]),
        ([TRANSFORMER, "--text", "a", "--model", "nope"], ["'nope'", "transformer"]),
        ([COUNTS, "--text", "a", "--model", "nope"], ["'nope'", "trigram, kneser_ney_3"]),
        ([TRANSFORMER, "--text", "a", "--least-context", "1"], ["--least-context"]),
        ([TRANSFORMER, "--text", "a", "--least-context", "nan"], ["--least-context"]),
        (["nope.safetensors", "--text", "a"], ["nope.safetensors"]),
        (["dvc.yaml", "--text", "a"], ["dvc.yaml", "not a whole safetensors file"]),
        ([], ["'checkpoint'"]),
    ],
    ids=lambda value: ascii(" ".join(value)),
)
def test_what_cannot_be_scored_is_told_in_one_line(lmladder, arguments, named):
    done = lmladder("score", *arguments)
    done.failed_in_one_line(2, *named)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("data", "named"), [(b"", ["is empty"]), (b"On\xc3", ["byte 0xc3", "offset 2"])], ids=ascii
)
def test_a_standard_input_that_cannot_be_scored_is_told(lmladder, standard_input, data, named):
    standard_input(data)
    lmladder("score", TRANSFORMER).failed_in_one_line(2, "the standard input", *named)


def test_damaged_weights_are_told_in_one_line(smoke, lmladder, tmp_path):
    path = tmp_path / "nan.safetensors"
    found = Checkpoint.load(smoke / TRANSFORMER)
    broken = {name: array * np.float32(np.nan) for name, array in found.model.items()}
    replace(found, model=broken).save(path)
    lmladder("score", path, "--text", "Once").failed_in_one_line(1, "transformer", "damaged")


def test_a_page_that_cannot_be_written_is_told_in_one_line(lmladder, tmp_path):
    path = tmp_path / "nowhere" / "surprisal.html"
    done = lmladder("score", TRANSFORMER, "--text", "Once", "--html", path)
    done.failed_in_one_line(1, path)
