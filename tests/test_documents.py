"""The documents tell the truth: their numbers are generated, what they name exists."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from lmladder.autograd.cases import CASES
from lmladder.nn import ACTIVATIONS
from lmladder.reports.readme import main

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = list((ROOT / "docs").glob("*.md"))


def test_the_generated_parts_of_the_readme_are_those_of_the_committed_results() -> None:
    assert main(["--check", str(ROOT / "README.md")]) == 0


@pytest.mark.parametrize(
    "command",
    [
        ("presets.py", "--check", "docs/presets.md"),
        ("compare.py", "--told-by", "benchmarks/compare.jsonl", "--check", "docs/performance.md"),
    ],
)
def test_tables_of_the_docs_are_those_of_what_was_measured(command: tuple[str, ...]) -> None:
    script, *options = command
    arguments = [sys.executable, f"benchmarks/{script}", *options]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_loss_curves_that_the_readme_shows_are_committed() -> None:
    (picture,) = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert (ROOT / picture).read_text(encoding="utf-8").startswith("<svg")


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


@pytest.mark.parametrize("group", ["data", "tokenizer", "optimizer", "schedule", "experiment"])
def test_the_readme_lists_every_choice_of_a_group(group: str) -> None:
    (row,) = re.findall(rf"^\| `{group}(?:@[^|]*)?` \|(.*)\|$", README, re.MULTILINE)
    choices = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}
    assert choices == set(re.findall(r"`(\w+)`", row))


def test_every_path_in_the_readmes_tree_exists() -> None:
    (tree,) = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    named = re.findall(r"^(\s*)([\w./]+)", tree, re.MULTILINE)
    missing = [
        path
        for indent, path in named
        if not (ROOT / ("src/lmladder/" if indent else "") / path).exists()
    ]
    assert missing == []


def test_the_parity_table_has_every_row_and_no_difference_beyond_its_limit() -> None:
    """PyTorch itself need not be installed here; tests/autograd/test_parity.py asks it."""
    page = (ROOT / "docs/proof.md").read_text(encoding="utf-8")
    (part,) = re.findall(r"generated: parity -->(.*?)<!--", page, re.DOTALL)
    row = r"^\| (`\w+`|\w+, \w+) \| ([\d,]+) \| (\S+) \| (\S+) \|$"
    rows = re.findall(row, part, re.MULTILINE)
    counts = Counter(f"`{case.op}`" for case in CASES)
    assert {name: int(count) for name, count, *_ in rows if "`" in name} == counts
    assert {name for name, *_ in rows if "`" not in name} == {
        *(f"{rung}, {name}" for rung in ("transformer", "mlp") for name in ACTIVATIONS),
        *("transformer, modern", "transformer, bare", "mlp, rnn", "mlp, gru"),
    }
    assert all(float(number) < 1e-10 for row in rows for number in row[2:])
