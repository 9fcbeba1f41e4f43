"""`lmladder inspect`: what a checkpoint holds, and figures of its model at a prompt."""

import json
import re
from dataclasses import replace

from lmladder.training.checkpoint import Checkpoint
from tests.reports.figures.reading import texts

import pytest

RUNGS = {"bigram": "counts", "mlp": "mlp", "transformer": "transformer"}
COUNTS, _, TRANSFORMER = (f"outputs/{rung}/checkpoint.safetensors" for rung in RUNGS)
PROMPT = "Once upon"


@pytest.fixture
def altered(smoke, tmp_path):
    """A copy of the Transformer's checkpoint with other fields."""

    def write(**changes):
        path = tmp_path / "altered.safetensors"
        replace(Checkpoint.load(smoke / TRANSFORMER), **changes).save(path)
        return path

    return write


@pytest.fixture
def inspect(lmladder):
    """What `lmladder inspect` prints."""
    return lambda *arguments: lmladder("inspect", *arguments).succeeded().stdout


@pytest.mark.parametrize("rung", RUNGS)
def test_all_facts_are_there_for_programs_and_the_modules_add_up(smoke, inspect, rung):
    path = smoke / f"outputs/{rung}/checkpoint.safetensors"
    held = Checkpoint.load(path)
    facts = json.loads(inspect(path.parent, "--json"))
    metrics = json.loads((smoke / f"outputs/{rung}/metrics.json").read_text())
    assert facts["kind"] == RUNGS[rung]
    assert facts["file_bytes"] == path.stat().st_size
    assert facts["config"] == held.config
    assert (facts["tokenizer"], facts["vocabulary_size"]) == ("char", held.vocabulary_size)
    assert facts["data_sha256"] == held.data_digest
    assert list(facts["models"]) == list(held.restore_models())
    modules = facts["modules"]
    for name, array in held.model.items():
        sizes = {"elements": array.size, "bytes": array.nbytes, "shape": list(array.shape)}
        assert modules[name] == sizes
    for name, module in modules.items():
        below = [part for other, part in modules.items() if other.rpartition(".")[0] == name]
        assert not below or sum(part["bytes"] for part in below) == module["bytes"]
    if rung == "bigram":
        assert (facts["last"], facts["best"], facts["optimizer_bytes"]) == (None, None, 0)
    else:
        assert facts["models"] == {rung: metrics["parameters"]}
        assert round(facts["last"]["val_loss"], 6) == metrics["val_loss"]
        assert facts["best"]["val_loss"] == min(row["val_loss"] for row in held.history)


def test_a_pipe_gets_plain_lines(inspect):
    output = inspect(TRANSFORMER)
    assert "\x1b" not in output
    assert all(line == line.rstrip() and len(line) <= 120 for line in output.splitlines())
    for pattern in (
        r"^architecture +n_layer 1, n_head 2, d_model 16,", r"^data sha256 +[0-9a-f]{64}$",
        r"^last +train [\d.]+, val [\d.]+ nats per token at step 8$", r"^best +train",
        r"^        query +weight 16 × 16, bias 16 +272 +1.1 kB$",
    ):  # fmt: skip
        assert re.search(pattern, output, re.MULTILINE), pattern


def test_blocks_that_are_alike_are_shown_once(smoke, inspect, altered):
    held = Checkpoint.load(smoke / TRANSFORMER)
    second = {name.replace("blocks.0", "blocks.1"): array for name, array in held.model.items()}
    path = altered(config=held.config | {"n_layer": 2}, model={**second, **held.model})
    output = inspect(path)
    assert output.count("attention_norm") == 1
    (both,) = re.findall(r"^  blocks +([\d,]+)", output, re.MULTILINE)
    (one,) = re.findall(r"^    0 to 1, each +([\d,]+)", output, re.MULTILINE)
    assert int(both.replace(",", "")) == 2 * int(one.replace(",", ""))


@pytest.mark.parametrize(
    "changes",
    [
        {"step": float("inf")},
        {"history": ({"step": 1, "train_loss": "a", "val_loss": 1.0},)},
        {"model": {}},
    ],
    ids=ascii,
)
def test_impossible_facts_are_one_line_and_no_text_controls_the_terminal(
    lmladder, inspect, altered, changes
):
    for how in ([], ["--json"]):
        lmladder("inspect", altered(**changes), *how).failed_in_one_line(2)
        output = inspect(altered(data_digest="\x1b[31mred\n\u202e"), *how)
        assert output.replace("\n", "").isprintable()


def test_the_attention_of_every_head_is_drawn(inspect, tmp_path):
    assert inspect(TRANSFORMER, "--attention", PROMPT, "-o", tmp_path / "a.svg") == ""
    shown = texts((tmp_path / "a.svg").read_text())
    assert {"Layer 1, head 1", "Layer 1, head 2"} <= set(shown)
    assert shown.count("␣") == 2 * 2  # one in the prompt; two maps, two axes


def test_what_follows_is_drawn_for_the_model_that_is_named_or_the_strongest(inspect, tmp_path):
    drawn = {}
    for model in ("uniform", "kneser_ney_3", None):
        path = tmp_path / f"{model}.svg"
        chosen = ["--model", model] if model else []
        inspect(COUNTS, "--next", PROMPT, "-o", path, *chosen)
        drawn[model] = texts(path.read_text())
    assert len(set(drawn["uniform"]) & {"↵", "␣", "!"}) == 3  # the first of equals
    assert drawn["uniform"] != drawn["kneser_ney_3"] == drawn[None]
