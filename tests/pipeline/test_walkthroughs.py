"""The commands of the README and of the tutorial run, and print what these pages say."""

import re
import sys

from tests.walkthrough import PROJECT, STEP, matches, prepare_environment, steps, walk

import pytest

PAGES = {"README.md": "trained", "docs/tutorial.md": "clone"}  # the fixture in which each is run


@pytest.fixture
def trained(checkout):
    """A checkout with tiny settings by default, whose pipeline has run and is committed."""
    checkout.make_tiny_settings_the_default()
    checkout.commit()
    return checkout


@pytest.mark.pages
@pytest.mark.skipif(sys.platform != "linux", reason="other libraries round differently")
@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_page_print_what_it_says(request, name):
    page, start = (PROJECT / name).read_text(encoding="utf-8"), request.getfixturevalue(PAGES[name])
    prepare_environment(start.path)
    done = walk(page, start.path, start.environment)
    wrong = [f"$ {step.commands}{step.printed}" for step in done if not step.as_documented]
    assert not wrong, "\n".join(wrong)
    assert len(done) == len(steps(page))


@pytest.mark.parametrize("name", PAGES)
def test_no_command_or_output_of_a_page_is_overlooked(name):
    page = (PROJECT / name).read_text(encoding="utf-8")
    found = list(STEP.finditer(page))
    assert page.count("```console") == sum(step["language"] == "console" for step in found)
    assert page.count("```text") == sum(step["says"] is not None for step in found)
    marks = re.findall("<!-- (first|not run)", page)
    assert marks == [step["mark"] for step in found if step["mark"]]


def test_a_difference_between_a_page_and_what_is_printed_is_seen(tmp_path):
    assert matches("a …\n…\nend", "a 1\nb\nc\nend")
    assert not matches("a …\nend", "a 1\nb\nend")
    page = "```console\n{}\n```\n\n```text\n{}\n```\n"
    given = {("echo 1", "1"): True, ("echo 1", "2"): False, ("false", ""): False}
    for (command, says), right in given.items():
        (step,) = walk(page.format(command, says), tmp_path, {})
        assert step.as_documented == right
