"""The generated parts of a README."""

from benchmarks.readme import main
from lmladder.reports import findings, seeds_grid
from lmladder.reports.seeds import evaluated, over_seeds

import pytest

README = """# lmladder

<!-- generated: findings second -->
<!-- end generated -->

<!-- generated: seeds first second -->
An old table.
<!-- end generated -->

Typed by hand.

<!-- generated: seeds first third -->
<!-- end generated -->
"""


@pytest.fixture
def readme(results):
    path = results.parent / "README.md"
    path.write_text(README)
    return path


def test_generated_parts_are_replaced_and_the_rest_is_left_alone(readme, results, capsys):
    assert main(["--check", str(readme)]) == 1
    assert f"python benchmarks/readme.py {readme}" in capsys.readouterr().err
    assert readme.read_text() == README
    assert main([str(readme)]) == 0
    text = readme.read_text()
    assert seeds_grid(results, ["first", "second"]).to_markdown() in text
    assert findings(over_seeds(evaluated(results / "second"))) in text
    assert "There are no results yet; run `make third`." in text
    assert "An old table." not in text
    assert "<!-- end generated -->\n\nTyped by hand.\n\n<!-- generated: seeds first third" in text
    assert main(["--check", str(readme)]) == 0
    assert readme.read_text() == text


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("<!-- generated: seeds -->\n", "generated part"),
        ("<!-- generated: tables -->\n<!-- end generated -->\n", "'tables'"),
        (None, "README.md"),
    ],
)
def test_a_file_without_matching_markers_is_rejected(readme, capsys, text, named):
    readme.unlink() if text is None else readme.write_text(text)
    assert main([str(readme)]) == 2
    message = capsys.readouterr().err
    assert named in message
    assert message.count("\n") == 1
