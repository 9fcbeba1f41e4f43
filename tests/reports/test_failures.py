"""docs/failures.md lists every message there is, with its meaning and a remedy."""

import re
from pathlib import Path

from lmladder.errors import InputError
from lmladder.reports.failures import SOURCE, Explanation, listing, main, messages

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs/failures.md"
WRITTEN = re.compile(r"\b(?:InputError|RunError)\(\s*(?:#.*\s*)?f?[\"']")


def test_the_page_is_that_of_the_source() -> None:
    assert main([str(PAGE), "--check"]) == 0


def test_every_message_in_the_source_is_found() -> None:
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert len(WRITTEN.findall(text)) == len(list(messages(text))), path


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("raise InputError('a | b')", [(2, "a | b")]),
        ("raise RunError(f'cannot write {self.path}: {error.strerror or error}')",
         [(1, "cannot write {path}: {strerror}")]),
        ("REMEDY = 'run it'\nx = InputError(f'no {name!r}; {REMEDY}')", [(2, "no {name}; run it")]),
        ("raise InputError(f'choose from {\", \".join(choices)}')", [(2, "choose from {choices}")]),
        ("raise InputError(f'of {len(tokens):,} in {sorted(MODELS)}')",
         [(2, "of {tokens} in {models}")]),
        ("raise InputError(f'{folder / \"a.csv\"} has {text.strip()!r} at {start + 1}')",
         [(2, "{a.csv} has {text} at {start}")]),
        ("raise InputError(f'{path} {\"is empty\" if empty else \"is blank\"}')",
         [(2, "{path} {is empty or is blank}")]),
        ("raise InputError(told)", []),
        ("raise ValueError('a mistake of ours')", []),
    ],
)  # fmt: skip
def test_values_stand_in_braces_by_their_names(
    source: str, expected: list[tuple[int, str]]
) -> None:
    assert list(messages(source)) == expected


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "text").mkdir()
    (tmp_path / "fine.py").write_text('"""Nothing fails here."""')
    (tmp_path / "text/read.py").write_text(
        '"""Reads."""\nInputError("a|b")\nInputError(f"no {x}; name {y}")\n'
        'RunError("c `d`; stop")\n'
    )
    return tmp_path


NO_X = Explanation(["no {x}; name {y}"], "There is none.")
OTHERS = Explanation(["a|b", "c `d`; stop"], "It is full.", "Make room.")


def test_a_module_has_its_own_table(source: Path) -> None:
    assert listing({"text/read.py": [NO_X, OTHERS]}, source).splitlines() == [
        "## text/read.py",
        "",
        "Reads.",
        "",
        "| exit | message | meaning | remedy |",
        "| --- | --- | --- | --- |",
        "| 2 | `no {x}; name {y}` | There is none. | Name `{y}`. |",
        r"| 2, 1 | `a\|b`<br>`` c `d`; stop `` | It is full. | Make room. |",
    ]


@pytest.mark.parametrize(
    ("explained", "told"),
    [
        ({}, "text/read.py has the message `a|b`, which is not explained"),
        ({"text/read.py": [NO_X]}, "text/read.py has the message `a|b`, which is not explained"),
        ({"text/read.py": [NO_X, OTHERS, OTHERS]},
         "text/read.py has its message `a|b` explained twice"),
        ({"text/read.py": [NO_X, OTHERS, Explanation(["e"], "It was.")]},
         "text/read.py has no message `e`, which is explained"),
        ({"text/read.py": [NO_X, OTHERS], "gone.py": [NO_X]},
         "gone.py has no message `no {x}; name {y}`, which is explained"),
        ({"text/read.py": [NO_X, Explanation(OTHERS.messages, "It is full.")]},
         "the message `a|b` ends with no remedy; give it one"),
    ],
)  # fmt: skip
def test_a_message_without_meaning_or_remedy_fails(
    explained: dict[str, list[Explanation]], told: str, source: Path
) -> None:
    with pytest.raises(InputError) as caught:
        listing(explained, source)
    assert str(caught.value) == told


def test_a_value_alone_is_no_remedy() -> None:
    with pytest.raises(InputError, match="ends with no remedy"):
        Explanation(["no {x}; {remedy}"], "There is none.").remedies()


@pytest.mark.parametrize("text", ["", "- a", "m.py: [{meaning: a, remedie: b}]", "a: [", "a: 1"])
def test_explanations_that_cannot_be_read_are_told_in_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "failures.yaml").write_text(text)
    assert main([str(tmp_path / "failures.md")]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: cannot read {tmp_path}")
    assert told.count("\n") == 1
