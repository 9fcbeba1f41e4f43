import subprocess
import sys

from lmladder.reports import findings, to_csv, to_markdown, to_text
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


def test_generated_parts_are_replaced_and_the_rest_is_left_alone(readme, table):
    assert main([str(readme)]) == 0
    text = readme.read_text()
    assert to_markdown(table) in text
    assert findings(table) in text
    assert "An old table." not in text
    assert text.startswith("# lmladder\n\n<!-- generated: findings -->\n")
    assert "<!-- end generated -->\n\nTyped by hand.\n\n<!-- generated: samples -->\n" in text


def test_samples_stand_in_the_ladders_order(readme):
    main([str(readme)])
    text = readme.read_text()
    assert (
        "**Bigram**\n\n    Onthe wa\n\n"
        "**Kneser-Ney 5**\n\n    Once the miller\n\n"
        "**Transformer**\n\n    Once upon a time\n\n    there was\n"
    ) in text


def test_a_second_run_changes_nothing(readme):
    main([str(readme)])
    once = readme.read_bytes()
    assert main([str(readme)]) == 0
    assert main(["--check", str(readme)]) == 0
    assert readme.read_bytes() == once


def test_check_tells_of_a_stale_file_in_one_line_and_leaves_it_alone(readme, capsys):
    assert main(["--check", str(readme)]) == 1
    assert readme.read_text() == README
    assert capsys.readouterr().err.count("\n") == 1

    main([str(readme)])
    table = readme.parent / "outputs" / "evaluate" / "perplexity.csv"
    table.write_text(table.read_text().replace("256.000000", "255.000000"))
    assert main(["--check", str(readme)]) == 1


def test_a_sample_can_neither_end_its_block_nor_the_generated_part(readme):
    sample = "```\n<!-- end generated -->\n<!-- generated: table -->\n</pre>\x00" + "y" * 900
    write_samples(readme.parent / "outputs", {"transformer": sample})
    main([str(readme)])
    text = readme.read_text()
    assert "\n    <!-- end generated -->\n    <!-- generated: table -->\n    </pre>" in text
    assert "\x00" not in text
    assert "y" * 500 not in text
    assert main(["--check", str(readme)]) == 0


def test_files_that_are_no_text_are_shown_as_far_as_they_can_be(readme):
    path = readme.parent / "outputs" / "evaluate" / "samples.txt"
    path.write_bytes(b"== transformer ==\r\nOnce\xff upon\r\n")
    assert main([str(readme)]) == 0
    assert "    Once\N{REPLACEMENT CHARACTER} upon\n" in readme.read_text()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("no part at all", "each generated part needs"),
        ("<!-- generated: table -->\n", "each generated part needs"),
        ("<!-- generated: tables -->\n<!-- end generated -->\n", "unknown generated part 'tables'"),
        (README + "<!-- generated: table -->\n", "each generated part needs"),
    ],
)
def test_markers_that_do_not_fit_are_refused(readme, capsys, text, complaint):
    readme.write_text(text)
    assert main([str(readme)]) == 2
    message = capsys.readouterr().err
    assert complaint in message
    assert message.count("\n") == 1
    assert readme.read_text() == text


@pytest.mark.parametrize(
    "missing", ["README.md", "outputs/evaluate/perplexity.csv", "outputs/evaluate/samples.txt"]
)
def test_what_is_missing_is_named_in_one_line(readme, capsys, missing):
    (readme.parent / missing).unlink()
    assert main([str(readme)]) == 2
    message = capsys.readouterr().err
    assert missing in message
    assert message.count("\n") == 1


def test_it_is_a_command(readme):
    command = [sys.executable, "-m", "lmladder.reports.readme", "--check", str(readme)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.endswith(
        f"{readme} is stale; run: python -m lmladder.reports.readme {readme}\n"
    )


def test_a_marker_may_ask_for_some_of_the_splits_and_models(readme):
    parts = makers(readme.parent / "outputs")
    text = "<!-- generated: table test -->\n<!-- end generated -->\n"
    assert "Validation" not in regenerated(text, parts)
    text = "<!-- generated: samples transformer -->\n<!-- end generated -->\n"
    assert regenerated(text, parts).count("**") == 2


@pytest.mark.parametrize("part", ["table tests", "samples gpt"])
def test_a_marker_that_asks_for_what_there_is_not_is_refused(readme, part):
    text = f"<!-- generated: {part} -->\n<!-- end generated -->\n"
    with pytest.raises(InputError, match=f"asks for '{part.split()[1]}'; choose from"):
        regenerated(text, makers(readme.parent / "outputs"))


def test_parts_that_another_command_makes_are_left_alone():
    text = "<!-- generated: a -->\nold\n<!-- end generated -->\n" * 2
    text = text.replace(": a", ": b", 1)
    made = regenerated(text, {"a": lambda words: "new"}, others=["b"])
    assert made.count("old") == made.count("new") == 1
    assert made.index("old") < made.index("new")
