"""`lmladder inspect`: what a checkpoint contains."""

import json
import re
from dataclasses import replace

from lmladder.models import restore_models
from lmladder.training.checkpoint import Checkpoint

import pytest

TRANSFORMER = "outputs/transformer/checkpoint.safetensors"


@pytest.fixture
def altered(smoke, tmp_path):
    """A copy of the Transformer's checkpoint with other fields."""

    def write(**changes):
        path = tmp_path / "altered.safetensors"
        replace(Checkpoint.load(smoke / TRANSFORMER), **changes).save(path)
        return path

    return write


@pytest.mark.parametrize("rung", ["bigram", "transformer"])
def test_all_facts_are_there_for_programs(smoke, lmladder, rung):
    path = smoke / f"outputs/{rung}/checkpoint.safetensors"
    held = Checkpoint.load(path)
    facts = json.loads(lmladder("inspect", path.parent, "--json").succeeded().stdout)
    metrics = json.loads((smoke / f"outputs/{rung}/metrics.json").read_text())
    assert facts["kind"] == held.kind
    assert facts["file_bytes"] == path.stat().st_size
    assert facts["config"] == held.config
    assert (facts["tokenizer"], facts["vocabulary_size"]) == ("char", held.vocabulary_size)
    assert list(facts["models"]) == list(restore_models(held))
    for name, array in held.model.items():
        sizes = {"elements": array.size, "bytes": array.nbytes, "shape": list(array.shape)}
        assert facts["arrays"][name] == sizes
    if rung == "bigram":
        assert (facts["last"], facts["best"], facts["optimizer_bytes"]) == (None, None, 0)
    else:
        assert facts["models"] == {rung: metrics["parameters"]}
        assert round(facts["last"]["val_loss"], 6) == metrics["val_loss"]
        assert facts["best"]["val_loss"] == min(row["val_loss"] for row in held.history)


def test_arrays_of_equal_layers_are_one_line(smoke, lmladder, altered):
    held = Checkpoint.load(smoke / TRANSFORMER)
    second = {name.replace("blocks.0", "blocks.1"): array for name, array in held.model.items()}
    path = altered(config=held.config | {"n_layer": 2}, model={**second, **held.model})
    output = lmladder("inspect", path).succeeded().stdout
    line = r"^arrays\.blocks\.\*\.attention\.key\.weight +16 x 16 \(2 arrays\)$"
    assert re.search(line, output, re.MULTILINE)
    assert re.search(r"^config\.n_layer +2$", output, re.MULTILINE)


def test_missing_arrays_are_one_line_and_no_text_controls_the_terminal(lmladder, altered):
    for how in ([], ["--json"]):
        lmladder("inspect", altered(model={}), *how).failed_in_one_line(2)
        done = lmladder("inspect", altered(data_digest="\x1b[31mred\n\u202e"), *how)
        assert done.succeeded().stdout.replace("\n", "").isprintable()
