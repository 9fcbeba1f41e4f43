"""The generated parts of a README."""

from lmladder.reports import findings, ladder_grid, to_csv, to_text
from lmladder.reports.generated import regenerated
from lmladder.reports.readme import main, makers
from lmladder.system.errors import InputError

import pytest

README = """# lmladder

<!-- generated: findings -->
<!-- end generated -->

<!-- generated: table -->
An old table.
<!-- end generated -->

Typed by hand.

<!-- generated: samples -->
<!-- end generated -->
"""


def write_samples(outputs, samples):
    (outputs / "evaluate" / "samples.txt").write_text(to_text(samples))


@pytest.fixture
def readme(tmp_path, table):
    outputs = tmp_path / "outputs"
    (outputs / "evaluate").mkdir(parents=True)
    (outputs / "evaluate" / "perplexity.csv").write_text(to_csv(table))
    samples = {"transformer": "Once upon a time\n\nthere was", "bigram": "Onthe wa"}
    write_samples(outputs, {**samples, "kneser_ney_5": "Once the miller"})
    path = tmp_path / "README.md"
    path.write_text(README)
    return path


def one_line(capsys):
    """Return the error output, which must be one line."""
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


def test_generated_parts_are_replaced_and_the_rest_is_left_alone(readme, table):
    assert main([str(readme)]) == 0
    text = readme.read_text()
    assert ladder_grid(table).to_markdown() in text
    assert findings(table) in text
    assert "An old table." not in text
    assert text.startswith("# lmladder\n\n<!-- generated: findings -->\n")
    assert "<!-- end generated -->\n\nTyped by hand.\n\n<!-- generated: samples -->\n" in text
    assert (
        "**Bigram**\n\n    Onthe wa\n\n"
        "**Kneser-Ney 5**\n\n    Once the miller\n\n"
        "**Transformer**\n\n    Once upon a time\n\n    there was\n"
    ) in text  # in the order of the ladder
    assert main([str(readme)]) == 0
    assert main(["--check", str(readme)]) == 0
    assert readme.read_text() == text


def test_check_reports_a_stale_file_and_does_not_change_it(readme, capsys):
    assert main(["--check", str(readme)]) == 1
    assert readme.read_text() == README
    assert f"python -m lmladder.reports.readme {readme}" in one_line(capsys)


def test_a_sample_can_end_neither_its_block_nor_the_generated_part(readme):
    sample = "```\n<!-- end generated -->\n<!-- generated: table -->\n</pre>\x00" + "y" * 900
    write_samples(readme.parent / "outputs", {"transformer": sample})
    main([str(readme)])
    text = readme.read_text()
    assert "\n    <!-- end generated -->\n    <!-- generated: table -->\n    </pre>" in text
    assert "\x00" not in text
    assert "y" * 500 not in text
    assert main(["--check", str(readme)]) == 0


@pytest.mark.parametrize(
    "text",
    [
        "<!-- generated: table -->\n",
        "<!-- generated: tables -->\n<!-- end generated -->\n",
        README + "<!-- generated: table -->\n",
    ],
)
def test_markers_that_do_not_match_are_rejected(readme, capsys, text):
    readme.write_text(text)
    assert main([str(readme)]) == 2
    assert ("'tables'" if "tables" in text else "generated part") in one_line(capsys)
    assert readme.read_text() == text


@pytest.mark.parametrize("missing", ["README.md", "outputs/evaluate/samples.txt"])
def test_a_missing_file_is_named_in_one_line(readme, capsys, missing):
    (readme.parent / missing).unlink()
    assert main([str(readme)]) == 2
    assert missing in one_line(capsys)


def test_a_marker_may_name_models(readme):
    parts = makers(readme.parent / "outputs")
    text = "<!-- generated: {} -->\n<!-- end generated -->\n"
    assert regenerated(text.format("samples transformer"), parts).count("**") == 2
    with pytest.raises(InputError, match="'gpt'; choose from"):
        regenerated(text.format("samples gpt"), parts)
