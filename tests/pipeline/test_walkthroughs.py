"""The pages that lead through commands: each runs, and prints what the page says."""

from pathlib import Path

from lmladder.system import runtime
from tests.walkthrough import STEP, prepare_environment, walk

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("tutorial.md", "dvc.md", "comparing.md", "own-rung.md", "guests.md")


@pytest.mark.pages
@pytest.mark.skipif(not runtime.has_avx2(), reason="other vector instructions round differently")
@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_page_print_what_it_says(clone, name):
    page = (DOCS / name).read_text(encoding="utf-8")
    prepare_environment(clone.path)
    steps = walk(page, clone.path, clone.environment)
    wrong = [f"$ {step.commands}{step.printed}" for step in steps if not step.as_documented]
    assert not wrong, "\n".join(wrong)
    assert len(steps) == len(STEP.findall(page))


@pytest.mark.parametrize("name", PAGES)
def test_no_command_or_output_of_a_page_is_overlooked(name):
    page = (DOCS / name).read_text(encoding="utf-8")
    steps = list(STEP.finditer(page))
    assert page.count("```console") == len(steps)
    assert page.count("```text") == sum(step["says"] is not None for step in steps)
    assert page.count("```") == 2 * (page.count("```console") + page.count("```text"))
