import hashlib
import os
from pathlib import Path

from lmladder.errors import InputError
from lmladder.text import Documents, cache_directory, load_corpus, read_text

import pytest

NAMES_SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"
GRAMMAR = """
lists: {}
variables: {}
rules:
  story: [the cat sat, the dog ran, the owl slept]
"""


def user_file(tmp_path, data, name="mine.txt"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def refusal(**arguments):
    """The one-line message with which `load_corpus` refuses these arguments."""
    with pytest.raises(InputError) as error:
        load_corpus(**arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_is_one_document_as_it_stands(tmp_path):
    path = user_file(tmp_path, "\ufeffd\u00e9j\u00e0\r\n\r\nvu\n".encode())
    corpus = load_corpus(corpus="file", path=path)
    assert (corpus.name, len(corpus), corpus.boundary) == ("mine.txt", 1, None)
    assert [*corpus] == [*corpus.pieces()] == ["\ufeffd\u00e9j\u00e0\r\n\r\nvu\n"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_each_line_that_is_not_blank_is_a_document(tmp_path, end):
    path = user_file(tmp_path, end.join([b"emma", b"", b" \t", b" ava ", b"mia"]))
    corpus = load_corpus(corpus="file", path=path, documents="lines")
    assert (corpus.name, len(corpus), corpus.boundary) == ("mine.txt", 3, "\n")
    assert [*corpus] == ["emma", " ava ", "mia"]
    assert [*corpus.pieces()] == ["emma\n ava \nmia\n"]


def test_only_newlines_end_a_line(tmp_path):
    path = user_file(tmp_path, "a\x0cb\x1cc\u2028d\x85e\nf".encode())
    corpus = load_corpus(corpus="file", path=path, documents="lines")
    assert [*corpus] == ["a\x0cb\x1cc\u2028d\x85e", "f"]


def test_characters_cut_a_whole_text(tmp_path):
    path = user_file(tmp_path, b"abcdef")
    assert [*load_corpus(corpus="file", path=path, characters=4)] == ["abcd"]
    assert [*load_corpus(corpus="file", path=path, characters=99)] == ["abcdef"]


@pytest.mark.parametrize(("characters", "expected"), [(1, 1), (5, 1), (8, 1), (9, 2), (99, 3)])
def test_characters_keep_whole_lines_that_fit_and_at_least_one(tmp_path, characters, expected):
    path = user_file(tmp_path, b"emma\nava\nmia\n")
    corpus = load_corpus(corpus="file", path=path, documents="lines", characters=characters)
    assert len(corpus) == expected


def test_bytes_that_are_not_utf8_are_kept(tmp_path):
    path = user_file(tmp_path, b"a\xff\xc3b")
    assert read_text(path).encode("utf-8", "surrogateescape") == b"a\xff\xc3b"


@pytest.mark.parametrize("documents", ["whole", "lines"])
@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "is empty"), (b" \r\n\t\n", "holds only white space")]
)
def test_a_blank_file_is_refused(tmp_path, data, reason, documents):
    path = user_file(tmp_path, data)
    assert f"{path} {reason}" in refusal(corpus="file", path=path, documents=documents)


def test_a_cut_to_white_space_is_refused(tmp_path):
    path = user_file(tmp_path, b"   abc")
    message = refusal(corpus="file", path=path, characters=3)
    assert "first 3 characters are white space" in message


def test_a_missing_file_is_refused(tmp_path):
    path = tmp_path / "missing.txt"
    assert f"no file {path}" in refusal(corpus="file", path=path)


def test_a_directory_is_refused(tmp_path):
    assert f"{tmp_path}: it is a directory" in refusal(corpus="file", path=tmp_path)


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in refusal(corpus="file", path=tmp_path / "pipe")


def test_an_unreadable_file_is_refused(tmp_path, monkeypatch):
    def denied(path, **how):
        raise PermissionError(13, "Permission denied")

    path = user_file(tmp_path, b"abc")
    monkeypatch.setattr(Path, "open", denied)  # root may read anything
    assert f"cannot read {path}: Permission denied" in refusal(corpus="file", path=path)


def test_an_unknown_corpus_is_refused_with_the_choices():
    message = refusal(corpus="tale")
    assert message == (
        "unknown corpus 'tale'; choose from ['file', 'names', 'shakespeare', 'tales']"
    )


def test_an_unknown_cut_is_refused_with_the_choices(tmp_path):
    path = user_file(tmp_path, b"abc")
    message = refusal(corpus="file", path=path, documents="words")
    assert message == "unknown documents 'words'; choose from ['lines', 'paragraphs', 'whole']"


@pytest.mark.parametrize(
    ("arguments", "lacking"),
    [
        ({"corpus": "file"}, "path"),
        ({"corpus": "names", "sha256": NAMES_SHA256}, "path"),
        ({"corpus": "names", "path": "names.txt"}, "sha256"),
        ({"corpus": "tales", "path": "grammar.yaml"}, "characters"),
        ({"corpus": "tales", "characters": 100}, "path"),
    ],
)
def test_an_argument_that_is_lacking_is_named(arguments, lacking):
    assert lacking in refusal(**arguments)


@pytest.mark.parametrize("corpus", ["file", "tales"])
def test_an_argument_without_effect_is_refused(corpus):
    assert "takes no url" in refusal(corpus=corpus, path="a.txt", url="https://example.org/a.txt")


def test_a_length_of_no_characters_is_refused(tmp_path):
    path = user_file(tmp_path, b"abc")
    assert "characters must be 1 or more" in refusal(corpus="file", path=path, characters=0)


def test_a_cached_file_is_read_without_a_network(tmp_path):
    path = user_file(tmp_path, b"emma\nava\n", "names.txt")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    corpus = load_corpus(
        corpus="names",
        path="names.txt",
        url="https://localhost:1/names.txt",
        sha256=sha256.upper(),
        documents="lines",
        cache=tmp_path,
    )
    assert (corpus.name, [*corpus]) == ("names", ["emma", "ava"])


def test_a_cached_file_of_another_content_is_refused_with_the_remedy(tmp_path):
    path = user_file(tmp_path, b"emma\n", "names.txt")
    message = refusal(corpus="names", path="names.txt", sha256=NAMES_SHA256, cache=tmp_path)
    found = hashlib.sha256(b"emma\n").hexdigest()[:12]
    assert message == (
        f"{path} has sha256 {found}, expected 0a30b5557f19; delete it to download it again"
    )


def test_a_file_of_another_content_is_refused_with_the_remedy(tmp_path):
    path = user_file(tmp_path, b"emma\n")
    message = refusal(corpus="file", path=path, sha256=NAMES_SHA256)
    assert message.endswith("give the new sha256 if the file has changed on purpose")


def test_a_missing_download_without_an_address_is_refused(tmp_path):
    message = refusal(corpus="names", path="names.txt", sha256=NAMES_SHA256, cache=tmp_path)
    assert "no url to download it from" in message


def test_downloads_lie_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("LMLADDER_DATA", "/somewhere")
    assert cache_directory() == Path("/somewhere")
    monkeypatch.setenv("LMLADDER_DATA", "")
    assert cache_directory() == Path("data")


def test_tales_come_with_the_nats_of_each_and_depend_on_the_seed_alone(tmp_path):
    path = user_file(tmp_path, GRAMMAR.encode(), "grammar.yaml")
    first, again, other = (
        load_corpus(corpus="tales", path=path, seed=seed, characters=200) for seed in (1, 1, 2)
    )
    assert ([*first], first.nats) == ([*again], again.nats)
    assert [*first] != [*other]
    assert first.nats is not None
    assert len(first.nats) == len(first) > 1


def test_a_corpus_keeps_its_own_promises():
    with pytest.raises(ValueError, match="at least one document"):
        Documents.of("none", ())
    with pytest.raises(ValueError, match="2 nats for 1 documents"):
        Documents.of("one", ("a",), (1.0, 2.0))


def test_the_real_names_are_32033_documents():
    if not (cache_directory() / "names.txt").exists():
        pytest.skip(f"names.txt is not in {cache_directory()} (see LMLADDER_DATA)")
    corpus = load_corpus(corpus="names", path="names.txt", sha256=NAMES_SHA256, documents="lines")
    assert len(corpus) == 32033
    assert set("".join(corpus.pieces())) == set("\nabcdefghijklmnopqrstuvwxyz")


def test_paragraphs_keep_their_lines_and_are_closed_by_the_record_separator(tmp_path):
    path = user_file(tmp_path, b"\n a b \r\nc\r\n\r\n \t\nd\n\n\ne\rf\n")
    corpus = load_corpus(corpus="file", path=path, documents="paragraphs")
    assert (len(corpus), corpus.boundary) == (3, "\x1e")
    assert [*corpus] == [" a b \r\nc", "d", "e\rf"]
    assert [*corpus.pieces()] == [" a b \r\nc\x1ed\x1ee\rf\x1e"]


@pytest.mark.parametrize(("characters", "expected"), [(1, 1), (11, 1), (12, 2), (99, 3)])
def test_characters_keep_whole_paragraphs_that_fit_and_at_least_one(tmp_path, characters, expected):
    path = user_file(tmp_path, b"emma\nava\n\nbo\n\nmia\nlea\n")
    corpus = load_corpus(corpus="file", path=path, documents="paragraphs", characters=characters)
    assert [*corpus] == ["emma\nava", "bo", "mia\nlea"][:expected]


def test_a_document_that_holds_the_boundary_is_refused_with_its_line(tmp_path):
    path = user_file(tmp_path, b"a\n\nb\nc\x1ed\n")
    message = refusal(corpus="file", path=path, documents="paragraphs")
    assert message == f"{path}: line 4 has the character U+001E, which is to close documents"
    assert len(load_corpus(corpus="file", path=path, documents="lines")) == 3
