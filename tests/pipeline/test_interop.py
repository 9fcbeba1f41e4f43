"""`lmladder export` and `import`, and training that goes on from what was imported."""

import csv
import json
import re
import shlex

import pytest

TRANSFORMER = "outputs/transformer/checkpoint.safetensors"
HOW = ("--tokens", 40, "--seed", 3)


@pytest.fixture
def exchanged(smoke, lmladder, tmp_path):
    """The Transformer of `smoke`, exported and imported again, and what `import` printed."""
    lmladder("export", TRANSFORMER, tmp_path / "gpt2").succeeded()
    done = lmladder("import", tmp_path / "gpt2", tmp_path / "imported.safetensors").succeeded()
    return tmp_path / "imported.safetensors", done.stdout


def overrides(told):
    """What the command that `import` prints overrides."""
    (command,) = re.findall(r"to train on from it: python stages/compose.py (.*)", told)
    return shlex.split(command)


def val_nats(checkout):
    with (checkout / "outputs/transformer/history.csv").open() as file:
        return [row["val_nats"] for row in csv.DictReader(file)]


def test_an_imported_model_says_what_the_exported_one_said(lmladder, exchanged):
    path, _ = exchanged
    said = lmladder("sample", "--checkpoint", TRANSFORMER, *HOW).succeeded().stdout
    assert lmladder("sample", "--checkpoint", path, *HOW).succeeded().stdout == said


@pytest.mark.slow
def test_training_goes_on_from_imported_weights(exchanged, checkout):
    path, told = exchanged
    path.rename(checkout / "imported.safetensors")
    given = [each.replace(str(path), "imported.safetensors") for each in overrides(told)]
    checkout.compose(*given)
    before = val_nats(checkout)
    assert checkout.dvc("repro", "transformer").succeeded().stages_run == ["prepare", "transformer"]
    after = val_nats(checkout)
    assert after[0] == before[-1]
    assert float(after[-1]) < float(after[0])
    assert checkout.dvc("repro", "transformer").succeeded().stages_run == []
    checkout.lmladder("sample", "--tokens", 3).succeeded()

    checkout.compose(*given, "transformer.n_layer=2")
    checkout.stage("transformer").failed_in_one_line(
        2, "imported.safetensors", "transformer.n_layer=1, not 2"
    )
    # Another file under the same name is other weights.
    checkout.compose(*given)
    (checkout / TRANSFORMER).replace(checkout / "imported.safetensors")
    done = checkout.dvc("repro", "transformer").succeeded()
    assert done.stages_run == ["prepare", "transformer"]
    assert val_nats(checkout)[0] == after[-1]


def test_weights_for_other_tokens_are_refused(exchanged, checkout):
    path, told = exchanged
    given = [each for each in overrides(told) if not each.startswith("tokenizer")]
    checkout.compose(*given, "tokenizer=byte")
    checkout.stage("prepare").succeeded()
    checkout.stage("transformer").failed_in_one_line(2, path, "tokenizer=checkpoint")


@pytest.mark.slow
def test_an_unfinished_run_from_other_weights_is_not_gone_on_with(exchanged, checkout):
    path, told = exchanged
    path.rename(checkout / "imported.safetensors")
    given = [each.replace(str(path), "imported.safetensors") for each in overrides(told)]
    checkout.compose(*given)
    checkout.stage("prepare").succeeded()
    checkout.stage("transformer").succeeded()
    done = checkout.stage("transformer").succeeded()
    assert "going on from step" in done.stdout
    (checkout / TRANSFORMER).replace(checkout / "imported.safetensors")
    (checkout / "outputs/transformer/best.safetensors").replace(checkout / TRANSFORMER)
    done = checkout.stage("transformer").succeeded()
    assert "going on from step" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["export", TRANSFORMER, "new", "--format", "onnx"], ["onnx", "gpt2, tiny-lm"]),
        (["export", "outputs/mlp/checkpoint.safetensors", "new"], ["'mlp'"]),
        (["export", "missing.safetensors", "new"], ["missing.safetensors"]),
        (["export", TRANSFORMER, "new", "--format", "tiny-lm"], ["transformer.attention_bias"]),
        (["export", TRANSFORMER, "outputs"], ["outputs", "no empty folder"]),
        (["import", "missing", "new"], ["missing"]),
        (["import", "outputs", "new", "--format", "tiny-lm"], ["outputs"]),
        (["import", "outputs/transformer", "new"], ["config.json"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(smoke, lmladder, arguments, named):
    lmladder(*arguments).failed_in_one_line(2, *named)
    assert not (smoke / "new").exists()


def test_tiny_lm_goes_in_and_out(lmladder, tmp_path):
    zeros = [[0.0, 0.0]] * 2
    block = {f"attn.W_{letter}.weight": zeros for letter in "qkvo"}
    block |= {f"norm{n}.{part}": [0.5, 1.0] for n in (1, 2) for part in ("weight", "bias")}
    block |= {f"ff.linear{n}.weight": zeros for n in (1, 2)}
    block |= {f"ff.linear{n}.bias": [0.0, 0.1] for n in (1, 2)}
    weights = {
        "token_embed.weight": [[0.1, 0.2], [0.3, -0.2]],
        "pos_embed.weight": [[0.0, 0.0]] * 3,
        **{f"blocks.0.{name}": values for name, values in block.items()},
        "ln_f.weight": [1.0, 1.0],
        "ln_f.bias": [0.0, 0.0],
        "lm_head.weight": [[1.0, 0.0], [0.0, 1.0]],
    }
    fields = {"d_model": 2, "n_layers": 1, "n_heads": 1, "vocab": ["hm", "END"], "weights": weights}
    (tmp_path / "in.json").write_text(json.dumps(fields))
    checkpoint, how = tmp_path / "tiny.safetensors", ("--format", "tiny-lm")
    lmladder("import", tmp_path / "in.json", checkpoint, *how).succeeded()
    said = lmladder(
        "sample", "--checkpoint", checkpoint, "--prompt", "hm", "--tokens", 2
    )  # or to END
    assert re.fullmatch(r"hm( hm){0,2}\n", said.succeeded().stdout)
    lmladder("export", checkpoint, tmp_path / "out.json", *how).succeeded()
    assert json.loads((tmp_path / "out.json").read_text()) == fields
