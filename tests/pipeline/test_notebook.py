"""The notebook and docs/python.md."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.pages
def test_the_notebook_runs_and_its_results_are_those_that_it_shows(checkout):
    cells = json.loads((ROOT / "examples/notebook.ipynb").read_text())["cells"]
    cells = [each for each in cells if each["cell_type"] == "code"]
    printed = "".join("".join(out["text"]) for out in cells[-1]["outputs"])
    code = "\n".join("".join(each["source"]) for each in cells)
    found = checkout.run(sys.executable, "-c", code)
    assert found.stdout.endswith(printed)
    snippets = re.findall(r"```py\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.DOTALL)
    assert "\n".join(each.strip() for each in snippets) == code
