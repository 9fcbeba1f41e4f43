"""Text in pieces: where it is cut, and how much work and memory that takes."""

import re

from lmladder.data import bytes_from_text, reading, text_from_bytes
from lmladder.data.reading import chunks, read_json
from lmladder.system.errors import InputError

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

same_examples = settings(
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SIZE = 6
UNBROKEN = ["abcdefg", ".", " ", "don't", "\udcff"]


@pytest.fixture
def small(monkeypatch):
    """So that short texts have many chunks."""
    monkeypatch.setattr(reading, "CHUNK_CHARACTERS", SIZE)


@same_examples
@given(pieces=st.lists(st.text("ab.,' \n\t\u732b\udcff", max_size=20)))
def test_chunks_depend_on_the_text_alone(small, pieces):
    text = "".join(pieces)
    found = [*chunks(pieces)]
    assert found == [*chunks([text])] == [*chunks([*text])]
    assert "".join(found) == text
    assert all(0 < len(chunk) <= SIZE for chunk in found)


def test_a_chunk_ends_where_no_token_crosses(small):
    for first, rest in [
        *(("cat ", ""), ("a cat", " ran"), ("a\ncats", " ran"), ("a", "  cats")),
        *(("cat", "\u00a0cats"), ("cat", ",cats"), ("don't", "!!!!"), ("can't", ".don't")),
        *(("abcdef", "gh"), ("it''s'", "'it"), ("      ", "a")),
    ]:
        assert next(chunks([first + rest])) == first


@pytest.mark.parametrize("unit", UNBROKEN, ids=repr)
def test_the_work_of_cutting_is_linear_in_the_text(monkeypatch, unit):
    """Work is the number of characters that patterns read."""
    work = []

    class Counted:
        def __init__(self, pattern):
            self.pattern = pattern

        def match(self, text, start, stop):
            work.append(stop - start)
            return self.pattern.match(text, start, stop)

    monkeypatch.setattr(reading, "CUTS", [Counted(pattern) for pattern in reading.CUTS])
    for n_pieces in (10, 40):
        work.clear()
        length = sum(map(len, chunks(unit * (10_000 // len(unit)) for _ in range(n_pieces))))
        assert sum(work) < 2.1 * length


def test_bytes_that_are_not_utf8_are_kept():
    assert bytes_from_text(text_from_bytes(b"a\xff\xc3b")) == b"a\xff\xc3b"


def test_what_is_not_a_json_object_is_rejected(tmp_path):
    path = tmp_path / "fields.json"
    cases = {
        "is not valid JSON": (b"", b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, b'{"a": 1e'),
        "must contain a JSON object": (b"[]", b"1", b"null"),
    }
    for message, contents in cases.items():
        for content in contents:
            path.write_bytes(content)
            with pytest.raises(InputError, match=f"^{re.escape(str(path))}.*{message}"):
                read_json(path)
