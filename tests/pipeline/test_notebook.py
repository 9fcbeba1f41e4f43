"""The notebook has the results that its code gives."""

import json
import sys

from tests.pipeline.conftest import PROJECT, new_checkout

import pytest

NOTEBOOK = json.loads((PROJECT / "examples/notebook.ipynb").read_text(encoding="utf-8"))
CELLS = [each for each in NOTEBOOK["cells"] if each["cell_type"] == "code"]


@pytest.mark.pages
@pytest.mark.skipif(sys.platform != "linux", reason="other libraries round differently")
def test_the_notebook_runs_and_its_results_are_those_that_it_shows(tmp_path):
    printed = "".join(
        line
        for cell in CELLS
        for output in cell["outputs"]
        if output["output_type"] == "stream"
        for line in output["text"]
    )
    code = "\n".join("".join(cell["source"]) for cell in CELLS)
    results = printed[printed.index("**Test text") :]  # before are times
    done = new_checkout(tmp_path / "checkout").run(sys.executable, "-c", code).succeeded()
    assert results.count("\n") > 10
    assert done.stdout.endswith(results)
