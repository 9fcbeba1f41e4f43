"""Corpora from a grammar, a file or a download: documents, splits, and what is rejected."""

import hashlib
import itertools
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from lmladder.data import (
    SPLITS,
    AnyCorpus,
    Corpus,
    cache_directory,
    read_text,
    text_from_bytes,
)
from lmladder.data.corpus import spans
from lmladder.system.errors import InputError, RunError
from lmladder.system.settings import validate
from tests.data.examples import split_settings

import pytest

DATA = bytes(range(14, 256)) * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


def user_file(tmp_path, data, name="mine.txt"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def load(corpus="file", **given):
    """Return the corpus of these settings, checked as the settings of a stage are."""
    fields = {"seed": 0, "split": {"train": 0.8, "val": 0.1, "test": 0.1}, "prompt": None}
    if corpus != "tales":
        fields |= {"documents": "whole", "characters": None}
    fields |= {"corpus": corpus, **given}
    fields["path"] = str(fields["path"])
    return validate(AnyCorpus, fields, "data").load()


def rejection(kind=InputError, **given):
    """Return the one-line message with which these settings are rejected."""
    with pytest.raises(kind) as error:
        load(**given)
    return str(error.value)


def texts_of(corpus, train=0.8, val=0.1, test=0.1, seed=0):
    """Return the text of each split."""
    parts = corpus.split(split_settings(train, val, test), seed)
    assert tuple(parts) == SPLITS
    return ["".join(part.pieces()) for part in parts.values()]


# --- Documents ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("documents", "separator", "texts"),
    [
        ("whole", None, ["a b \nc\n\nd\n"]),
        ("lines", "\n", ["a b ", "c", "d"]),
        ("paragraphs", "\x1e", ["a b \nc", "d"]),
    ],
)
def test_a_separator_ends_each_document_whatever_ends_the_lines(
    tmp_path, capsys, documents, separator, texts
):
    for newline, mark in itertools.product((b"\n", b"\r\n", b"\r"), (b"", b"\xef\xbb\xbf")):
        data = mark + b"a b \nc\n\nd\n".replace(b"\n", newline)
        path = user_file(tmp_path, data)
        corpus = load(path=path, documents=documents)
        assert (corpus.name, corpus.separator, corpus.texts) == ("mine.txt", separator, texts)
        assert [*corpus.pieces()] == [each + (separator or "") for each in texts]
        removed = ["a byte order mark"] if mark else []
        removed += ["carriage returns"] if newline != b"\n" else []
        note = f"note: {path}: removed {' and '.join(removed)}\n" if removed else ""
        assert capsys.readouterr().err == note
    assert read_text(path) == "a b \nc\n\nd\n"


def test_the_documents_are_as_many_as_fit(tmp_path):
    path = user_file(tmp_path, b"a b \nc\n\nd\n")
    for characters, count in {1: 1, 8: 1, 9: 2, 99: 2}.items():
        corpus = load(path=path, documents="paragraphs", characters=characters)
        assert len(corpus.texts) == count
    assert load(path=path, characters=3).texts == ["a b"]


# --- Splits ---------------------------------------------------------------------------------------


def test_the_splits_of_a_long_text_are_the_text_in_order():
    text = "".join(map(chr, range(60, 161)))
    found = texts_of(Corpus("", [text]), 0.5, 0.3, 0.2)
    assert "".join(found) == text
    assert [*map(len, found)] == [50, 30, 21]


def test_the_seed_determines_the_shuffle_of_documents():
    corpus = Corpus("numbers", [*map(str, range(100))], "\n", [*range(100)])
    first, again, other = (texts_of(corpus, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert [text.count("\n") for text in first] == [80, 10, 10]
    order = [int(line) for text in first for line in text.split()]
    assert sorted(order) == list(range(100)) != order
    parts = corpus.split(split_settings(0.8, 0.1, 0.1), 1).values()
    assert [each for part in parts for each in part.nll] == order


def test_cuts_are_where_decimal_fractions_place_them_and_leave_no_split_empty():
    for count, fractions, expected in [
        (1_115_394, (0.9, 0.1, 0.0), (1_003_854, 111_540, 0)),
        (10, (0.7, 0.1, 0.2), (7, 1, 2)),  # 0.7 + 0.1 is less than 0.8 in floats
        (10, (1 / 3, 2 / 3, 0), (3, 7, 0)),  # these sum to less than 1 in floats
    ]:
        found = spans(count, split_settings(*fractions), unit="characters")
        assert tuple(span.stop - span.start for span in found.values()) == expected
    for fractions, message in [
        ((0.8, 0.1, 0.1), "split 'val' is empty: a fraction of 0.1 of 5 documents is"),
        ((0.9, 0.2, 0), r"data\.split: it must sum to 1, got 0\.9"),
        ((1.1, -0.1, 0), r"data\.split\.val must be more than 0, got -0\.1"),
    ]:
        with pytest.raises(InputError, match=message):
            texts_of(Corpus("", [*"abcde"], "\n"), *fractions)


# --- Files and settings that are rejected ---------------------------------------------------------


def test_a_file_without_text_or_with_its_own_separators_is_rejected(tmp_path):
    path = user_file(tmp_path, b"")
    os.mkfifo(tmp_path / "pipe")  # which must not block
    for data, settings, reason in [
        (b"\xef\xbb\xbf", {}, f"{path} has no text"),
        (b" \r\n\t\n", {"documents": "lines"}, f"{path} has no text"),
        (b"   abc", {"characters": 3}, f"{path} has no text"),
        (b"a\x1eb", {"documents": "paragraphs"}, f"{path} has the character U+001E, which must"),
        (b"", {"path": tmp_path / "missing.txt"}, f"there is no file {tmp_path / 'missing.txt'}"),
        (b"", {"path": path / "below"}, f"cannot read {path / 'below'}: Not a directory"),
        (b"", {"path": tmp_path}, f"cannot read {tmp_path}: it is not a"),
        (b"", {"path": tmp_path / "pipe"}, f"cannot read {tmp_path / 'pipe'}: it is not a"),
    ]:
        path.write_bytes(data)
        assert rejection(**{"path": path, **settings}).startswith(reason)


# --- Downloads ------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """A server on this machine that sends `data`."""

    daemon_threads = True
    data = DATA
    requests = 0


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(server.data)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLADDER_DATA", str(tmp_path / "deep/cache"))
    return cache_directory()


@pytest.fixture
def download(server, cache):
    """Settings of a corpus on the server."""
    url = f"http://127.0.0.1:{server.server_port}/text.txt"
    return {"corpus": "download", "path": "text.txt", "url": url, "sha256": SHA256.upper()}


def test_a_download_is_made_once(server, download, cache, capsys):
    for _ in range(2):
        corpus = load(**download)
        assert (corpus.name, *corpus.texts) == ("text.txt", text_from_bytes(DATA))
    assert os.listdir(cache) == ["text.txt"]
    (line,) = capsys.readouterr().err.splitlines()
    assert download["url"] in line
    assert server.requests == 1


def test_a_download_that_fails_is_explained_and_leaves_no_file(server, download, cache):
    server.data = DATA[::-1]
    message = rejection(RunError, **download)
    assert message.startswith(f"cannot download {download['url']} to {cache / 'text.txt'}: ")
    assert "does not match the known hash" in message
    assert os.listdir(cache) == []
