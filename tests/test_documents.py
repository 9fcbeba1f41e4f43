"""Documents: generated parts are those of the results, and what they name exists."""

import re
from pathlib import Path

from benchmarks.readme import main

import pytest

ROOT = Path(__file__).parent.parent
DOCS = list((ROOT / "docs").glob("*.md"))


RECORDS = list((ROOT / "results").glob("*/seed*/outputs/evaluate/scores.json"))


@pytest.mark.skipif(not RECORDS, reason="`make results` has not been run with this version")
def test_the_generated_parts_of_the_readme_are_those_of_the_committed_results() -> None:
    assert main(["--check", str(ROOT / "README.md")]) == 0


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/{p.name}" for p in DOCS)])
def test_what_a_page_links_or_names_exists(page: str) -> None:
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)", text)
    named = re.findall(r"`((?:tests|src|examples)/[\w/.]+)`", text)
    assert [each for each in targets if not (path.parent / each).exists()] == []
    assert [each for each in named if not (ROOT / each).exists()] == []
