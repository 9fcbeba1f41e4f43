"""The Python in the docs runs and prints what the page says."""

from pathlib import Path

from lmladder.autograd import OPS
from tests.snippets import updated

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_the_snippets_of_a_page_print_what_it_says(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OPS:  # a page may define ops of its own; this brings the old ones back
        monkeypatch.setitem(OPS, name, OPS[name])
    before = set(OPS)
    try:
        text = page.read_text(encoding="utf-8")
        assert updated(text) == text
    finally:
        for name in OPS.keys() - before:
            del OPS[name]
