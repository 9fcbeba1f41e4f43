"""The documents tell the truth: their numbers are generated, what they name exists."""

import re
from pathlib import Path

from lmladder.reports.readme import main

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = list((ROOT / "docs").glob("*.md"))


def test_the_generated_parts_of_the_readme_are_those_of_the_committed_results() -> None:
    assert main(["--check", str(ROOT / "README.md")]) == 0


def test_the_pictures_that_the_readme_shows_are_committed() -> None:
    curves, page = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert (ROOT / curves).read_text(encoding="utf-8").startswith("<svg")
    assert (ROOT / page).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/{p.name}" for p in DOCS)])
def test_the_links_of_a_page_lead_to_files(page: str) -> None:
    path = ROOT / page
    targets = re.findall(r"[^!]\[[^]]*\]\(([^)h][^)]*)\)", path.read_text(encoding="utf-8"))
    assert targets
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_every_page_of_the_docs_is_linked_from_the_readme_and_its_paths_exist() -> None:
    for path in DOCS:
        assert f"(docs/{path.name})" in README
        named = re.findall(r"`((?:tests|src|examples)/[\w/.]+)`", path.read_text(encoding="utf-8"))
        assert [each for each in named if not (ROOT / each).exists()] == []
