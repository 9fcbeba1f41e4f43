"""`lmladder inspect`: what a checkpoint holds, and pictures of its model at a prompt."""

import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

from lmladder.checkpoint import Checkpoint

import numpy as np
import pytest

RUNGS = ("bigram", "mlp", "transformer")
CHECKPOINTS = {rung: f"outputs/{rung}/checkpoint.safetensors" for rung in RUNGS}
COUNTS, MLP, TRANSFORMER = CHECKPOINTS.values()
PROMPT = "Once upon"


@pytest.fixture
def altered(smoke, tmp_path):
    """A copy of the Transformer's checkpoint with other fields."""

    def write(**changes):
        path = tmp_path / "altered.safetensors"
        replace(Checkpoint.load(smoke / TRANSFORMER), **changes).save(path)
        return path

    return write


@pytest.mark.parametrize("rung", RUNGS)
def test_all_that_a_program_may_ask_is_told(smoke, lmladder, rung):
    path = smoke / CHECKPOINTS[rung]
    held = Checkpoint.load(path)
    told = json.loads(lmladder("inspect", path, "--json").succeeded().stdout)
    metrics = json.loads((smoke / f"outputs/{rung}/metrics.json").read_text())
    assert told["kind"] == rung
    assert told["file_bytes"] == path.stat().st_size
    assert told["config"] == held.config
    assert told["architecture"].items() <= held.config.items()
    assert (told["tokenizer"], told["vocabulary_size"]) == ("char", held.vocabulary_size)
    assert (told["data_sha256"], told["code_sha256"]) == (held.data_digest, held.code_digest)
    assert (told["seed"], told["step"]) == (held.seed, held.step)
    assert list(told["models"]) == list(held.restore_models())
    for name, array in held.model.items():
        module = told["modules"][name]
        assert module == {
            "numbers": array.size, "bytes": array.nbytes, "shape": list(array.shape)
        }  # fmt: skip
    if rung == "bigram":
        assert (told["last"], told["best"], told["optimizer_bytes"]) == (None, None, 0)
    else:
        assert told["models"] == {rung: metrics["parameters"]}
        assert told["optimizer_bytes"] > 0
        assert round(told["last"]["val_nats"], 6) == metrics["val_nats"]
        best = min(row["val_nats"] for row in held.history)
        assert told["best"]["val_nats"] == best


def test_the_modules_add_up(lmladder):
    told = json.loads(lmladder("inspect", TRANSFORMER, "--json").succeeded().stdout)
    for name, module in told["modules"].items():
        below = [
            part["numbers"]
            for other, part in told["modules"].items()
            if other.rpartition(".")[0] == name
        ]
        assert bool(below) == (module["shape"] is None)
        assert not below or sum(below) == module["numbers"]


def test_a_pipe_gets_plain_lines(lmladder):
    output = lmladder("inspect", TRANSFORMER).succeeded().stdout
    assert "\x1b" not in output
    assert all(line == line.rstrip() and len(line) <= 120 for line in output.splitlines())
    for pattern in (
        r"^kind +transformer$", r"^architecture +n_layer 1, n_head 2, d_model 16,",
        r"^tokenizer +char, \d+ tokens$", r"^seed +0$", r"^step +8$",
        r"^last +train [\d.]+, val [\d.]+ nats per token at step 8$", r"^best +train",
        r"^data sha256 +[0-9a-f]{64}$", r"^code sha256 +[0-9a-f]{64}$", r"^file +[\d.]+ kB$",
        r"^transformer +[\d,]+ +[\d.]+ kB$", r"^      attention_norm +weight 16, bias 16 +32",
        r"^        query +weight 16 × 16, bias 16 +272 +1.1 kB$",
    ):  # fmt: skip
        assert re.search(pattern, output, re.MULTILINE), pattern


def test_a_terminal_gets_colour_and_lines_that_fit(lmladder, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "64")
    monkeypatch.delenv("NO_COLOR", raising=False)
    output = lmladder("inspect", TRANSFORMER).succeeded().stdout
    assert "\x1b[" in output
    plain = re.sub(r"\x1b\[[\d;]*m", "", output)
    assert max(map(len, plain.splitlines())) <= 64


def test_blocks_that_are_alike_are_told_once(smoke, lmladder, altered):
    held = Checkpoint.load(smoke / TRANSFORMER)
    second = {
        name.replace("blocks.0", "blocks.1"): array
        for name, array in held.model.items()
        if name.startswith("blocks.0")
    }
    path = altered(config=held.config | {"n_layer": 2}, model={**held.model, **second})
    output = lmladder("inspect", path).succeeded().stdout
    assert output.count("attention_norm") == 1
    (both,) = re.findall(r"^  blocks +([\d,]+)", output, re.MULTILINE)
    (one,) = re.findall(r"^    0 to 1, each +([\d,]+)", output, re.MULTILINE)
    assert int(both.replace(",", "")) == 2 * int(one.replace(",", ""))


def test_a_run_that_has_not_begun_has_no_scores(lmladder, altered):
    output = lmladder("inspect", altered(history=(), step=0)).succeeded().stdout
    assert "last" not in output
    assert "best" not in output


def test_the_best_score_is_told_with_its_step(lmladder, altered):
    rows = [(0, None, 4.0), (5, 3.0, 2.5), (9, 2.0, 2.75), (10, float("inf"), float("nan"))]
    history = tuple(
        {"step": step, "train_nats": train, "val_nats": val} for step, train, val in rows
    )
    path = altered(history=history)
    output = lmladder("inspect", path).succeeded().stdout
    assert re.search(r"^best +train 3.0000, val 2.5000 nats per token at step 5$", output, re.M)
    told = json.loads(lmladder("inspect", path, "--json").succeeded().stdout)
    assert told["last"] == {"step": 10, "train_nats": None, "val_nats": None}


# --- Pictures -------------------------------------------------------------------------------------


def texts(path):
    elements = ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(element.itertext()) for element in elements]


@pytest.mark.parametrize("picture", ["--attention", "--next"])
def test_a_picture_is_written_and_is_the_same_bytes_again(lmladder, tmp_path, picture):
    path = tmp_path / "picture.svg"
    made = []
    for _ in range(2):
        done = lmladder("inspect", TRANSFORMER, picture, PROMPT, "-o", path)
        assert done.succeeded().stdout == ""
        made.append(path.read_bytes())
    assert made[0] == made[1]
    assert made[0].startswith(b"<svg")


def test_the_attention_of_every_head_is_drawn(lmladder, tmp_path):
    path = tmp_path / "attention.svg"
    lmladder("inspect", TRANSFORMER, "--attention", PROMPT, "-o", path).succeeded()
    shown = texts(path)
    assert {"Layer 1, head 1", "Layer 1, head 2"} <= set(shown)
    assert shown.count("␣") == 2 * 2  # one in the prompt; two maps, two axes


def test_what_follows_is_drawn_for_the_model_that_is_named(lmladder, tmp_path):
    drawn = {}
    for model in ("uniform", "trigram"):
        path = tmp_path / f"{model}.svg"
        how = ("--next", PROMPT, "-o", path, "--model", model)
        lmladder("inspect", COUNTS, *how).succeeded()
        drawn[model] = texts(path)
    assert len(set(drawn["uniform"]) & {"↵", "␣", "!"}) == 3  # the first of equals
    assert drawn["uniform"] != drawn["trigram"]
    lmladder("inspect", COUNTS, "--next", PROMPT, "-o", tmp_path / "strongest.svg").succeeded()


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nope.safetensors"], ["nope.safetensors"]),
        (["outputs"], ["outputs"]),
        (["dvc.yaml"], ["dvc.yaml", "not a whole safetensors file"]),
        ([], ["'checkpoint'"]),
        ([MLP, "--attention", PROMPT, "-o", "x.svg"], ["only a Transformer has attention"]),
        ([COUNTS, "--attention", PROMPT, "-o", "x.svg"], ["only a Transformer has attention"]),
        ([TRANSFORMER, "--attention", "", "-o", "x.svg"], ["prompt is empty"]),
        ([TRANSFORMER, "--next", "", "-o", "x.svg"], ["prompt is empty"]),
        ([TRANSFORMER, "--attention", "caf\u00e9", "-o", "x.svg"], ["U+00E9", "offset 3"]),
        ([TRANSFORMER, "--attention", "a" * 33, "-o", "x.svg"], ["33 tokens", "32"]),
        ([TRANSFORMER, "--attention", "a" * 65, "-o", "x.svg"], ["65 tokens", "64"]),
        ([TRANSFORMER, "--next", "a"], ["-o FILE"]),
        ([TRANSFORMER, "--next", "a", "-o", "x.svg", "--json"], ["--json"]),
        ([TRANSFORMER, "--next", "a", "-o", "x.pdf"], ["x.pdf", ".svg or .png"]),
        ([TRANSFORMER, "-o", "x.svg"], ["--attention or --next"]),
        ([TRANSFORMER, "--model", "transformer"], ["--attention or --next"]),
        ([TRANSFORMER, "--next", "a", "--attention", "a", "-o", "x.svg"], ["one picture"]),
        ([COUNTS, "--next", "a", "-o", "x.svg", "--model", "nope"], ["'nope'", "trigram"]),
    ],
    ids=lambda value: ascii(" ".join(value))[:60],
)
def test_what_cannot_be_done_is_told_in_one_line(smoke, lmladder, arguments, named):
    done = lmladder("inspect", *arguments)
    done.failed_in_one_line(2, *named)
    assert done.stdout == ""
    assert not (smoke / "x.svg").exists()


@pytest.mark.parametrize("how", [[], ["--json"]], ids=["people", "programs"])
@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "rnn"},
        {"config": {}},
        {"tokenizer": {"name": "byte"}},
        {"seed": None},
        {"step": float("inf")},
        {"step": "many"},
        {"history": ("step",)},
        {"history": ({"step": 1},)},
        {"history": ({"step": 1, "train_nats": "a", "val_nats": 1.0},)},
        {"model": {}},
    ],
    ids=ascii,
)
def test_a_damaged_checkpoint_is_told_in_one_line(lmladder, altered, changes, how):
    lmladder("inspect", altered(**changes), *how).failed_in_one_line(2)


@pytest.mark.parametrize("size", [0, 4, 3000, -4])
def test_a_truncated_checkpoint_is_told_in_one_line(smoke, lmladder, tmp_path, size):
    path = tmp_path / "cut.safetensors"
    path.write_bytes((smoke / TRANSFORMER).read_bytes()[:size])
    lmladder("inspect", path).failed_in_one_line(2, path, "not a whole")


def test_a_header_cannot_speak_to_the_terminal(lmladder, altered):
    path = altered(data_digest="\x1b[31mred\n\u202e")
    for how in ([], ["--json"]):
        output = lmladder("inspect", path, *how).succeeded().stdout
        assert output.replace("\n", "").isprintable()


def test_damaged_weights_are_told_in_one_line(smoke, lmladder, altered, tmp_path):
    model = Checkpoint.load(smoke / TRANSFORMER).model
    path = altered(model={name: array * np.float32(np.nan) for name, array in model.items()})
    for picture in ("--attention", "--next"):
        done = lmladder("inspect", path, picture, "Once", "-o", tmp_path / "x.svg")
        done.failed_in_one_line(1, "damaged")


def test_a_picture_that_cannot_be_written_is_told_in_one_line(lmladder, tmp_path):
    path = tmp_path / "nowhere" / "next.svg"
    lmladder("inspect", TRANSFORMER, "--next", "Once", "-o", path).failed_in_one_line(1, path)
