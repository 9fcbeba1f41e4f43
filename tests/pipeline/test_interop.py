"""`lmladder export` and `import`, and training that continues from what was imported."""

import json
import re
import shlex

from tests.interop.test_tiny_lm import FIELDS

import pytest

TRANSFORMER = "outputs/transformer/checkpoint.safetensors"
WEIGHTS = "models/imported.safetensors"


@pytest.fixture
def exchanged(checkout, lmladder, tmp_path):
    """Overrides that train from the Transformer of `smoke`, exported and imported again."""
    lmladder("export", TRANSFORMER, "-o", tmp_path / "gpt2").succeeded()
    done = lmladder("import", tmp_path / "gpt2", "-o", checkout / WEIGHTS).succeeded()
    (command,) = re.findall("to train it further: lmladder run (.*)", done.stderr)
    return [each.replace(f"{checkout.path}/", "") for each in shlex.split(command)]


def val_losses(checkout):
    return [row["val_loss"] for row in checkout.table("outputs/transformer/history.csv")]


def test_an_imported_model_continues_a_text_as_the_exported_one_does(lmladder, checkout, exchanged):
    how = ("--tokens", 40, "--seed", 3)
    drawn = [lmladder("sample", path, *how) for path in (TRANSFORMER, checkout / WEIGHTS)]
    assert drawn[0].succeeded().stdout == drawn[1].succeeded().stdout


@pytest.mark.slow
def test_training_continues_from_imported_weights(exchanged, checkout):
    before = val_losses(checkout)
    checkout.compose(*exchanged)
    assert checkout.dvc("repro", "transformer").succeeded().stages_run == ["prepare", "transformer"]
    after = val_losses(checkout)
    assert after[0] == before[-1]
    assert float(after[-1]) < float(after[0])

    checkout.compose(*exchanged, "transformer.n_layer=2")
    checkout.stage("transformer").failed_in_one_line(2, WEIGHTS, "transformer.n_layer=1, not 2")
    # Another file under the same name is other weights, and an unfinished run is not of them.
    checkout.compose(*exchanged)
    (checkout / TRANSFORMER).replace(checkout / WEIGHTS)
    (checkout / "outputs/transformer/best.safetensors").replace(checkout / TRANSFORMER)
    for stage in ("prepare", "transformer"):
        assert "resuming from step" not in checkout.stage(stage).succeeded().stdout
    assert val_losses(checkout)[0] == after[-1]


def test_weights_for_other_tokens_are_rejected(exchanged, checkout):
    given = [each for each in exchanged if not each.startswith("tokenizer")]
    checkout.compose(*given, "tokenizer=byte")
    checkout.stage("prepare").succeeded()
    checkout.stage("transformer").failed_in_one_line(2, WEIGHTS, "tokenizer=checkpoint")


def test_tiny_lm_is_imported_and_sampled(lmladder, tmp_path):
    (tmp_path / "in.json").write_text(json.dumps(FIELDS))
    lmladder("import", tmp_path / "in.json", "-o", tmp_path / "out.safetensors").succeeded()
    done = lmladder("sample", tmp_path / "out.safetensors", "--prompt", "a cat", "--tokens", 2)
    assert re.fullmatch(r"a cat( (a|cat|naïve)){0,2}\n", done.succeeded().stdout)  # or to END
