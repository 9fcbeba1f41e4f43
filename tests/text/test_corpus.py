import re
from itertools import zip_longest

from lmladder.text import Documents, LongText, text_from_bytes
from lmladder.text import corpus as module

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

same_examples = settings(
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Whole and broken UTF-8, and every kind of white space and end of line.
PARTS = [
    b"a", b"bc ", "\u00e9".encode(), "\u732b".encode(), "\U0001f408".encode(), b"\xc3", b"\xff",
    b"\xf0\x9f", b"\n", b"\r", b"\r\n", b" ", b"\t", b"\x0c", b"\x1c", "\u2028".encode(),
    "\x85".encode(), "\u00a0".encode(), "\ufeff".encode(),
]  # fmt: skip
any_bytes = (
    st.lists(st.sampled_from(PARTS))
    .map(b"".join)
    .filter(lambda data: text_from_bytes(data).strip())
)


@pytest.fixture(autouse=True)
def tiny_pieces(monkeypatch):
    """So that every border between two pieces is tried."""
    monkeypatch.setattr(module, "PIECE_CHARACTERS", 3)


@same_examples
@given(data=any_bytes, characters=st.none() | st.integers(1, 9))
def test_a_long_text_is_what_its_bytes_are_read_as_whole(tmp_path, data, characters):
    path = tmp_path / "text"
    path.write_bytes(data)
    expected = text_from_bytes(data)[:characters]
    if not expected.strip():
        return
    text = LongText.from_file("text", path, characters)
    assert [*text] == [expected]
    assert text.characters == len(expected)
    assert all(len(piece) <= 3 for piece in text.pieces())


@same_examples
@given(data=any_bytes, cuts=st.tuples(st.integers(0, 10), st.integers(0, 10)).map(sorted))
def test_the_parts_of_a_long_text_are_it_in_order(tmp_path, data, cuts):
    path = tmp_path / "text"
    path.write_bytes(data * 10)  # so that no part that should have text is without
    train, val = cuts[0] / 10, (cuts[1] - cuts[0]) / 10
    parts = LongText.from_file("text", path).split(
        train=train, val=val, test=(10 - cuts[1]) / 10, seed=0
    )
    text = text_from_bytes(data * 10)
    found = ["".join(part.pieces()) for part in parts.values()]
    assert "".join(found) == text
    assert len(found[0]) == len(text) * cuts[0] // 10
    assert [part.documents for part in parts.values()] == [min(1, len(each)) for each in found]


@same_examples
@given(data=any_bytes)
def test_paragraphs_are_the_runs_of_lines_that_are_not_blank(tmp_path, data):
    path = tmp_path / "text"
    path.write_bytes(data)
    lines = re.split("(\r\n|\r|\n)", text_from_bytes(data))
    runs = [""]
    for text, newline in zip_longest(lines[::2], lines[1::2], fillvalue=""):
        if text.strip():
            runs[-1] += text + newline
        elif runs[-1]:
            runs.append("")
    expected = [re.sub(r"(\r\n|\r|\n)\Z", "", run) for run in runs if run]
    assert [*Documents.from_paragraphs("text", path)] == expected


@same_examples
@given(data=any_bytes, characters=st.none() | st.integers(1, 9), order=st.randoms())
def test_lines_are_those_that_the_whole_text_is_split_into(tmp_path, data, characters, order):
    path = tmp_path / "text"
    path.write_bytes(data)
    lines = [line for line in re.split("\r\n|\r|\n", text_from_bytes(data)) if line.strip()]
    if characters is not None:
        fit = [n for n in range(len(lines)) if sum(map(len, lines[: n + 1])) + n + 1 <= characters]
        lines = lines[: max(1, len(fit))]
    found = Documents.from_lines("text", path, characters)
    assert [*found] == lines
    assert "".join(found.pieces()) == "".join(line + "\n" for line in lines)
    numbers = order.choices(range(len(lines)), k=5)
    assert [*found.read(numbers)] == [lines[i] for i in numbers]
