"""docs/failures.md lists every message there is."""

import re
from pathlib import Path

from lmladder.reports.failures import SOURCE, listing, main, messages

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
        ("raise InputError(told)", []),
        ("raise ValueError('a mistake of ours')", []),
    ],
)  # fmt: skip
def test_values_stand_in_braces_by_their_names(
    source: str, expected: list[tuple[int, str]]
) -> None:
    assert list(messages(source)) == expected


def test_a_module_has_its_own_table(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "fine.py").write_text('"""Nothing fails here."""')
    (tmp_path / "text/read.py").write_text('"""Reads."""\nInputError("a|b")\nRunError("c `d`")\n')
    assert listing(tmp_path).splitlines() == [
        "## text/read.py",
        "",
        "Reads.",
        "",
        "| exit | message |",
        "| --- | --- |",
        r"| 2 | `a\|b` |",
        "| 1 | `` c `d` `` |",
    ]
